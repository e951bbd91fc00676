package gateway

import (
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/edgerelay/edgerelay/shared/crowd"
	"github.com/edgerelay/edgerelay/shared/link"
)

const (
	// A Server's guests are bounded by Config.MaxSessions divided by guestShare. The bound is at
	// least 1.
	guestShare = 16
	// The messages of all guests may take Config.Unfinished divided by guestBytesShare, in bytes.
	guestBytesShare = 2
	// guestCost is the weight of a silent guest in guests.crowd, in bytes. A message adds its
	// buffer to the weight. A silent guest takes less memory than guestCost. But if silent guests
	// weighed little, a source with many of them would be lighter than a source with one large
	// message.
	guestCost = unfinishedCost

	// guestWait is the time in which a guest must send its first line.
	guestWait = 10 * time.Second
	// confirmWait is how long a connect may take from the guest's first line to the confirmation.
	// It is shorter than 5 s, after which an SDK gives up its connect.
	confirmWait = 4 * time.Second
	// giveWayWait is the time in which a guest that gives way can receive its close frame. The
	// guest's socket stays open for that time, and counts in Config.MaxSessions.
	giveWayWait = 100 * time.Millisecond
)

// guests bounds the guests of a Hub: their number, and the bytes of their messages. A message
// counts from its first byte until the guest is confirmed. Each guest belongs to the source of its
// connection. At a bound, the oldest guest of the heaviest source gives way. If newcomers were
// refused instead, a client that opens many connections could keep all other clients out. An honest
// client is a guest for a short time only, so it is seldom the oldest.
//
// Sources count as equal if they weigh no more than guests.crowd.Little. That is the smaller of two
// weights: the weight of one guest with the largest message, and the weight of a sixteenth of the
// guests that the bound permits. While all sources count as equal, the oldest guest of all gives
// way.
type guests struct {
	most      int   // bound of the number of guests; 0: none
	mostBytes int64 // bound of the bytes of the guests' messages; 0: none

	// The following fields are guarded by Hub.mu.
	places map[*Session]*guestPlace
	crowd  crowd.Crowd[netip.Addr, *Session]
}

type guestPlace = crowd.Member[netip.Addr, *Session]

// bound sets the bounds. It must be called before the first guest comes.
func (g *guests) bound(cfg *Config) {
	g.most = max(cfg.MaxSessions/guestShare, 1)
	g.mostBytes = int64(cfg.Unfinished) / guestBytesShare
	g.crowd.Little = min(grown(cfg.MaxMessage)+guestCost, int64(g.most)*guestCost/guestShare)
}

// leave removes s from the guests. If s is no guest, it does nothing.
func (g *guests) leave(s *Session) {
	if place := g.places[s]; place != nil {
		g.crowd.Leave(place)
		delete(g.places, s)
	}
}

// leaveGuests is called when the socket of s is closed, and removes s from the guests. Between the
// session's end and that moment, the client has time to receive a close frame. During that time the
// guest still counts, and may give way.
func (h *Hub) leaveGuests(s *Session) {
	if s.sdk == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.guests.leave(s)
}

// giveWay removes the guest that gives way next, and returns it. There must be a guest.
func (g *guests) giveWay() *Session {
	s := g.crowd.First().Value
	g.leave(s)
	return s
}

// yield closes s, a guest that gives way. Its client has giveWayWait to receive the close frame. If
// the end of s has begun already with a longer time, the method yield shortens that time. This is
// for guests that a relay has refused. After they have given way to newcomers, the bound of guests
// no longer counts them. If many such sockets stayed open for the longer time, they could fill
// Config.MaxSessions.
func (s *Session) yield(r Reason) {
	if !s.close(r, giveWayWait) {
		s.hurry(giveWayWait)
	}
}

// bytes returns the bytes of all guests' messages.
func (g *guests) bytes() int64 { return g.crowd.Weight() - int64(g.crowd.Len())*guestCost }

// sourceOf returns the crowd.Source of a request's connection. All requests without an IP address
// have the same source.
func sourceOf(r *http.Request) netip.Addr {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return crowd.Source(net.TCPAddrFromAddrPort(at))
}

// enterGuest gives s an id and counts s among the guests. The parameter limit bounds the number of
// sessions, guests and dead sessions included. If that number is reached already, enterGuest
// returns false. If there are too many guests, it closes other guests. The guest s does not enter
// the tables yet, and no relay is told of it.
func (h *Hub) enterGuest(s *Session, source netip.Addr, limit int) (ok bool) {
	var others []*Session
	defer func() {
		for _, other := range others {
			other.yield(ReasonGuests)
		}
	}()
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.sessions)+h.strangers >= limit {
		return false
	}
	g := &h.guests
	for g.most > 0 && g.crowd.Len() >= g.most {
		others = append(others, g.giveWay())
	}
	h.last++
	s.info.ID = h.last
	if g.places == nil {
		g.places = map[*Session]*guestPlace{}
	}
	g.places[s] = g.crowd.Join(source, s, guestCost)
	h.strangers++
	return true
}

// weighGuest records how many bytes a guest's message takes. If guests then have too many bytes,
// some of them are closed, and s may be among them. If s is no guest, weighGuest returns false.
func (h *Hub) weighGuest(s *Session, bytes int) (counted bool) {
	others, counted := h.reweighGuest(s, bytes)
	for _, other := range others {
		other.yield(ReasonGuestBytes)
	}
	return counted
}

// reweighGuest does the work of weighGuest, but closes nothing: it returns the guests that the
// caller must close.
func (h *Hub) reweighGuest(s *Session, bytes int) (others []*Session, counted bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	g := &h.guests
	place := g.places[s]
	if place == nil {
		return nil, false
	}
	g.crowd.Weigh(place, int64(bytes)+guestCost)
	for g.mostBytes > 0 && g.bytes() > g.mostBytes && g.crowd.Len() > 1 {
		others = append(others, g.giveWay())
	}
	return others, true
}

// introduce puts a guest into the tables and announces the guest to the relay. Upstream.Enrol must
// have returned nil for the guest.
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
// not fill with lines of guests. Server.checkSDK ends the wait after confirmWait.
//
// No user is charged for the line: a guest has no user yet, and may send no more than this line.
// When the relay has confirmed the connect, the user pays for its channels: see rates.admit.
func (r *reader) connectGuest(line []byte) error {
	s, v := r.session, r.server
	ended := make(chan struct{})
	s.pacing.Store(&ended)
	defer s.pacing.Store(nil)
	// If the session ended before s.pacing was set, its end did not close the channel.
	if _, ending := s.Reason(); ending || !r.enrol(ended) {
		return r.dropLate(line)
	}
	ready := s.sdk.ready // read now, since Confirmed sets the field to nil
	v.hub.introduce(s, v.up)
	if !v.up.Accept(s.info.ID, line) && !r.awaitRoom(line, v.guestDue(s.sdk)-v.now(), ended) {
		if _, ending := s.Reason(); ending {
			return r.dropLate(line)
		}
		v.hub.metrics.dropped[dropNoRoom].Inc()
		return errNoRoom
	}
	select {
	case <-ready:
		s.sdk.connected = true
		// The client's next lines may have waited since the first line came.
		r.lags(time.Duration(s.sdk.since.Load()))
	case <-ended:
	case <-v.ctx.Done():
	}
	return v.ctx.Err()
}

// enrol waits until there is a relay that can take the guest, and returns true. If the session or
// the Server ends first, it returns false.
func (c *conn) enrol(ended <-chan struct{}) bool {
	v, k := c.server, c.session.sdk
	k.since.Store(int64(v.now()))
	k.asked.Store(true)
	v.clock.hasten(c.session, v.guestDue(k))
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
