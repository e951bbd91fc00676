// Start measures the time from exec of a static binary to its first 200 at /readyz. Everything runs
// on loopback:
//
//	go run ./test/bench/start [-runs 20]
//
// A redis-server runs before the relay starts, and the relay is ready when it serves. A relay runs
// before the edge starts, and the edge is ready when it has its link.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"github.com/edgerelay/edgerelay/test/bench/local"
)

func main() {
	runs := flag.Int("runs", 20, "starts of each")
	flag.CommandLine.Init("go run ./test/bench/start", flag.ExitOnError)
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "start: %q: all is said with flags; see -h\n", flag.Arg(0))
		os.Exit(2)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := measure(ctx, *runs); err != nil {
		fmt.Fprintln(os.Stderr, "start:", err)
		os.Exit(1)
	}
}

func measure(ctx context.Context, runs int) error {
	dir, err := local.Build(ctx)
	if err != nil {
		return err
	}
	defer dir.Remove()
	redis, err := dir.Redis()
	if err != nil {
		return err
	}
	defer redis.Kill()
	if _, err := redis.Start(ctx); err != nil {
		return err
	}
	fmt.Println("| | median | longest |")
	fmt.Println("|---|---|---|")
	relay := dir.Relay(redis)
	if err := report(ctx, "relay", runs, relay); err != nil {
		return err
	}
	defer relay.Kill()
	if _, err := relay.Start(ctx); err != nil {
		return err
	}
	_, port, _ := net.SplitHostPort(relay.Addr)
	for _, url := range []string{"ws://127.0.0.1:" + port, "dns://localhost:" + port} {
		if err := report(ctx, "edge, "+url[:len(url)-len(port)-1], runs, dir.Edge(url)); err != nil {
			return err
		}
	}
	return nil
}

// The function report starts a server many times and prints a line of the table.
func report(ctx context.Context, name string, runs int, s *local.Server) error {
	var times []time.Duration
	for range runs {
		d, err := s.Start(ctx)
		s.Kill()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		times = append(times, d)
	}
	slices.Sort(times)
	fmt.Printf("| %s | %v | %v |\n", name, times[len(times)/2].Round(100*time.Microsecond), times[len(times)-1].Round(100*time.Microsecond))
	return nil
}
