//go:build unix

package gateway

import (
	"io"
	"os"
	"sync"
	"syscall"
)

// aheadSize is the size of the pooled buffers that conns read ahead into.
const aheadSize = 4 << 10

var aheads = sync.Pool{New: func() any { b := make([]byte, aheadSize); return &b }}

// wait returns when there is something to read, which it has read ahead, or the socket's error. While it waits the conn holds no buffer, and
// the goroutine's stack is so shallow that the garbage collector shrinks it to the smallest.
func (c *conn) wait() error {
	if c.raw == nil || len(c.ahead) > 0 || c.buffered.Buffered() > 0 {
		return nil
	}
	if err := c.raw.Read(c.fill); err != nil {
		c.err = err
	}
	return c.err
}

// fillAhead reads what is there without waiting, and reports whether there was anything, be it an error.
func (c *conn) fillAhead(fd uintptr) bool {
	buf := aheads.Get().(*[]byte)
	n, err := syscall.Read(int(fd), *buf)
	for err == syscall.EINTR {
		n, err = syscall.Read(int(fd), *buf)
	}
	if n > 0 {
		c.ahead, c.buf = (*buf)[:n], buf
		c.stamp()
		return true
	}
	aheads.Put(buf)
	switch err {
	case nil:
		c.err = io.EOF
	case syscall.EAGAIN:
		return false
	default:
		c.err = os.NewSyscallError("read", err)
	}
	return true
}

// putBuffer gives the buffer under ahead back.
func (c *conn) putBuffer() {
	c.ahead = nil
	if c.buf != nil {
		aheads.Put(c.buf)
		c.buf = nil
	}
}

// useRaw lets wait use the socket itself. Sockets that are not the kernel's (TLS, pipes) are read in the ordinary way.
func (c *conn) useRaw() {
	sc, ok := c.Conn.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return
	}
	c.raw, c.fill = raw, c.fillAhead
}
