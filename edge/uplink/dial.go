package uplink

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/resolve"
)

// dialTimeout bounds one dial, the handshake included.
const dialTimeout = 5 * time.Second

// dialled is a link after its handshake.
type dialled struct {
	url     string
	conn    *link.Conn
	welcome link.Welcome
}

// errSame is the error of a dial that reached the very relay that the edge is leaving.
var errSame = errors.New("it is the relay that stops")

// connect dials the candidates in one race, without those that refused this edge lately. It returns
// nil if none gave a link. leaving is the link that the edge is about to leave, which is still up,
// or nil. The relay of that link does not count.
func (u *Uplink) connect(ctx context.Context, leaving *running) *dialled {
	urls, errs := candidates(ctx, u.relays, u.names)
	u.metrics.failures.WithLabelValues("lookup").Add(float64(len(errs)))
	free, refused := u.refusals.pass(urls, time.Now())

	// Each dial has a generation of its own, and an earlier dial has a higher one. So when two
	// dials reach the same relay, the later one does not replace the link of the earlier one.
	u.generation += uint64(len(free))
	top, started := u.generation, atomic.Uint64{}
	dial := func(ctx context.Context, url string) (*dialled, error) {
		l, err := u.dial(ctx, url, top-(started.Add(1)-1))
		if err == nil && leaving != nil && l.welcome.Instance == leaving.welcome.Instance {
			l.conn.CloseNow()
			return nil, errSame
		}
		return l, err
	}
	rand.Shuffle(len(free), func(i, j int) { free[i], free[j] = free[j], free[i] })
	won, failed := resolve.Race(ctx, free, dial, func(l *dialled) { l.conn.CloseNow() })
	if ctx.Err() != nil {
		if won != nil {
			won.Conn.conn.CloseNow()
		}
		return nil
	}
	errs = append(errs, refused...)
	for _, f := range failed {
		errs = append(errs, f.Err)
		u.refuse(f.Target, f.Err)
	}
	if won == nil && leaving != nil {
		u.logger.Debug("no other relay", "err", failures(errs))
		return nil
	}
	if won == nil {
		u.fail(errs)
		return nil
	}
	u.failure = ""
	return won.Conn
}

// dial makes one attempt, within dialTimeout.
func (u *Uplink) dial(ctx context.Context, url string, generation uint64) (*dialled, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, welcome, err := link.Dial(ctx, link.DialConfig{
		URL:  url,
		Keys: u.config.Keys,
		Hello: link.Hello{
			Features:   link.FeatureMove,
			Generation: generation,
			LogSize:    uint64(u.config.LogSize),
			Instance:   u.config.Instance,
			Node:       u.config.Node,
			Build:      u.config.Build,
		},
		NetDial: u.config.NetDial,
	})
	if err != nil {
		return nil, err
	}
	return &dialled{url: url, conn: conn, welcome: welcome}, nil
}

// refuse counts a failed dial. If the relay refused this edge, refuse notes that, since dialling
// that relay again soon would not help.
func (u *Uplink) refuse(url string, err error) {
	reason := "unreachable"
	switch {
	case errors.Is(err, link.ErrKeyRefused):
		reason = "key"
	case errors.Is(err, link.ErrVersion):
		reason = "version"
	}
	u.metrics.failures.WithLabelValues(reason).Inc()
	if reason == "unreachable" {
		return
	}
	u.refusals.add(url, err, time.Now())
	u.logger.Warn("relay refused this edge", "url", url, "reason", reason, "err", err)
}

// fail notes that no relay gave a link. It logs the reason when that differs from the reason logged
// last.
func (u *Uplink) fail(errs []error) {
	refused := len(errs) > 0
	for _, err := range errs {
		refused = refused && errors.Is(err, link.ErrKeyRefused)
	}
	u.mu.Lock()
	u.refused = refused
	u.mu.Unlock()

	if reason := failures(errs); reason != u.failure {
		u.failure = reason
		u.logger.Warn("no link", "err", reason)
	}
}

// failures makes one line of the errors, each of which names its relay. The errors are sorted,
// because every race ends in another order.
func failures(errs []error) string {
	if len(errs) == 0 {
		return "no relay has an address"
	}
	lines := make([]string, len(errs))
	for i, err := range errs {
		lines[i] = err.Error()
	}
	slices.Sort(lines)
	return strings.Join(lines, "; ")
}

// Delays between races.
const (
	backoffFirst = 100 * time.Millisecond
	backoffMax   = 5 * time.Second
	// settled is how long a link must last to reset the back-off.
	settled = 5 * time.Second
	// refusedFor is the longest time for which a relay is left out of races after it refused the
	// key or the version.
	refusedFor = 30 * time.Second
)

// backoff gives delays with full jitter: any time up to a bound that doubles with each delay.
type backoff struct{ bound time.Duration }

func (b *backoff) next() time.Duration {
	b.bound = min(max(2*b.bound, backoffFirst), backoffMax)
	return rand.N(b.bound)
}

func (b *backoff) reset() { b.bound = 0 }

// refusals are the candidates that refused this edge, each with the time until which it is left out
// of races.
type refusals map[string]refusal

type refusal struct {
	until time.Time
	err   error
}

func (r refusals) add(url string, err error, now time.Time) {
	r[url] = refusal{until: now.Add(refusedFor/2 + rand.N(refusedFor/2)), err: err}
}

// pass returns the URLs to dial, and the errors of the candidates that are left out. It removes
// refusals that have expired or whose URL is no candidate any more.
func (r refusals) pass(urls []string, now time.Time) (free []string, refused []error) {
	kept := make(refusals, len(r))
	for _, u := range urls {
		if refusal, ok := r[u]; ok && now.Before(refusal.until) {
			kept[u] = refusal
			refused = append(refused, refusal.err)
			continue
		}
		free = append(free, u)
	}
	clear(r)
	maps.Copy(r, kept)
	return free, refused
}
