package gateway

import (
	"sync/atomic"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
)

// Session is one client connection: a reader while it speaks, and a queue that the Hub's writers empty. One made by NewSession has no socket: it
// is a queue in the Hub, which Take empties.
type Session struct {
	info   link.Session // static after Hub.Open
	queue  queue
	reason atomic.Uint32                 // Reason; the first one stays
	pacing atomic.Pointer[chan struct{}] // while the reader waits for an allowance: closed at the session's end
	conn   atomic.Pointer[conn]          // nil before the upgrade, after the end, and without a socket

	// guarded by Hub.mu
	memberships []membership
	opened      chan struct{} // closed, and nil, at the first Opened
	opening     bool          // Upstream.Open has not returned
	told        bool          // to a link, or queued for one
	dead        bool

	// guarded by clock.mu
	timer timer

	// Owned by the reader.
	allowance *allowance // nil before the first message, and without a limit
	starved   bool       // the last frame found no room upstream
}

// NewSession makes a session for Hub.Open. Its queue takes so many bytes at most, one message at least. info.ID is given by Hub.Open.
func NewSession(info link.Session, queueBytes int) *Session {
	s := &Session{info: info}
	s.queue.limit = queueBytes
	s.timer.session = s
	return s
}

// Info returns what the relay is told of the session.
func (s *Session) Info() link.Session { return s.info }

// Reason returns why the session ended, and whether it did.
func (s *Session) Reason() (Reason, bool) {
	r := Reason(s.reason.Load())
	return r, r != reasonNone
}

// Take returns the texts queued since the last Take. It is for sessions without a socket.
func (s *Session) Take() (texts []string) {
	b := s.queue.take(nil)
	if b == nil {
		return nil
	}
	for _, f := range b.frames {
		if f[0] == textByte {
			texts = append(texts, string(payload(f)))
		}
	}
	s.queue.take(b)
	return texts
}

// deliver queues a frame. A full queue ends the session. It does not block, and may be called under Hub.mu.
func (s *Session) deliver(frame []byte) pushed {
	result := s.queue.push(frame)
	if result == pushFull {
		s.close(ReasonSlow, closeWait)
	}
	return result
}

// close begins the session's end, unless it began before: the reason's close frame is queued behind what is there (instead of it for a
// slow reader), nothing is queued any more, and the client has so long to answer. It does not block.
func (s *Session) close(r Reason, wait time.Duration) bool {
	return s.closeWith(r, closeFrames[r], wait)
}

func (s *Session) closeWith(r Reason, frame []byte, wait time.Duration) bool {
	if !s.reason.CompareAndSwap(uint32(reasonNone), uint32(r)) {
		return false
	}
	s.queue.seal(frame, r == ReasonSlow)
	if ended := s.pacing.Load(); ended != nil {
		close(*ended)
	}
	if c := s.conn.Load(); c != nil {
		c.endBy(time.Now().Add(wait))
	}
	return true
}
