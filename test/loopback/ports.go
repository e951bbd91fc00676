// Package loopback gives tests and measurements addresses of their own on this machine.
package loopback

import (
	"errors"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"
)

// These ports are below the range from which Linux takes the local ports of outgoing connections by
// default. So if a server is down for a moment, no outgoing connection occupies the server's port.
const (
	firstPort = 20000
	lastPort  = 31999
)

// A block is 100 ports. A process that takes ports of a block listens on the block's first port
// until the process ends. So processes that run side by side never take each other's ports, not
// even the port of a server that is down for a moment. When a process has mostBlocks blocks, or no
// block is free, it uses its own blocks again, from the oldest on. By then the servers on the ports
// of its oldest block should be gone.
const (
	blockSize  = 100
	blocks     = (lastPort + 1 - firstPort) / blockSize
	mostBlocks = 80
)

var ports struct {
	mu     sync.Mutex
	claims []net.Listener // listeners on the first ports of the claimed blocks
	block  int            // index in claims of the block in use
	next   int            // offset of the next port in that block; 0: the block is used up
}

// FreeAddr calls Free, and fails the test if no port is free.
func FreeAddr(t testing.TB) string {
	t.Helper()
	addr, err := Free()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// Free returns a loopback address on which nobody listens now. Later calls in this process return
// other addresses, until the process takes the ports of its oldest block again. While this process
// runs, no other process that uses this package returns the address.
func Free() (addr string, err error) {
	ports.mu.Lock()
	defer ports.mu.Unlock()
	for range mostBlocks * blockSize {
		if ports.next == 0 {
			if err := turnLocked(); err != nil {
				return "", err
			}
		}
		first := ports.claims[ports.block].Addr().(*net.TCPAddr).Port
		addr := address(first + ports.next)
		ports.next = (ports.next + 1) % blockSize
		if isFree(addr) {
			return addr, nil
		}
	}
	return "", errors.New("no free port on loopback")
}

// isFree reports whether nobody listens on an address. To find out, it listens there for a moment.
// A child process that is forked in that moment would have a copy of the socket until it executes
// its program. So isFree holds a lock that keeps this process from forking.
func isFree(addr string) bool {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return false
	}
	l.Close()
	return true
}

// turnLocked claims a new block and begins to use it. If the process has mostBlocks blocks already,
// or no block is free, turnLocked goes on to the next block in ports.claims instead. After the last
// block comes the first.
func turnLocked() error {
	ports.next = 1
	if len(ports.claims) < mostBlocks {
		for i := range blocks {
			l, err := net.Listen("tcp", address(firstPort+(os.Getpid()+i)%blocks*blockSize))
			if err == nil {
				ports.claims = append(ports.claims, l)
				ports.block = len(ports.claims) - 1
				return nil
			}
		}
	}
	if len(ports.claims) == 0 {
		return errors.New("other processes have all ports for tests on loopback")
	}
	ports.block = (ports.block + 1) % len(ports.claims)
	return nil
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
