//go:build unix

package gateway

import (
	"os"
	"sync"
	"syscall"
)

// pen writes batches to sockets without waiting for them.
type pen struct {
	buf  []byte // copyLimit bytes
	rest []byte // yet to be written
	err  error
	once func(fd uintptr) bool // made once: a closure costs an allocation
}

var pens = sync.Pool{New: func() any {
	p := &pen{buf: make([]byte, 0, copyLimit)}
	p.once = p.writeOnce
	return p
}}

// write writes b as far as the socket takes it, with one system call, and reports whether that was all of it. If not, b is left with the rest. A batch that is too long to be
// copied is left as it is.
func (p *pen) write(raw syscall.RawConn, b *batch) (whole bool, err error) {
	switch {
	case len(b.frames) == 1:
		p.rest = b.frames[0]
	case b.size <= copyLimit:
		p.rest = p.buf[:0]
		for _, f := range b.frames {
			p.rest = append(p.rest, f...)
		}
	default:
		return false, nil
	}
	n := len(p.rest)
	if err := raw.Write(p.once); err != nil { // the socket is closed, or its time is over
		p.err = err
	}
	left, err := len(p.rest), p.err
	p.rest, p.err = nil, nil
	if err != nil || left == 0 {
		return err == nil, err
	}
	b.skip(n - left)
	return false, nil
}

func (p *pen) writeOnce(fd uintptr) (done bool) {
	n, err := syscall.Write(int(fd), p.rest)
	for err == syscall.EINTR {
		n, err = syscall.Write(int(fd), p.rest)
	}
	switch {
	case n > 0:
		p.rest = p.rest[n:]
	case err != nil && err != syscall.EAGAIN:
		p.err = os.NewSyscallError("write", err)
	}
	return true
}
