package uplink

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/resolve"
)

// cause says why an edge looks for a relay.
type cause uint8

const (
	byLoss   cause = iota // there is no link
	byDrain               // the relay of the link stops
	byDoubt               // the relay of the link is silent
	byHome                // another relay is nearer
	byReturn              // the new relay is slow, and the edge goes back
)

var causeNames = [...]string{byLoss: "loss", byDrain: "drain", byDoubt: "doubt", byHome: "home", byReturn: "return"}

func (c cause) String() string { return causeNames[c] }

const (
	// A search looks again and again whether a round may begin. Until the search is as old as
	// eagerFor, the pause between two looks is a random time from roundEvery to twice roundEvery.
	// The pause is never shorter than the round trip.
	//
	// A relay that has too much to do may take a connection and give no link. So if a relay has
	// taken a connection of the latest round, no further round begins beside that round for a
	// while. This lasts until muteEvery has passed since the latest round began.
	roundEvery = 200 * time.Millisecond
	muteEvery  = 700 * time.Millisecond
	// mostRounds bounds how many rounds of a search are under way at one time.
	mostRounds = 12
	// doubtStagger is the time between two dials of a round, while the edge doubts its relay.
	doubtStagger = 100 * time.Millisecond
	// doubtLookup bounds how long a round waits for the look-up of names, while the edge doubts its
	// relay.
	doubtLookup = 300 * time.Millisecond
	// roundWait bounds each dial of a round. If the product of roundTrips and the measured round
	// trip is longer, that product is the bound. But the round trip to a relay may be unknown, or
	// longer than the measured one. So dialTimeout is the bound in every roundLong-th round, and in
	// each round that begins when the search is older than eagerFor.
	roundWait  = 1200 * time.Millisecond
	roundTrips = 6
	roundLong  = 4
	// eagerFor is the age up to which a search may begin a round while another is under way. An
	// older search begins a round only when none is under way. Then a backoff gives the pauses
	// between two looks, and roundEvery is the shortest pause.
	eagerFor = 20 * time.Second
	// heardEvery is the interval at which an edge looks whether the relay that it doubts has been
	// heard.
	heardEvery = 50 * time.Millisecond
	// againAfter is how long the edge waits for a silent link to be heard, after the relay of that
	// link has answered a dial.
	againAfter = 500 * time.Millisecond
)

// errSame is the error of a dial that reached the very relay that the edge is leaving.
var errSame = errors.New("it is the relay that stops")

// errHeard is the error of a dial that is not needed, since the doubted relay has been heard.
var errHeard = errors.New("the relay that was silent has been heard")

// search looks for a relay, in rounds. Each round dials candidates until one of them gives a link.
// Rounds may overlap. docs/design/doubt.md says more.
type search struct {
	u       *Uplink
	leaving *running // the link that is up; nil: none
	why     cause

	began  time.Time
	rounds int
	slow   backoff // pauses between rounds when the search is older than eagerFor
	ended  chan *round
	latest *round
	under  int // rounds under way
}

// round is one attempt of a search to get a link from one of the candidates.
type round struct {
	began     time.Time
	looked    atomic.Bool // the look-up of the candidates' names is over
	connected atomic.Bool // some relay has taken a connection of this round

	won     *dialled
	failed  []resolve.Attempt[*dialled]
	lookups []error
	refused []error // errors of the candidates that the round left out
}

// find looks for a relay, and returns a link whose handshake is done. It returns nil if ctx is done
// first. If the cause is byDoubt, it also returns nil when the silent link has been heard again.
// The parameter leaving is the link that is up, or nil.
func (u *Uplink) find(ctx context.Context, leaving *running, why cause) *dialled {
	s := &search{u: u, leaving: leaving, why: why, began: time.Now(), ended: make(chan *round)}
	ctx, cancel := context.WithCancel(ctx)
	defer s.drop()
	defer cancel()
	var heard <-chan time.Time
	if why == byDoubt {
		ticker := time.NewTicker(heardEvery)
		defer ticker.Stop()
		heard = ticker.C
	}
	s.begin(ctx)
	next := time.NewTimer(s.pause())
	defer next.Stop()
	for {
		select {
		case r := <-s.ended:
			s.under--
			if ctx.Err() == nil {
				s.note(r)
			}
			if r.won != nil {
				return r.won
			}
		case <-next.C:
			if s.mayBegin() {
				s.begin(ctx)
			}
			next.Reset(s.pause())
		case <-heard:
			if !s.leaving.conn.Silent() {
				return nil
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// begin starts a round. When the round has ended, it comes on the channel ended.
func (s *search) begin(ctx context.Context) {
	wait := max(roundWait, roundTrips*s.u.rtt())
	if s.rounds%roundLong == roundLong-1 || !s.eager() {
		wait = dialTimeout
	}
	r := &round{began: time.Now()}
	s.latest = r
	s.rounds++
	s.under++
	go func() {
		s.race(ctx, r, wait)
		s.ended <- r
	}()
}

// drop waits for the rounds that are under way, and closes the links that they bring.
func (s *search) drop() {
	for ; s.under > 0; s.under-- {
		if r := <-s.ended; r.won != nil {
			r.won.conn.CloseNow()
		}
	}
}

func (s *search) eager() bool { return time.Since(s.began) < eagerFor }

// pause returns the time until the search looks again whether a round may begin.
func (s *search) pause() time.Duration {
	if !s.eager() {
		return max(s.slow.next(), roundEvery)
	}
	return max(roundEvery+rand.N(roundEvery), s.u.rtt())
}

// mayBegin reports whether a round may begin beside those that are under way.
func (s *search) mayBegin() bool {
	if s.under == 0 {
		return true
	}
	mute := s.latest.connected.Load() && time.Since(s.latest.began) < muteEvery
	return s.eager() && s.latest.looked.Load() && !mute && s.under < mostRounds
}

// race looks up the candidates and dials them in a random order until one gives a link. It leaves
// out the candidates that are in Uplink.refusals. The relay that the edge is leaving comes last.
// The parameter wait bounds each dial.
func (s *search) race(ctx context.Context, r *round, wait time.Duration) {
	u := s.u
	lookup, stagger := lookupWait, resolve.Stagger
	if s.why == byDoubt {
		lookup, stagger = doubtLookup, doubtStagger
	}
	var urls []string
	urls, r.lookups = candidates(ctx, u.relays, u.names, lookup)
	r.looked.Store(true)
	u.mu.Lock()
	free, refused := u.refusals.pass(urls, time.Now())
	// Each dial of a round has a generation of its own. An earlier dial has a higher generation. So
	// when two dials reach the same relay, the later dial does not replace the link of the earlier
	// dial.
	u.generation += uint64(len(free))
	top, started := u.generation, atomic.Uint64{}
	u.mu.Unlock()
	r.refused = refused

	dial := func(ctx context.Context, url string) (*dialled, error) {
		short, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		l, err := u.dial(short, url, top-(started.Add(1)-1), func() { r.connected.Store(true) })
		if err != nil {
			return nil, err
		}
		if err := s.suits(ctx, l); err != nil {
			l.conn.CloseNow()
			return nil, err
		}
		return l, nil
	}
	rand.Shuffle(len(free), func(i, j int) { free[i], free[j] = free[j], free[i] })
	if s.leaving != nil {
		if i := slices.Index(free, s.leaving.url); i >= 0 {
			free = append(slices.Delete(free, i, i+1), s.leaving.url)
		}
	}
	won, failed := resolve.Race(ctx, stagger, free, dial, func(l *dialled) { l.conn.CloseNow() })
	r.failed = failed
	if won != nil {
		r.won = won.Conn
	}
}

// suits returns nil if the edge takes the dialled link l. Otherwise it returns why the edge does
// not take l. The relay of a silent link may answer a dial. In that case suits waits up to
// againAfter for the silent link to be heard. If that link stays silent, the edge needs the new
// one.
func (s *search) suits(ctx context.Context, l *dialled) error {
	if !s.u.takes(l.conn.Features()) {
		return errNoSDK
	}
	old := s.leaving
	if old == nil || old.over.Err() != nil {
		return nil
	}
	same := l.welcome.Instance == old.welcome.Instance
	switch s.why {
	case byDrain:
		if same {
			return errSame
		}
	case byDoubt:
		if same {
			awaitHeard(ctx, old, againAfter)
		}
		if !old.conn.Silent() {
			return errHeard
		}
	}
	return ctx.Err()
}

// awaitHeard returns when the link has been heard, when ctx is done, or when the given time has
// passed.
func awaitHeard(ctx context.Context, l *running, wait time.Duration) {
	end := time.NewTimer(wait)
	defer end.Stop()
	ticker := time.NewTicker(heardEvery)
	defer ticker.Stop()
	for l.conn.Silent() {
		select {
		case <-ticker.C:
		case <-end.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// note counts the failed dials and look-ups of a round. If the edge has no link and the round gave
// none, note passes the reasons to Uplink.fail.
func (s *search) note(r *round) {
	u := s.u
	u.metrics.failures.WithLabelValues("lookup").Add(float64(len(r.lookups)))
	errs := append(r.lookups, r.refused...)
	for _, f := range r.failed {
		errs = append(errs, f.Err)
		if !errors.Is(f.Err, errSame) && !errors.Is(f.Err, errHeard) {
			u.refuse(f.Target, f.Err)
		}
	}
	switch {
	case r.won != nil:
		u.failure = ""
	case s.leaving != nil:
		u.logger.Debug("no other relay", "err", failures(errs))
	default:
		u.fail(errs)
	}
}

// refuse counts a failed dial. If the relay refused the key or the version, or lacks FeatureSDK,
// refuse adds the relay to the refusals and logs a warning.
func (u *Uplink) refuse(url string, err error) {
	reason := "unreachable"
	switch {
	case errors.Is(err, link.ErrKeyRefused):
		reason = "key"
	case errors.Is(err, link.ErrVersion):
		reason = "version"
	case errors.Is(err, errNoSDK):
		reason = "feature"
	}
	u.metrics.failures.WithLabelValues(reason).Inc()
	if reason == "unreachable" {
		return
	}
	u.mu.Lock()
	u.refusals.add(url, err, time.Now())
	u.mu.Unlock()
	u.logger.Warn("no link to this relay for a while", "url", url, "reason", reason, "err", err)
}

// fail is called when a round gave no link and the edge has none. It logs the reasons, unless the
// previous call had the same reasons and no round has given a link since that call. If the edge has
// sessions of SDKs and a relay lacks FeatureSDK, somebody must update that relay. So fail logs an
// error as well. It does not log that error if the previous failed round had found such a relay
// too, and no link has begun since that round.
func (u *Uplink) fail(errs []error) {
	refused, lacking := len(errs) > 0, false
	for _, err := range errs {
		refused = refused && errors.Is(err, link.ErrKeyRefused)
		lacking = lacking || errors.Is(err, errNoSDK)
	}
	u.mu.Lock()
	worse := lacking && !u.lacking
	u.refused, u.lacking = refused, lacking
	clients := u.log.Clients()
	u.mu.Unlock()
	if worse {
		u.logger.Error("this edge has no link: it has sessions of SDKs, and the relays that answer do not know them", "sessions", clients)
	}

	if reason := failures(errs); reason != u.failure {
		u.failure = reason
		u.logger.Warn("no link", "err", reason)
	}
}

// rtt returns the shortest of the last round trips on the link in use, or 0 if none was measured
// there yet. If no link is in use, rtt returns the shortest round trip of the last link on which
// one was measured. It returns 0 if there never was such a link.
func (u *Uplink) rtt() time.Duration {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.used != nil {
		return u.used.conn.Stats().ShortRTT
	}
	return u.lastRTT
}
