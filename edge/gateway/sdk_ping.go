package gateway

import (
	"math/rand/v2"
	"time"
)

const (
	// sdkPing is the time between two pings of an SDK's session. The reply to a connect tells an
	// SDK this time. The SDK for Go takes only these pings for signs of life, so they are sent even
	// while other frames are sent. The first ping comes after a random time between half of sdkPing
	// and sdkPing.
	sdkPing = 25 * time.Second
	// sdkPongWait is how long an SDK may take to answer a ping that has left the session's queue.
	// The pong may wait behind lines, but no longer than twice lineWait.
	sdkPongWait = 8 * time.Second
	// sdkGrace is how long a session may go on after its expiry (sdk.until). An SDK asks for a
	// refresh only when the expiry has come.
	sdkGrace = 25 * time.Second
)

// sdkPingFrame is a ping of the SDKs' protocol. All sessions share it, so it must not be changed.
var sdkPingFrame = textFrame("{}")

// confirmed is called when the session of c is confirmed. It sets the time of the first ping and
// the session's expiry. It is called under Hub.mu.
func (v *Server) confirmed(c *conn, until int64) {
	now := v.now()
	c.session.sdk.ping.Store(int64(now + sdkPing/2 + rand.N(sdkPing/2)))
	v.refreshed(c, until)
}

// refreshed notes a new expiry of the session of c. It is called under Hub.mu.
func (v *Server) refreshed(c *conn, until int64) {
	var end time.Time
	if until != 0 {
		end = time.Unix(until, 0).Add(sdkGrace)
	}
	v.setEnd(c, end)
	v.arm(c, v.now())
}

// leave is the end of a session at a later time: its time, its reason, and its close frame.
type leave struct {
	at     time.Duration // by Server.now
	reason Reason
	frame  []byte // close frame
}

// leaves reports whether closeLater was called for a session of an SDK. Such a session may lack
// messages. It gets no publication with a position any more: its SDK would take that position for
// its own, and then nobody could tell what it lacks.
func (s *Session) leaves() bool { return s.sdk != nil && s.sdk.leave.Load() != nil }

// closeLater makes a session of an SDK end at a random moment within the given time. If an earlier
// moment is set already, closeLater does nothing. If the session has no socket, the caller of
// Session.Depart chooses the moment. The method closeLater is called under Hub.mu.
func (s *Session) closeLater(within time.Duration, reason Reason, frame []byte) {
	l, c := &leave{reason: reason, frame: frame}, s.conn.Load()
	if c != nil {
		l.at = c.server.now() + rand.N(within)
	}
	if had := s.sdk.leave.Load(); had != nil && had.at <= l.at {
		return
	}
	s.sdk.leave.Store(l)
	if c != nil {
		c.server.clock.hasten(s, l.at)
	}
}

// pong takes a client's pong. It returns false if no ping has asked for it.
func (k *sdk) pong() bool {
	for {
		owed := k.owed.Load()
		if owed == 0 {
			return false
		}
		if k.owed.CompareAndSwap(owed, owed-1) {
			return true
		}
	}
}

// checkSDK is the part of Server.check that sessions of SDKs have of their own. It sends pings that
// are due. It ends the session of a guest that has not sent its first line in time, or whose
// connect was not confirmed in time. It also ends the session of a client that has not answered a
// ping in time. If closeLater was called for the session, checkSDK closes the session when leave.at
// has come. If checkSDK ends the session, it returns false.
func (v *Server) checkSDK(c *conn, now time.Duration) bool {
	s, k := c.session, c.session.sdk
	if l := k.leave.Load(); l != nil && now >= l.at {
		s.closeWith(l.reason, l.frame, closeWait)
		return false
	}
	ping := time.Duration(k.ping.Load())
	if ping == 0 {
		return v.checkGuest(s, now)
	}
	if k.owed.Load() > 0 && now >= v.pongDue(c) && !c.pingHeld(now) {
		s.close(ReasonSilent, closeWait)
		return false
	}
	if now < ping {
		return true
	}
	for ping <= now { // several may be due, if this process did not run for a while
		ping += sdkPing
	}
	k.ping.Store(int64(ping))
	k.owed.Add(1)
	c.ping(sdkPingFrame, now)
	return true
}

func (v *Server) checkGuest(s *Session, now time.Duration) bool {
	reason := ReasonStale
	if s.sdk.asked.Load() {
		reason = ReasonUnconfirmed
	}
	if now < v.guestDue(s.sdk) {
		return true
	}
	s.close(reason, closeWait)
	return false
}

// guestDue returns when a guest's time is over.
func (v *Server) guestDue(k *sdk) time.Duration {
	wait := guestWait
	if k.asked.Load() {
		wait = confirmWait
	}
	return time.Duration(max(k.since.Load(), v.resumed.Load())) + wait
}

// pongDue returns the time by which the client must have answered the last ping.
func (v *Server) pongDue(c *conn) time.Duration {
	return time.Duration(max(c.pinged.Load(), v.resumed.Load())) + sdkPongWait
}

// sdkDue returns the next moment at which checkSDK may have something to do.
func (v *Server) sdkDue(c *conn) time.Duration {
	k := c.session.sdk
	due := time.Duration(k.ping.Load())
	if due == 0 {
		return v.guestDue(k)
	}
	if k.owed.Load() > 0 {
		due = min(due, v.pongDue(c))
	}
	return due
}
