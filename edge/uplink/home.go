package uplink

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/edgerelay/edgerelay/shared/timing"
)

// An edge that had to link to a far relay goes home to a nearer relay later. docs/design/uplink.md
// says more.
const (
	// Before the edge goes home to a nearer relay, it asks that relay again and again, and the
	// relay must answer each question. The edge goes on asking for homeAfter and for a random time
	// of up to homeSpread more, so that many edges do not go at once. The pause before each
	// question is homeAsk.
	homeAfter  = time.Minute
	homeSpread = time.Minute
	homeAsk    = 5 * time.Second
	// homeEvery is the least time between two moves home.
	homeEvery = 10 * time.Minute
	// The nearer relay's round trip must be shorter than that of the relay in use by more than
	// homeLess. It must also be less than half as long.
	homeLess = 5 * time.Millisecond
	// homeTrips is the number of latest surveys that count. Candidates are compared by their
	// shortest round trip in these surveys.
	homeTrips = 3
	// handshakeTrips is how many round trips a handshake takes without TLS: for TCP, for the
	// upgrade, and from Hello to Welcome.
	handshakeTrips = 3
)

// distance holds the latest round trips between the edge and a candidate.
type distance []time.Duration // round trips of up to homeTrips surveys; never empty

// measured returns d with one more round trip. It keeps only the latest homeTrips round trips. The
// parameter took is the duration of a handshake. The round trip is that duration divided by
// handshakeTrips.
func (d distance) measured(took time.Duration) distance {
	if len(d) == homeTrips {
		d = slices.Delete(d, 0, 1)
	}
	return append(d, took/handshakeTrips)
}

// nearer returns the URL of the nearest candidate if the edge should go there, or "" if the edge
// should stay. The parameter used is the URL of the relay in use.
func (s *surveyor) nearer(used string, now time.Time) (url string) {
	here := s.distances[used]
	if len(here) < homeTrips || !s.went.IsZero() && now.Sub(s.went) < homeEvery {
		return ""
	}
	nearest := slices.Min(here)
	most := min(nearest/2, nearest-homeLess)
	for other, d := range s.distances {
		broker := s.last[other].broker
		if len(d) < homeTrips || broker == "" || broker != s.last[used].broker || s.last[other].instance == s.last[used].instance {
			continue
		}
		if trip := slices.Min(d); trip < most {
			url, most = other, trip
		}
	}
	return url
}

// goHome asks the nearer relay at url again and again, for homeAfter and up to homeSpread more. If
// each question was answered, goHome then dials that relay and offers the link to Run. If the relay
// in use says meanwhile that it is degraded, goHome gives up, since the nearer relay may also be
// degraded without the edge's knowledge. The parameter used is the URL of the relay in use.
func (s *surveyor) goHome(ctx context.Context, used, url string) {
	u := s.uplink
	for end := time.Now().Add(homeAfter + rand.N(homeSpread)); time.Now().Before(end); {
		timing.Sleep(ctx, homeAsk, nil)
		if f := u.ask(ctx, url); f.state != relayReachable || u.isDegraded() {
			return
		}
	}
	if u.offer(ctx, url, used, byHome) {
		s.went = time.Now()
	}
}

// offered is a link to a better relay, for Run to take.
type offered struct {
	*dialled
	than string // the URL of the relay in use when the link was dialled
	why  cause
}

// offerWait is how long a link to a better relay is kept for Run to take it.
const offerWait = time.Second

// offer dials a better relay and hands the link to Run. It reports whether Run took the link. Run
// takes no offered link while it looks for a relay itself.
func (u *Uplink) offer(ctx context.Context, url, than string, why cause) (taken bool) {
	u.mu.Lock()
	u.generation++
	generation := u.generation
	u.mu.Unlock()
	l, err := u.dial(ctx, url, generation, nil)
	if err != nil {
		u.logger.Info("a better relay could not be reached", "url", url, "err", err)
		return false
	}
	if !u.takes(l.conn.Features()) {
		l.conn.CloseNow()
		u.refuse(url, errNoSDK)
		return false
	}
	late := time.NewTimer(offerWait)
	defer late.Stop()
	select {
	case u.better <- offered{l, than, why}:
		return true
	case <-late.C:
	case <-ctx.Done():
	}
	l.conn.CloseNow()
	return false
}

// improve moves the edge from its old link to the link that a better relay has given. It closes the
// offered link and returns the old one in two cases: the URL of the old link is not to.than, or the
// old link already leads to the offered relay.
func (u *Uplink) improve(ctx context.Context, old *running, to offered) *running {
	if to.than != old.url || to.welcome.Instance == old.welcome.Instance {
		to.conn.CloseNow()
		return old
	}
	u.logger.Info("another relay is better", "relay", to.welcome.Relay, "url", to.url, "why", to.why.String())
	old.Leaving()
	return u.move(ctx, old, to.dialled, to.why)
}
