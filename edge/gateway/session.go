package gateway

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
)

// Session is one client connection. Frames for the client wait in the session's queue, and the
// Hub's writers write them to the session's socket. A session has no socket before its upgrade.
// Without a Server it never has a socket, and Take empties the queue.
type Session struct {
	info   link.Session // does not change after Hub.Open; but see the type sdk
	queue  queue
	reason atomic.Uint32 // a Reason; once set, it does not change
	claims atomic.Int32  // bits claimSocket and claimTables; release clears them
	// pacing is set while a message waits for the user's allowance, and while a guest waits for its
	// confirmation. closeWith closes the channel.
	pacing atomic.Pointer[chan struct{}]
	conn   atomic.Pointer[conn] // nil before the upgrade, after the end, and without a Server
	sdk    *sdk                 // nil: the client speaks the chat's protocol
	users  *users               // nil: not counted; users.enter alone sets it

	// The following fields are guarded by Hub.mu.
	memberships []membership
	opened      chan struct{} // closed, and set to nil, at the first Opened
	opening     bool          // Upstream.Open or OpenClient has not returned
	told        bool          // a relay was told of the session, or will be
	dead        bool

	timer timer // guarded by clock.mu

	// The following fields belong to the reader.
	allowance *allowance // nil: no message yet, or no limit
	starved   bool       // the last message found no room upstream
	late      int32      // bytes that dropLate has counted since the session's end began
}

// NewSession makes a session for Hub.Open, which sets info.ID. The session's queue is bounded by
// queueBytes, but takes one message of any size when it is empty.
func NewSession(info link.Session, queueBytes int) *Session {
	s := &Session{info: info}
	s.queue.limit = queueBytes
	s.timer.session = s
	return s
}

// Info returns the link.Session that describes a chat session to a relay.
func (s *Session) Info() link.Session { return s.info }

// Reason returns why the session is ending or has ended. It returns false if the session goes on.
func (s *Session) Reason() (Reason, bool) {
	r := Reason(s.reason.Load())
	return r, r != reasonNone
}

// Take returns the texts that were queued since the last Take. It is for sessions without a socket.
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

// deliver queues a frame. If the frame does not fit, deliver closes the session with ReasonSlow.
// The method deliver does not block, and may be called under Hub.mu.
func (s *Session) deliver(frame []byte) pushed {
	result := s.queue.push(frame)
	if result == pushFull {
		s.close(ReasonSlow, closeWait)
	}
	return result
}

// deliverLong does what deliver does, for a long answer. See queue.pushLong for the function done.
func (s *Session) deliverLong(frame []byte, done func()) pushed {
	result := s.queue.pushLong(frame, done)
	if result == pushFull {
		s.close(ReasonSlow, closeWait)
	}
	return result
}

// close begins the session's end, and returns true. If the end has begun already, it does nothing
// and returns false. The queue is sealed. If the reason has a close frame, this frame becomes the
// queue's last frame. For ReasonSlow the close frame replaces the frames that the writer has not
// taken. The parameter wait is the client's time to answer. The method close does not block.
func (s *Session) close(r Reason, wait time.Duration) bool {
	frame := closeFrames[r]
	if s.sdk != nil {
		frame = sdkCloseFrames[r]
	}
	return s.closeWith(r, frame, wait)
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

// end ends a session whose reading ended with err. From here on no message of the client is
// accepted, and nothing more is queued for the client. If the connection is broken, the method end
// closes the socket at once. Otherwise it first waits until all queued frames are written, or until
// the deadline of the session's end. Then, if the client may still be sending, it calls linger. At
// last it closes the socket.
func (v *Server) end(r *reader, err error) {
	c := r.conn
	s := c.session
	broken := r.err != nil
	first := s.closeFor(err, broken)
	_, byClient := err.(closeCode)
	mustLinger := !broken && first && !byClient
	v.clock.stop(s)
	v.hub.End(s, v.up)
	if broken {
		c.Conn.Close()
	}
	<-s.queue.stopped()
	if mustLinger || !broken && r.unread() {
		c.linger()
	}
	c.Conn.Close()
	r.putBuffer()
	v.ended(s)
}

// closeFor closes s with the reason that belongs to err, and returns true. If the end of s has
// begun already, it only returns false.
func (s *Session) closeFor(err error, broken bool) bool {
	if code, ok := err.(closeCode); ok {
		return s.closeWith(ReasonClient, closeFrame(int(code), ""), closeWait)
	}
	switch {
	case broken:
		return s.close(ReasonGone, closeWait)
	case errors.Is(err, errUTF8):
		return s.close(ReasonUTF8, closeWait)
	case errors.Is(err, errFlood):
		return s.close(ReasonLimit, closeWait)
	case errors.Is(err, errTooBig):
		return s.close(ReasonTooBig, closeWait)
	case errors.Is(err, errBadRequest):
		return s.close(ReasonBadRequest, closeWait)
	case errors.Is(err, errNoRoom):
		return s.close(ReasonNoRoom, closeWait)
	case errors.Is(err, errRate):
		return s.close(ReasonRate, closeWait)
	}
	return s.close(ReasonProtocol, closeWait)
}

// linger ends the sending half of the connection, and discards the bytes that still arrive. If
// bytes were left unread, the kernel would reset the connection, and the client might never see the
// close frame. The method returns when the client closes, when the deadline passes, or when it has
// discarded lingerMost bytes. In the last case the kernel may reset the connection.
func (c *conn) linger() {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
	}
	buf := copies.Get().(*[]byte)
	defer copies.Put(buf)
	for remainder := lingerMost; remainder > 0; {
		n, err := c.Conn.Read((*buf)[:copyLimit])
		if err != nil {
			return
		}
		remainder -= n
	}
}

// ended counts the session's end. A dead session needs neither its conn nor its queue, so ended
// frees the memory of both. It also releases claimSocket, and removes the session from the guests.
func (v *Server) ended(s *Session) {
	s.conn.Store(nil)
	s.release(claimSocket)
	v.hub.leaveGuests(s)
	reason, _ := s.Reason()
	why := dropGone
	if reason == ReasonSlow {
		why = dropSlow
	}
	v.hub.metrics.dropped[why].Add(float64(s.queue.end()))
	v.metrics.ended[reason].Inc()
	v.log.Debug("session ended", "session", s.info.ID, "reason", reason)
}

// hurry sets the deadline of the session's end anew. From now on the socket stays open for the
// given time at most. If the session has no socket, hurry does nothing.
func (s *Session) hurry(wait time.Duration) {
	if c := s.conn.Load(); c != nil {
		c.endBy(time.Now().Add(wait))
	}
}
