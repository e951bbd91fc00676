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
	// The guests of a Server are at most Config.MaxSessions divided by guestShare, but at least 1.
	guestShare = 16
	// What guests have sent may take Config.Unfinished divided by guestBytesShare.
	guestBytesShare = 2
	// guestCost is what a guest weighs in the crowd, in bytes, beside what it has sent. It is more
	// than the memory of a guest that is silent. So the source that has most guests is the heaviest,
	// unless others have sent much.
	guestCost = unfinishedCost

	// guestWait is how long a guest may take until its first line.
	guestWait = 10 * time.Second
	// confirmWait is how long a guest's first line may take until the relay has confirmed it. SDKs
	// give up a connect after 5 s.
	confirmWait = 4 * time.Second
	// giveWayWait is how long a guest that gives way may take to receive its close frame. Its
	// socket counts among the sessions until then.
	giveWayWait = 100 * time.Millisecond
)

// guests bounds the guests of a Hub, in their number and in the bytes that they have sent. Guests
// are counted by the source of their connection. At a bound, the oldest guest of the source that
// has most gives way. If newcomers were refused instead, whoever opens many could keep everybody
// out. A guest that is about to be confirmed is young, so it seldom gives way.
//
// Sources that hold little count as equal: no more than one guest whose message is of the largest
// size, or a sixteenth of all guests. While all sources hold little, the oldest guest of all gives
// way.
type guests struct {
	most      int   // number of guests; 0: no bound
	mostBytes int64 // bytes that guests have sent; 0: no bound

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

// leave notes that s is no guest any more, if it was one.
func (g *guests) leave(s *Session) {
	if place := g.places[s]; place != nil {
		g.crowd.Leave(place)
		delete(g.places, s)
	}
}

// giveWay takes out the guest that gives way next.
func (g *guests) giveWay() *Session {
	s := g.crowd.First().Value
	g.leave(s)
	return s
}

// bytes returns how many bytes the guests have sent that are kept.
func (g *guests) bytes() int64 { return g.crowd.Weight() - int64(g.crowd.Len())*guestCost }

// sourceOf returns the source of a request: see crowd.Source. All requests without an address have
// one source.
func sourceOf(r *http.Request) netip.Addr {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return crowd.Source(net.TCPAddrFromAddrPort(at))
}

// enterGuest gives s an id and counts s among the guests. It returns false if there are limit
// sessions already. s does not enter the tables yet, and no relay hears of it. If there are too
// many guests, others give way.
func (h *Hub) enterGuest(s *Session, source netip.Addr, limit int) (ok bool) {
	var others []*Session
	defer func() {
		for _, other := range others {
			other.close(ReasonGuests, giveWayWait)
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

// weighGuest counts the bytes that are kept of what a guest has sent. If guests have sent too much,
// some of them give way. One of them may be s. It does nothing if s is no guest any more.
func (h *Hub) weighGuest(s *Session, bytes int) {
	for _, other := range h.guestsOver(s, bytes) {
		other.close(ReasonGuestBytes, giveWayWait)
	}
}

func (h *Hub) guestsOver(s *Session, bytes int) (others []*Session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	g := &h.guests
	place := g.places[s]
	if place == nil {
		return nil
	}
	g.crowd.Weigh(place, int64(bytes)+guestCost)
	for g.mostBytes > 0 && g.bytes() > g.mostBytes && g.crowd.Len() > 1 {
		others = append(others, g.giveWay())
	}
	return others
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
// not fill with lines of guests. Server.checkSDK ends the wait after confirmWait.
//
// The line is charged to nobody: a guest has one line, and no user yet.
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
	if !v.up.Accept(s.info.ID, line) && !r.awaitRoom(line, v.guestDue(s.sdk)-v.now()) {
		v.hub.metrics.dropped[dropNoRoom].Inc()
		return errNoRoom
	}
	select {
	case <-ready:
		s.sdk.connected = true
		r.lags(time.Duration(s.sdk.since.Load())) // what the client sent behind the line waits since then
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
