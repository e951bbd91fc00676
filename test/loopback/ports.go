// Package loopback gives tests and measurements addresses of their own on this machine.
package loopback

import (
	"errors"
	"net"
	"os"
	"strconv"
	"sync"
	"testing"
)

// These ports are below the range from which Linux takes the local ports of outgoing connections by
// default. So clients that dial meanwhile do not take the port of a server that is down for a
// moment.
const (
	firstPort = 20000
	lastPort  = 31999
	stride    = 97
)

var ports struct {
	mu   sync.Mutex
	next int
}

// FreeAddr is Free for tests. The test fails when no port is free.
func FreeAddr(t testing.TB) string {
	t.Helper()
	addr, err := Free()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// Free returns a loopback address on which nobody listens now. Later calls in this process return
// other addresses, until all ports have had their turn.
func Free() (addr string, err error) {
	ports.mu.Lock()
	defer ports.mu.Unlock()
	if ports.next == 0 {
		// Processes that run side by side begin their search at different ports, so that they
		// seldom find the same ones.
		ports.next = firstPort + os.Getpid()*stride%(lastPort-firstPort)
	}
	for range lastPort - firstPort {
		ports.next++
		if ports.next > lastPort {
			ports.next = firstPort
		}
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(ports.next))
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		l.Close()
		return addr, nil
	}
	return "", errors.New("no free port on loopback")
}
