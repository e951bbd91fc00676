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
// default. So no client that dials gets the port of a server that is down for a moment.
const (
	firstPort = 20000
	lastPort  = 31999
)

// A block is 100 ports. A process that takes ports of a block listens on the block's first port
// until the process ends. So processes that run side by side never take each other's ports, even
// those of a server that is down for a moment. A process uses its own blocks again, from the oldest
// on, when it has mostBlocks blocks or no block is free. By then the servers on the ports of its
// oldest block should be gone.
const (
	blockSize  = 100
	blocks     = (lastPort + 1 - firstPort) / blockSize
	mostBlocks = 80
)

var ports struct {
	mu     sync.Mutex
	claims []net.Listener // the first port of each block that was claimed
	block  int            // index of the block in use, in the field claims
	next   int            // offset of the next port in that block; 0: the block is used up
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
// A process that is begun in that moment gets a copy of the socket, and keeps it until it runs its
// program. So isFree lets no process begin meanwhile.
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
// or no block is free, turnLocked goes back to the oldest block of the process.
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
