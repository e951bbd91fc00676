package gateway

import (
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
)

const (
	// The guests of a Server are at most Config.MaxSessions divided by guestShare, but at least 1.
	guestShare = 16
	// guestWait is how long a guest may take until its first line, and how long the relay may then
	// take to confirm the connect.
	guestWait = 10 * time.Second
)

// guests returns how many guests there may be.
func (cfg *Config) guests() int { return max(cfg.MaxSessions/guestShare, 1) }

// enterGuest gives s an id and counts s among the guests. The parameter limit bounds the sessions,
// and most bounds the guests. If a bound is reached already, enterGuest returns false and the
// reason. s does not enter the tables yet, and no relay is told of s.
func (h *Hub) enterGuest(s *Session, limit, most int) (why refusal, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.sessions)+h.strangers >= limit {
		return refuseFull, false
	}
	if len(h.guests) >= most {
		return refuseGuests, false
	}
	h.last++
	s.info.ID = h.last
	h.guests[s] = struct{}{}
	h.strangers++
	h.metrics.guests.Inc()
	return 0, true
}

// leaveGuestsLocked notes that s is no guest any more, if it was one. h.mu must be held.
func (h *Hub) leaveGuestsLocked(s *Session) {
	if _, was := h.guests[s]; was {
		delete(h.guests, s)
		h.metrics.guests.Dec()
	}
}

// introduce puts a guest into the tables and tells the relay of it. Upstream.Enrol must have
// returned nil for the guest.
func (h *Hub) introduce(s *Session, up Upstream) {
	h.mu.Lock()
	s.sdk.known = true
	h.strangers--
	h.addLocked(s)
	client := s.clientLocked()
	h.mu.Unlock()
	told := up.OpenClient(client)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.addedLocked(s, told)
}

// connectGuest gives a guest's first line, which should be its connect, to the upstream. Then it
// waits until the relay has confirmed the connect, or until the session ends. The session is not
// read meanwhile. While no relay can take guests, connectGuest holds the line back. So the log does
// not fill with lines of guests. Server.checkSDK ends the wait after guestWait.
//
// The line is charged to nobody: a guest has one line, and no user yet.
func (c *conn) connectGuest(line []byte) error {
	s, v := c.session, c.server
	ended := make(chan struct{})
	s.pacing.Store(&ended)
	defer s.pacing.Store(nil)
	// If the session ended before s.pacing was set, its end did not close the channel.
	if _, ending := s.Reason(); ending || !c.enrol(ended) {
		return c.dropLate(line)
	}
	ready := s.sdk.ready // read now, since Confirmed sets the field to nil
	v.hub.introduce(s, v.up)
	if !v.up.Accept(s.info.ID, line) && !c.awaitRoom(line) {
		v.hub.metrics.dropped[dropNoRoom].Inc()
		return errNoRoom
	}
	select {
	case <-ready:
		s.sdk.connected = true
	case <-ended:
	case <-v.ctx.Done():
	}
	return v.ctx.Err()
}

// enrol waits until there is a relay that can take the guest, and returns true. If the session ends
// before, it returns false.
func (c *conn) enrol(ended <-chan struct{}) bool {
	v, k := c.server, c.session.sdk
	k.since.Store(int64(v.now()))
	k.asked.Store(true)
	guest := link.Client{ID: c.session.info.ID, Open: k.open, User: c.session.info.User}
	for {
		again := v.up.Enrol(guest)
		if again == nil {
			return true
		}
		select {
		case <-again:
		case <-ended:
			return false
		case <-v.ctx.Done():
			return false
		}
	}
}
