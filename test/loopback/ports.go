// Package loopback gives tests addresses of their own on this machine.
package loopback

import (
	"net"
	"os"
	"strconv"
	"sync"
	"testing"
)

// Ports are taken below the range from which the kernel gives local ports to outgoing connections, so that a server that is down for a moment
// finds its port free when it comes back, however many clients dial meanwhile.
const (
	firstPort = 20000
	lastPort  = 31999
	stride    = 97
)

var ports struct {
	mu   sync.Mutex
	next int
}

// FreeAddr returns a loopback address on which nobody listens. No other call in this process returns it again.
func FreeAddr(t testing.TB) string {
	t.Helper()
	ports.mu.Lock()
	defer ports.mu.Unlock()
	if ports.next == 0 {
		ports.next = firstPort + os.Getpid()*stride%(lastPort-firstPort) // apart from test processes that run side by side
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
		return addr
	}
	t.Fatal("no free port on loopback")
	return ""
}
