package gateway

import (
	"os"
	"sync"
	"syscall"
	"time"
)

// pollBatch is how many conns one look at the kernel wakes at most.
const pollBatch = 128

// watched is what the poller keeps of a conn.
type watched struct {
	fd     int  // of the socket; -1: it cannot be watched. Written by who reads the conn
	known  bool // to the kernel; written by who reads the conn
	atRest bool // guarded by poller.mu: nobody reads the conn, and who takes this away must
}

// poller watches the sockets of conns at rest, so that they need no goroutine, stack or buffer. It is an epoll instance of its own beside that of Go's runtime, which
// watches it in turn: no thread waits in the kernel. Each socket is told once, then it must be watched anew.
type poller struct {
	file *os.File // the epoll instance; nil: the kernel has none for us
	fd   int
	done chan struct{}

	mu    sync.Mutex
	conns []*conn // at rest, by descriptor
}

// newPoller starts the poller's goroutine, which close ends.
func newPoller() *poller {
	p := &poller{done: make(chan struct{})}
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		close(p.done)
		return p
	}
	syscall.SetNonblock(fd, true) // so that os gives it to Go's runtime
	file := os.NewFile(uintptr(fd), "epoll")
	if err := file.SetDeadline(time.Time{}); err != nil { // Go's runtime cannot watch it
		file.Close()
		close(p.done)
		return p
	}
	p.fd, p.file = fd, file
	go p.run()
	return p
}

// close ends the poller: no conn may be at rest.
func (p *poller) close() {
	if p.file != nil {
		p.file.Close()
	}
	<-p.done
}

// adopt notes the socket of a new conn.
func (p *poller) adopt(c *conn) {
	c.watched.fd = -1
	if c.raw != nil && p.file != nil {
		c.raw.Control(func(fd uintptr) { c.watched.fd = int(fd) })
	}
}

// takes reports whether c can be watched. It is for who reads c.
func (p *poller) takes(c *conn) bool { return c.watched.fd >= 0 }

// rest puts c to rest: it is woken when there is something to read, be it an error. False: it cannot be watched, or it ends. It is for who reads c.
func (p *poller) rest(c *conn) bool {
	w := &c.watched
	if w.fd < 0 {
		return false
	}
	p.mu.Lock() // held while the kernel is told, which does not block: until then nobody may wake c, and close its socket
	defer p.mu.Unlock()
	if c.ending() { // who ends it has woken it, or will have to wait for the lock
		return false
	}
	op := syscall.EPOLL_CTL_ADD
	if w.known {
		op = syscall.EPOLL_CTL_MOD
	}
	event := syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLRDHUP | syscall.EPOLLONESHOT, Fd: int32(w.fd), Pad: tag(c)}
	if err := syscall.EpollCtl(p.fd, op, w.fd, &event); err != nil {
		w.fd = -1 // the kernel watches as many as it wants to
		return false
	}
	for w.fd >= len(p.conns) {
		p.conns = append(p.conns, nil)
	}
	p.conns[w.fd] = c
	w.known, w.atRest = true, true
	return true
}

// rouse reports whether c was at rest, and is not any more.
func (p *poller) rouse(c *conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	was := c.watched.atRest
	if was {
		c.watched.atRest = false
		p.conns[c.watched.fd] = nil
	}
	return was
}

// tag tells a conn from an earlier one with its descriptor.
func tag(c *conn) int32 { return int32(c.session.info.ID) }

// find returns the conn of an event; nil: it was woken meanwhile, and may be gone.
func (p *poller) find(e *syscall.EpollEvent) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.conns[e.Fd]; c != nil && tag(c) == e.Pad {
		return c
	}
	return nil
}

func (p *poller) run() {
	defer close(p.done)
	raw, err := p.file.SyscallConn()
	if err != nil {
		return
	}
	events := make([]syscall.EpollEvent, pollBatch)
	n := 0
	look := func(uintptr) bool {
		n, err = syscall.EpollWait(p.fd, events, 0)
		return n > 0
	}
	for raw.Read(look) == nil { // it ends with close
		for i := range events[:n] {
			if c := p.find(&events[i]); c != nil {
				c.wake()
			}
		}
	}
}
