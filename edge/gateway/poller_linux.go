package gateway

import (
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// askArrived asks the kernel how many bytes of a socket have arrived and were not read: FIONREAD.
const askArrived = unix.TIOCINQ

// pollBatch bounds how many sockets the kernel reports in one call.
const pollBatch = 128

// watched is what the poller stores in a conn. At first the goroutine that begins the conn writes
// the fields fd and known. Later the goroutine that reads the conn writes these fields. While the
// field idle is set, nobody reads the conn.
type watched struct {
	fd    int  // the socket's descriptor; -1: the socket cannot be watched
	known bool // the epoll instance has the socket
	idle  bool // guarded by poller.mu; the goroutine that clears it starts a reader
}

// poller watches the sockets of idle conns. An idle conn therefore needs no goroutine, stack or
// buffer of its own. The poller has an epoll instance of its own, beside that of Go's runtime. The
// runtime's instance watches the poller's instance, so the poller needs no thread that waits in the
// kernel. The kernel reports each socket once. After that the socket must be watched anew.
type poller struct {
	file *os.File // the epoll instance; nil: there is none, so no conn becomes idle
	fd   int
	done chan struct{}

	mu      sync.Mutex // guards the fields below
	conns   []*conn    // the idle conns, by file descriptor
	running bool       // the first conn that became idle has started poller.run
}

// newPoller returns a poller. The caller must close it.
func newPoller() *poller {
	p := &poller{done: make(chan struct{})}
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return p
	}
	syscall.SetNonblock(fd, true) // so that package os registers it with Go's runtime
	file := os.NewFile(uintptr(fd), "epoll")
	if err := file.SetDeadline(time.Time{}); err != nil { // not registered with Go's runtime
		file.Close()
		return p
	}
	p.fd, p.file = fd, file
	return p
}

// close ends the poller. No conn may be idle when close is called.
func (p *poller) close() {
	if p.file != nil {
		p.file.Close()
	}
	p.mu.Lock()
	running := p.running
	p.mu.Unlock()
	if running {
		<-p.done
	}
}

// adopt records the file descriptor of a new conn.
func (p *poller) adopt(c *conn) {
	c.watched.fd = -1
	if c.raw != nil && p.file != nil {
		c.raw.Control(func(fd uintptr) { c.watched.fd = int(fd) })
	}
}

// canWatch reports whether c can be watched. Only the goroutine that reads c may call it.
func (p *poller) canWatch(c *conn) bool { return c.watched.fd >= 0 }

// watch makes c idle. The poller wakes c when there are bytes to read, or an error. The method
// watch returns false if c cannot be watched, or if c is ending. Only the goroutine that begins or
// reads c may call it.
func (p *poller) watch(c *conn) bool {
	w := &c.watched
	if w.fd < 0 {
		return false
	}
	// EpollCtl makes the kernel watch c. During that call nobody may wake c and close its socket,
	// so the lock is held. EpollCtl does not block.
	p.mu.Lock()
	defer p.mu.Unlock()
	// To end c, a goroutine marks c as ending, and after that takes p.mu to wake c. If c is not
	// marked here yet, c becomes idle and is woken afterwards. So no end is missed.
	if c.ending() {
		return false
	}
	op := syscall.EPOLL_CTL_ADD
	if w.known {
		op = syscall.EPOLL_CTL_MOD
	}
	event := syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLRDHUP | syscall.EPOLLONESHOT, Fd: int32(w.fd), Pad: tag(c)}
	if err := syscall.EpollCtl(p.fd, op, w.fd, &event); err != nil {
		w.fd = -1 // the kernel may have reached its limit of watched sockets
		return false
	}
	for w.fd >= len(p.conns) {
		p.conns = append(p.conns, nil)
	}
	p.conns[w.fd] = c
	w.known, w.idle = true, true
	if !p.running {
		p.running = true
		go p.run()
	}
	return true
}

// unwatch ends the watch over c. It reports whether c was idle.
func (p *poller) unwatch(c *conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	was := c.watched.idle
	if was {
		c.watched.idle = false
		p.conns[c.watched.fd] = nil
	}
	return was
}

// tag distinguishes a conn from an earlier one with the same descriptor. If the lower 32 bits of
// their session ids are equal, both conns have the same tag.
func tag(c *conn) int32 { return int32(c.session.info.ID) }

// find returns the conn of an event. It returns nil if the conn was woken meanwhile. Such a conn
// may have ended already.
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
	poll := func(uintptr) bool {
		n, err = syscall.EpollWait(p.fd, events, 0)
		return n > 0
	}
	for raw.Read(poll) == nil { // poller.close ends the loop
		for i := range events[:n] {
			if c := p.find(&events[i]); c != nil {
				c.wake()
			}
		}
	}
}
