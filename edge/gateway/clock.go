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

// hasten moves the session's timer to due, unless it fires before.
func (k *clock) hasten(s *Session, due time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s.timer.next == nil || due < s.timer.due {
		k.wheel.set(&s.timer, due)
	}
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

// beat is a tick with both clocks: now and, of the same moment, the wall clock. What the wall clock gained on now since the start, as it does while the
// machine is suspended, counts for tokens. What a batch of the link holds back is written if it has not ended by then.
func (v *Server) beat(wall time.Time, now time.Duration) {
	v.ahead.Store(int64(v.wallSince(wall) - now))
	if v.suspension.Step(wall, now) > 0 {
		v.resume(now)
	}
	v.tick(now)
	v.hub.writers.relieve()
}

// resume goes on after a time that this process did not live through: no client is judged by it, each has all its time from now on. It looks anew when each
// session is due, and is called by the goroutine that calls tick.
func (v *Server) resume(now time.Duration) {
	v.resumed.Store(int64(now))
	for _, s := range v.hub.living() {
		if c := s.conn.Load(); c != nil {
			v.arm(c)
		}
	}
}

// lastSeen returns when a client gave its last sign of life, or could have.
func (v *Server) lastSeen(c *conn) time.Duration {
	return time.Duration(max(c.seen.Load(), v.resumed.Load()))
}

// wallSince returns what the wall clock says of the time since the start, longestStay at most.
func (v *Server) wallSince(wall time.Time) time.Duration {
	return min(wall.Round(0).Sub(v.start.Round(0)), longestStay)
}

// expires returns the time at which a session's token ends, 0: never. It ends by the wall clock, which may have been set or gone on without now; and when its
// time is over by now, so that a wall clock that is set back makes nobody stay longer.
func (v *Server) expires(c *conn) time.Duration {
	if c.expires == 0 {
		return 0
	}
	return max(min(c.expires, c.until-time.Duration(v.ahead.Load())), 1)
}

// awaitRest notes that a client's message is not here as a whole. A timer that fires when the message is complete by then looks in vain. It is for the reader.
func (v *Server) awaitRest(c *conn) {
	now := v.now()
	c.begun.Store(int64(now))
	v.clock.hasten(c.session, now+v.cfg.messageTime())
}

// messageTime is how long a message may take from its first frame on.
func (cfg *Config) messageTime() time.Duration {
	return messageWait + time.Duration(cfg.MaxMessage)*time.Second/messageRate
}

// messageDue returns when the message that is being received must be complete; 0: there is none, or it is not waited for.
func (v *Server) messageDue(c *conn) time.Duration {
	begun := c.begun.Load()
	if begun == 0 {
		return 0
	}
	return time.Duration(max(begun, v.resumed.Load())) + v.cfg.messageTime()
}

// look ends a session whose token expired, whose message does not end, or that gave no sign of life after a ping, and pings a silent one. It reports
// whether the session goes on.
func (v *Server) look(c *conn, now time.Duration) bool {
	if expires := v.expires(c); expires != 0 && now >= expires {
		c.session.close(ReasonExpired, closeWait)
		return false
	}
	if due := v.messageDue(c); due != 0 && now >= due {
		c.session.close(ReasonUnfinished, closeWait)
		return false
	}
	if v.cfg.Ping <= 0 {
		return true
	}
	if c.session.pacing.Load() != nil { // its signs of life are not read
		c.seen.Store(int64(now))
	}
	seen, pinged := v.lastSeen(c), time.Duration(c.pinged.Load())
	if pinged != 0 && seen < pinged {
		if now < pinged+pongWait {
			return true
		}
		c.session.close(ReasonSilent, closeWait)
		return false
	}
	c.pinged.Store(0)
	if now >= seen+v.cfg.Ping {
		c.session.deliver(pingFrame)
		c.pinged.Store(int64(now))
		v.metrics.pings.Inc()
	}
	return true
}

// arm sets the session's timer to when it must be looked at next. A sign of life does not move the timer: it is found when the timer fires.
func (v *Server) arm(c *conn) {
	var due time.Duration
	if v.cfg.Ping > 0 {
		due = v.lastSeen(c) + v.cfg.Ping
		if pinged := time.Duration(c.pinged.Load()); pinged != 0 {
			due = pinged + pongWait
		}
	}
	if expires := v.expires(c); expires != 0 && (due == 0 || expires < due) {
		due = expires
	}
	if due != 0 {
		v.clock.set(c.session, due)
	}
	if due := v.messageDue(c); due != 0 { // behind set: the reader may have begun to wait meanwhile
		v.clock.hasten(c.session, due)
	}
}
