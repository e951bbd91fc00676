package gateway

import (
	"net"
	"sync"
)

// copyLimit is the size up to which the frames of a batch are copied together and written with one call of Write, which is cheaper than
// writev for small ones.
const copyLimit = 16 << 10

// batchKeep is the number of frames whose place a released batch keeps.
const batchKeep = 256

// batch is what one write takes to the socket.
type batch struct {
	frames [][]byte
	size   int         // as the queue counts it
	torn   bool        // the first frame is a message whose beginning was written
	vec    net.Buffers // here, so that writev needs no allocation
}

var (
	batches = sync.Pool{New: func() any { return new(batch) }}
	copies  = sync.Pool{New: func() any { b := make([]byte, 0, copyLimit); return &b }}
)

// messages returns how many of the frames are messages, not control frames.
func (b *batch) messages() (n int) {
	for i, f := range b.frames {
		if i == 0 && b.torn || len(f) > 0 && f[0] == textByte {
			n++
		}
	}
	return n
}

// release gives the batch back; it must not be used afterwards.
func (b *batch) release() {
	clear(b.frames)
	if cap(b.frames) > batchKeep {
		b.frames = nil
	}
	*b = batch{frames: b.frames[:0]}
	batches.Put(b)
}

// skip drops the first n bytes, which were written, and returns how many frames went with them as a whole. They count as queued until the rest is written.
func (b *batch) skip(n int) (frames int) {
	for frames < len(b.frames) && n >= len(b.frames[frames]) {
		n -= len(b.frames[frames])
		frames++
	}
	left := copy(b.frames, b.frames[frames:])
	clear(b.frames[left:])
	b.frames = b.frames[:left]
	if n > 0 {
		b.torn = b.frames[0][0] == textByte
		b.frames[0] = b.frames[0][n:]
	}
	return frames
}

// writeTo writes all frames with as few system calls as possible. It blocks as conn does.
func (b *batch) writeTo(conn net.Conn) (err error) {
	switch {
	case len(b.frames) == 1:
		_, err = conn.Write(b.frames[0])
	case b.size <= copyLimit:
		buf := copies.Get().(*[]byte)
		all := (*buf)[:0]
		for _, f := range b.frames {
			all = append(all, f...)
		}
		_, err = conn.Write(all)
		copies.Put(buf)
	default:
		b.vec = b.frames
		_, err = b.vec.WriteTo(conn)
	}
	return err
}
