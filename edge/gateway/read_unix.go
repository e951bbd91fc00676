//go:build unix

package gateway

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// readBufferSize is the size, in bytes, of the pooled buffers that conns are read into.
const readBufferSize = 4 << 10

var readBuffers = sync.Pool{New: func() any { b := make([]byte, readBufferSize); return &b }}

// wait waits until bytes have arrived, and reads them into r.unparsed. It returns at once if
// r.unparsed is not empty, or if r.raw is nil. If the socket fails, wait returns the error. If the
// poller can watch the conn, wait returns errIdle after a silence of idleAfter. While a goroutine
// waits here, its stack is shallow, so the garbage collector can shrink the stack.
func (r *reader) wait() error {
	if r.raw == nil || len(r.unparsed) > 0 {
		return nil
	}
	for {
		if !r.timed && r.server.poller.canWatch(r.conn) {
			left := r.untilIdle()
			if left <= 0 { // the conn was idle until now, and is awake again
				left = idleAfter
			}
			r.setIdleDeadline(left)
		}
		err := r.raw.Read(r.fillFunc)
		if err == nil {
			return r.err
		}
		if !r.timedOut(err) {
			r.err = err
			return err
		}
		left := r.untilIdle()
		if left <= 0 {
			return r.rest()
		}
		r.setIdleDeadline(left)
	}
}

// setIdleDeadline sets the deadline at which r.wait checks whether the conn may become idle. While
// a client keeps speaking, r.wait sets this deadline about once in idleAfter.
func (r *reader) setIdleDeadline(in time.Duration) {
	r.timed = true
	r.setReadDeadline(time.Now().Add(in))
}

// untilIdle returns how much longer the client must be silent before c may become idle.
func (c *conn) untilIdle() time.Duration {
	return time.Duration(c.seen.Load()) + idleAfter - c.server.now()
}

// fill puts bytes that have arrived into r.unparsed, readBufferSize at most, and returns true. It
// does not wait: if no bytes have arrived, it returns false. If reading fails or the client has
// closed, fill sets r.err and returns true.
func (r *reader) fill(fd uintptr) bool {
	buf := readBuffers.Get().(*[]byte)
	n, err := syscall.Read(int(fd), *buf)
	for err == syscall.EINTR {
		n, err = syscall.Read(int(fd), *buf)
	}
	if n > 0 {
		r.unparsed, r.buf = (*buf)[:n], buf
		r.stamp()
		return true
	}
	readBuffers.Put(buf)
	switch err {
	case nil:
		r.err = io.EOF
	case syscall.EAGAIN:
		r.lag = lag{}
		return false
	default:
		r.err = os.NewSyscallError("read", err)
	}
	return true
}

// unread reports whether there are bytes that have arrived and were not parsed. If r.raw is nil,
// unread knows only of the bytes in r.unparsed. If a connection is closed with unread bytes, the
// kernel resets it, and the client may never see the close frame.
func (r *reader) unread() bool {
	if len(r.unparsed) > 0 || r.raw == nil {
		return len(r.unparsed) > 0
	}
	n := 0
	var b [1]byte
	r.raw.Control(func(fd uintptr) {
		n, _, _ = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	return n > 0
}

// arrived returns how many bytes have arrived and were not parsed, as far as that is known.
func (r *reader) arrived() (n int) {
	if r.raw != nil {
		r.raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), askArrived) })
	}
	return n + len(r.unparsed)
}

// putBuffer drops r.unparsed and returns its buffer to the pool.
func (r *reader) putBuffer() {
	r.unparsed = nil
	if r.buf != nil {
		readBuffers.Put(r.buf)
		r.buf = nil
	}
}

// rawOf returns access to the socket's file descriptor. It returns nil for TLS and for pipes, which
// do not give this access. Such a connection is read and written by its methods Read and Write.
func rawOf(socket net.Conn) (raw syscall.RawConn) {
	if sc, ok := socket.(syscall.Conn); ok {
		raw, _ = sc.SyscallConn()
	}
	return raw
}
