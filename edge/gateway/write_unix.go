//go:build unix

package gateway

import (
	"os"
	"sync"
	"syscall"
)

// pen writes batches to sockets without waiting for the sockets.
type pen struct {
	buf       []byte // has room for copyLimit bytes
	remainder []byte // bytes that have not been written
	err       error
	writeFunc func(fd uintptr) bool // the method writeOnce, as a value that is allocated once
}

var pens = sync.Pool{New: func() any {
	p := &pen{buf: make([]byte, 0, copyLimit)}
	p.writeFunc = p.writeOnce
	return p
}}

// write writes as much of b as the socket takes, with one system call. It reports whether that was
// all of b. If it was not, b keeps the remainder. If b has several frames and b.size exceeds
// copyLimit, nothing is written.
func (p *pen) write(raw syscall.RawConn, b *batch) (whole bool, err error) {
	switch {
	case len(b.frames) == 1:
		p.remainder = b.frames[0]
	case b.size <= copyLimit:
		p.remainder = b.join(p.buf)
	default:
		return false, nil
	}
	n := len(p.remainder)
	if err := raw.Write(p.writeFunc); err != nil {
		p.err = err // the socket is closed, or its deadline has passed
	}
	left, err := len(p.remainder), p.err
	p.remainder, p.err = nil, nil
	if err != nil || left == 0 {
		return err == nil, err
	}
	b.skip(n - left)
	return false, nil
}

func (p *pen) writeOnce(fd uintptr) (done bool) {
	n, err := syscall.Write(int(fd), p.remainder)
	for err == syscall.EINTR {
		n, err = syscall.Write(int(fd), p.remainder)
	}
	switch {
	case n > 0:
		p.remainder = p.remainder[n:]
	case err != nil && err != syscall.EAGAIN:
		p.err = os.NewSyscallError("write", err)
	}
	return true
}
