package uplink

import (
	"context"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
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

// dial makes one attempt to get a link from the relay at url, within dialTimeout. If the parameter
// connected is not nil, dial calls this function when the network connection is made.
func (u *Uplink) dial(
	ctx context.Context, url string, generation uint64, connected func(),
) (*dialled, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	netDial := u.config.NetDial
	if connected != nil {
		netDial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := u.config.NetDial(ctx, network, addr)
			if err == nil {
				connected()
			}
			return c, err
		}
	}
	conn, welcome, err := link.Dial(ctx, link.DialConfig{
		URL:  url,
		Keys: u.config.Keys,
		Hello: link.Hello{
			Features:   link.FeatureMove | link.FeatureSDK,
			Generation: generation,
			LogSize:    uint64(u.config.LogSize),
			Instance:   u.config.Instance,
			Node:       u.config.Node,
			Build:      u.config.Build,
		},
		NetDial: netDial,
	})
	if err != nil {
		return nil, err
	}
	return &dialled{url: url, conn: conn, welcome: welcome}, nil
}

// failures joins the errors into one line. It sorts them, because dials of a race may fail in any
// order, and the same failures should give the same line. Without errors, the line says that no
// relay has an address.
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

// backoffFirst is the first bound of a backoff, and backoffMax is its highest bound. A backoff
// gives the random delay before a search begins, when a link has ended. A second backoff gives the
// pauses of a search that is older than eagerFor. These pauses are never shorter than roundEvery.
const (
	backoffFirst = 100 * time.Millisecond
	backoffMax   = 5 * time.Second
	// settled is how long a link must last to reset the back-off.
	settled = 5 * time.Second
	// refusedFor is the longest time for which a search leaves out a relay that has refused the key
	// or the version, or that lacks FeatureSDK. The time is random, and at least half as long.
	refusedFor = 30 * time.Second
)

// backoff gives random delays. A delay is any time from 0 up to a bound, which is called full
// jitter. The bound doubles with each delay, up to backoffMax.
type backoff struct{ bound time.Duration }

func (b *backoff) next() time.Duration {
	b.bound = min(max(2*b.bound, backoffFirst), backoffMax)
	return rand.N(b.bound)
}

func (b *backoff) reset() { b.bound = 0 }

// refusals holds the candidates that a search leaves out for a while, keyed by URL. Either the
// candidate has refused this edge, or this edge has refused the candidate.
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
