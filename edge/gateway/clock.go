package gateway

import (
	"sync"
	"time"
)

// clock is the wheel of all sessions: when a session must be looked at next, because of silence or its token.
type clock struct {
	mu    sync.Mutex // guards what follows, and the sessions' timers
	wheel *wheel
	fired []*Session // scratch of step
}

func (k *clock) set(s *Session, due time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.wheel.set(&s.timer, due)
}

func (k *clock) stop(s *Session) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.wheel.stop(&s.timer)
}

// step returns the sessions to look at; the slice is valid until the next step.
func (k *clock) step(now time.Duration) []*Session {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.fired)
	k.fired = k.wheel.step(now, k.fired[:0])
	return k.fired
}

// tick looks at every session whose time has come. Only one goroutine may call it.
func (v *Server) tick(now time.Duration) {
	for _, s := range v.clock.step(now) {
		if c := s.conn.Load(); c != nil && v.look(c, now) {
			v.arm(c)
		}
	}
}

// look ends a session whose token expired or that gave no sign of life after a ping, and pings a silent one. It reports whether the
// session goes on.
func (v *Server) look(c *conn, now time.Duration) bool {
	if c.expires != 0 && now >= c.expires {
		c.session.close(ReasonExpired, closeWait)
		return false
	}
	if v.cfg.Ping <= 0 {
		return true
	}
	seen := time.Duration(c.seen.Load())
	if c.pinged != 0 && seen < c.pinged {
		if now < c.pinged+pongWait {
			return true
		}
		c.session.close(ReasonSilent, closeWait)
		return false
	}
	c.pinged = 0
	if now >= seen+v.cfg.Ping {
		c.session.deliver(pingFrame)
		c.pinged = now
		v.metrics.pings.Inc()
	}
	return true
}

// arm sets the session's timer to when it must be looked at next. A sign of life does not move the timer: it is found when the timer fires.
func (v *Server) arm(c *conn) {
	var due time.Duration
	if v.cfg.Ping > 0 {
		due = time.Duration(c.seen.Load()) + v.cfg.Ping
		if c.pinged != 0 {
			due = c.pinged + pongWait
		}
	}
	if c.expires != 0 && (due == 0 || c.expires < due) {
		due = c.expires
	}
	if due != 0 {
		v.clock.set(c.session, due)
	}
}
