package memnet

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// stream is one direction of a connection. wire.mu guards all its fields.
type stream struct {
	wire *wire

	// buf[head:] has the bytes that are written and not yet read. The capacity of buf grows with
	// their number, to at most about a quarter more than Buffer. The memory of buf is given up when
	// the wire is cut, or when the reader closes while the wire is not frozen.
	buf  []byte
	head int

	finished  bool // the writing end closed
	abandoned bool // the reading end closed

	reader, writer side
	writing        bool // a Write is under way; other Writes wait, so that its bytes stay together

	limited bool      // CutAfter has set a limit; at the limit, the wire is cut
	left    int       // bytes that may still be read, if limited
	rate    int       // bytes a second; 0: no limit
	next    time.Time // when the next byte may be read, if rate is not 0
	pace    *time.Timer
}

// side is one end of a stream. Goroutines that are blocked at this end wait for side.changed, and
// side.deadline applies to all of them.
type side struct {
	changed  sync.Cond
	deadline time.Time // zero: none
	alarm    *time.Timer
}

func newStream(w *wire) *stream {
	s := &stream{wire: w}
	s.reader.changed.L = &w.mu
	s.writer.changed.L = &w.mu
	return s
}

// setDeadline sets the deadline to t, and wakes the goroutines that are blocked at this side, so
// that they check the deadline. If t is in the future, a timer wakes them again at t.
func (d *side) setDeadline(t time.Time) {
	d.deadline = t
	switch wait := time.Until(t); {
	case t.IsZero() || wait <= 0:
		if d.alarm != nil {
			d.alarm.Stop()
		}
	case d.alarm == nil:
		d.alarm = time.AfterFunc(wait, d.wakeUp)
	default:
		d.alarm.Reset(wait)
	}
	d.changed.Broadcast()
}

func (d *side) expired() bool { return !d.deadline.IsZero() && !time.Now().Before(d.deadline) }

// wakeUp broadcasts under the lock, so that no broadcast falls between a goroutine's check and its
// wait.
func (d *side) wakeUp() {
	d.changed.L.Lock()
	defer d.changed.L.Unlock()
	d.changed.Broadcast()
}

// read does the work of Conn.Read. If the result cut is true, read has returned the last byte
// before the limit of CutAfter, and the caller must cut the wire.
func (s *stream) read(p []byte) (n int, cut bool, err error) {
	s.wire.mu.Lock()
	defer s.wire.mu.Unlock()
	for {
		switch {
		case s.abandoned:
			return 0, false, net.ErrClosed
		case s.wire.cut:
			return 0, false, syscall.ECONNRESET
		case s.reader.expired():
			return 0, false, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, false, nil
		}
		if !s.wire.frozen {
			if n := s.take(p); n > 0 {
				return n, s.limited && s.left == 0, nil
			}
			if s.finished && s.buffered() == 0 {
				return 0, false, io.EOF
			}
		}
		s.reader.changed.Wait()
	}
}

// take moves buffered bytes to p and returns their number. That number is bounded by the length of
// p, by the limit of CutAfter and by the rate.
func (s *stream) take(p []byte) int {
	n := min(len(p), s.buffered())
	if s.limited {
		n = min(n, s.left)
	}
	if n = s.paced(n); n == 0 {
		return 0
	}
	copy(p, s.buf[s.head:s.head+n])
	s.head += n
	if s.limited {
		s.left -= n
	}
	if s.head == len(s.buf) {
		s.buf, s.head = s.buf[:0], 0
	}
	s.writer.changed.Broadcast()
	return n
}

// paced returns how many of n buffered bytes may be read now at the rate s.rate. If no byte may be
// read yet, paced returns 0 and sets a timer that wakes the reader.
func (s *stream) paced(n int) int {
	if s.rate == 0 || n == 0 {
		return n
	}
	now := time.Now()
	if wait := s.next.Sub(now); wait > 0 {
		if s.pace != nil {
			s.pace.Stop()
		}
		s.pace = time.AfterFunc(wait, s.reader.wakeUp)
		return 0
	}
	n = min(n, max(1, s.rate/100)) // at most the bytes of 10 ms, but at least one
	s.next = now.Add(time.Duration(n) * time.Second / time.Duration(s.rate))
	return n
}

// write does the work of Conn.Write.
func (s *stream) write(p []byte) (n int, err error) {
	s.wire.mu.Lock()
	defer s.wire.mu.Unlock()
	for s.writing {
		if err := s.writeError(); err != nil {
			return 0, err
		}
		s.writer.changed.Wait()
	}
	s.writing = true
	defer func() {
		s.writing = false
		s.writer.changed.Broadcast()
	}()
	for {
		if err := s.writeError(); err != nil {
			return n, err
		}
		n += s.put(p[n:])
		if n == len(p) {
			return n, nil
		}
		s.writer.changed.Wait()
	}
}

// writeError returns why nothing more can be written, or nil.
func (s *stream) writeError() error {
	switch {
	case s.finished:
		return net.ErrClosed
	case s.wire.cut:
		return syscall.ECONNRESET
	case s.writer.expired():
		return os.ErrDeadlineExceeded
	case s.abandoned && !s.wire.frozen:
		return syscall.EPIPE
	}
	return nil
}

// put copies as much of p into the buffer as there is room for, and returns the number of bytes
// copied.
func (s *stream) put(p []byte) int {
	p = p[:min(len(p), Buffer-s.buffered())]
	if len(p) == 0 {
		return 0
	}
	if s.head > 0 && len(s.buf)+len(p) > cap(s.buf) {
		s.buf, s.head = s.buf[:copy(s.buf, s.buf[s.head:])], 0
	}
	s.buf = append(s.buf, p...)
	s.reader.changed.Broadcast()
	return len(p)
}

func (s *stream) buffered() int { return len(s.buf) - s.head }

// release drops the buffered bytes. It is called when nobody will read them.
func (s *stream) release() { s.buf, s.head = nil, 0 }

func (s *stream) stopTimers() {
	for _, t := range []*time.Timer{s.reader.alarm, s.pace, s.writer.alarm} {
		if t != nil {
			t.Stop()
		}
	}
}
