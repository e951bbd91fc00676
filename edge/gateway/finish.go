package gateway

import (
	"errors"
	"time"

	"github.com/coder/websocket"
)

// finish ends a session whose reading ended with err: no message is accepted or delivered from here on. What is queued is still
// written, for at most as long as the close frame may wait, then the socket is closed.
func (v *Server) finish(w *waiter, err error) {
	c := w.conn
	s := c.session
	broken := w.err != nil
	mustLinger := s.closeFor(err, broken) && !broken && websocket.CloseStatus(err) == -1
	v.clock.stop(s)
	v.hub.End(s, v.up)
	if broken {
		c.Conn.Close()
	}
	<-s.queue.stopped()
	if mustLinger {
		c.linger()
	}
	c.Conn.Close()
	w.putBuffer()
	v.ended(s)
}

// closeFor closes s with the reason that err stands for, and reports whether it was the first.
func (s *Session) closeFor(err error, broken bool) bool {
	if code := websocket.CloseStatus(err); code != -1 {
		return s.closeWith(ReasonClient, closeFrame(int(code), ""), closeWait)
	}
	switch {
	case broken:
		return s.close(ReasonGone, closeWait)
	case errors.Is(err, errUTF8):
		return s.close(ReasonUTF8, closeWait)
	case errors.Is(err, errFlood):
		return s.close(ReasonLimit, closeWait)
	case errors.Is(err, websocket.ErrMessageTooBig):
		return s.close(ReasonTooBig, closeWait)
	}
	return s.close(ReasonProtocol, closeWait)
}

// linger ends our half of the connection and throws away what still comes, until the client closes or the deadline: a socket closed with unread
// bytes is reset, and the client might never see why. Who sends on and on is reset.
func (c *conn) linger() {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
	}
	buf := copies.Get().(*[]byte)
	defer copies.Put(buf)
	for rest := lingerMost; rest > 0; {
		n, err := c.Conn.Read((*buf)[:copyLimit])
		if err != nil {
			return
		}
		rest -= n
	}
}

// ended counts the session's end and lets go of all that a dead session does not need.
func (v *Server) ended(s *Session) {
	s.conn.Store(nil)
	reason, _ := s.Reason()
	lost := dropGone
	if reason == ReasonSlow {
		lost = dropSlow
	}
	v.hub.metrics.dropped[lost].Add(float64(s.queue.end()))
	v.metrics.ended[reason].Inc()
	v.log.Debug("session ended", "session", s.info.ID, "reason", reason)
}

// hurry gives a session that is ending so long, from now, until its socket is closed.
func (s *Session) hurry(wait time.Duration) {
	if c := s.conn.Load(); c != nil {
		c.endBy(time.Now().Add(wait))
	}
}
