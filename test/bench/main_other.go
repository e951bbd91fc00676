//go:build !linux

// Bench needs Linux, where it reads CPU times and memory of processes, and where its clients wait
// with epoll.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench: it needs Linux; in a container it runs anywhere")
	os.Exit(1)
}
