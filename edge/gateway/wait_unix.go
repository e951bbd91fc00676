//go:build unix

package gateway

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// aheadSize is the size of the pooled buffers that conns read ahead into.
const aheadSize = 4 << 10

var aheads = sync.Pool{New: func() any { b := make([]byte, aheadSize); return &b }}

// wait returns when there is something to read, which it has read ahead, or the socket's error; errRest: there was nothing for restAfter. Its stack is so shallow that the
// garbage collector shrinks it to the smallest.
func (w *waiter) wait() error {
	if w.raw == nil || len(w.ahead) > 0 {
		return nil
	}
	for {
		if !w.timed && w.server.poller.takes(w.conn) {
			silent := w.untilRest()
			if silent <= 0 { // it was woken by what is there to read
				silent = restAfter
			}
			w.restIn(silent)
		}
		err := w.raw.Read(w.look)
		if err == nil {
			return w.err
		}
		if !w.timedOut(err) {
			w.err = err
			return err
		}
		silent := w.untilRest()
		if silent <= 0 {
			w.timed = false
			w.setReadDeadline(time.Time{})
			return errRest
		}
		w.restIn(silent)
	}
}

// restIn sets the deadline after which wait looks whether the conn may come to rest: once in restAfter, however often it speaks.
func (w *waiter) restIn(silent time.Duration) {
	w.timed = true
	w.setReadDeadline(time.Now().Add(silent))
}

// untilRest is for how long c must be silent yet before it comes to rest.
func (c *conn) untilRest() time.Duration {
	return time.Duration(c.seen.Load()) + restAfter - c.server.now()
}

// fill reads what is there without waiting, and reports whether there was anything, be it an error.
func (w *waiter) fill(fd uintptr) bool {
	buf := aheads.Get().(*[]byte)
	n, err := syscall.Read(int(fd), *buf)
	for err == syscall.EINTR {
		n, err = syscall.Read(int(fd), *buf)
	}
	if n > 0 {
		w.ahead, w.buf = (*buf)[:n], buf
		w.stamp()
		return true
	}
	aheads.Put(buf)
	switch err {
	case nil:
		w.err = io.EOF
	case syscall.EAGAIN:
		return false
	default:
		w.err = os.NewSyscallError("read", err)
	}
	return true
}

// putBuffer gives the buffer under ahead back.
func (w *waiter) putBuffer() {
	w.ahead = nil
	if w.buf != nil {
		aheads.Put(w.buf)
		w.buf = nil
	}
}

// rawOf gives access to the socket itself; nil: it is not the kernel's (TLS, pipes), and is used in the ordinary way.
func rawOf(socket net.Conn) (raw syscall.RawConn) {
	if sc, ok := socket.(syscall.Conn); ok {
		raw, _ = sc.SyscallConn()
	}
	return raw
}
