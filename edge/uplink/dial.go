package uplink

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
)

// dialTimeout bounds one dial, the handshake included.
const dialTimeout = 5 * time.Second

// dialled is a link after its handshake.
type dialled struct {
	url     string
	conn    *link.Conn
	welcome link.Welcome
}

func lookupIP(ctx context.Context, name string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", name)
}

// errSame is for a relay that was to be left.
var errSame = errors.New("it is the relay that stops")

// connect races the relays there are once; that of leaving, a link that is up yet, does not count. nil: none gave a link.
func (u *Uplink) connect(ctx context.Context, leaving *running) *dialled {
	urls, errs := candidates(ctx, u.relays, u.config.Lookup)
	u.metrics.failures.WithLabelValues("lookup").Add(float64(len(errs)))
	free, held := u.holds.pass(urls, time.Now())

	// Each dial has a generation of its own, the earlier start the higher one: when two reach the same relay, the later does not replace the first.
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
	won, failed := race(ctx, free, dial, func(l *dialled) { l.conn.CloseNow() })
	if ctx.Err() != nil {
		if won != nil {
			won.conn.conn.CloseNow()
		}
		return nil
	}
	errs = append(errs, held...)
	for _, f := range failed {
		errs = append(errs, f.err)
		u.refuse(f.url, f.err)
	}
	if won == nil && leaving != nil {
		u.logger.Debug("no other relay", "error", outage(errs))
		return nil
	}
	if won == nil {
		u.fail(errs)
		return nil
	}
	u.outage = ""
	return won.conn
}

// dial is one attempt.
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

// refuse counts a failed dial, and holds a relay that refused this edge: dialling it again soon would not help.
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
	u.holds.add(url, err, time.Now())
	u.logger.Warn("relay refused this edge", "url", url, "reason", reason, "error", err)
}

// fail notes that no relay gave a link, and logs why when it is not what it was.
func (u *Uplink) fail(errs []error) {
	refused := len(errs) > 0
	for _, err := range errs {
		refused = refused && errors.Is(err, link.ErrKeyRefused)
	}
	u.mu.Lock()
	u.refused = refused
	u.mu.Unlock()

	if reason := outage(errs); reason != u.outage {
		u.outage = reason
		u.logger.Warn("no link", "error", reason)
	}
}

// outage makes one line of the errors, each of which names its relay. They are sorted, since a race is in another order each time.
func outage(errs []error) string {
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
