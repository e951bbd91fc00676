// Package uplink keeps the one link of an edge to a relay: it chooses a relay and dials it, tells it the edge's tables, keeps what clients sent in
// a log until the relay has acknowledged it, and replays that on every new link.
package uplink

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// Config configures an Uplink.
type Config struct {
	URLs     []string          // of relays, at least one; see CheckURL
	Keys     link.Keys         // must not be empty
	Node     string            // the node ID, a label
	Instance protocol.Instance // of this boot; zero: a new one
	Build    string            // the version, for logs
	LogSize  int               // bounds the Log in bytes, each message counted with EntryCost; default 4 MiB

	Metrics prometheus.Registerer // nil: none
	Log     *slog.Logger          // nil: discarded

	// NetDial makes the network connections; nil: a net.Dialer.
	NetDial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Lookup resolves the names of dns URLs; nil: the system's resolver, both address families.
	Lookup Lookup
}

// Uplink carries what sessions send to a relay, and what the relay sends to a Handler: Links decides what, Uplink dials and owns the goroutines. Run keeps its link;
// all other methods may be called at any time, by anyone.
type Uplink struct {
	*Links
	config Config

	// Owned by Run.
	relays     []*relay
	holds      holds
	backoff    backoff
	generation uint64 // the highest so far
	outage     string // the reason that was logged last while there is no link
	carrier    string // the broker behind the last link, and its relay
	relayed    string

	// Guarded by Links.mu.
	used    *running // the link in use; nil: there is none
	divided bool     // the last survey found relays of different brokers
	refused bool     // every relay refused the key
}

// New returns an Uplink that feeds handler. It does no I/O. The error tells what is wrong with a URL or the keys.
func New(config Config, handler Handler) (*Uplink, error) {
	if len(config.URLs) == 0 {
		return nil, errors.New("no relay URL")
	}
	if config.Keys.IsZero() {
		return nil, errors.New("no link key")
	}
	config.LogSize = cmp.Or(config.LogSize, defaultLogSize)
	if config.Instance == (protocol.Instance{}) {
		config.Instance = protocol.NewInstance()
	}
	if config.Lookup == nil {
		config.Lookup = lookupIP
	}
	u := &Uplink{config: config, holds: make(holds)}
	for _, s := range config.URLs {
		r, err := parseRelay(s)
		if err != nil {
			return nil, err
		}
		u.relays = append(u.relays, r)
	}
	u.Links = NewLinks(LinksConfig{LogSize: config.LogSize, Metrics: config.Metrics, Log: config.Log}, handler)
	u.watchRTT(config.Metrics)
	return u, nil
}

// Run keeps a link until ctx is cancelled: then it says Bye, waits up to 2 s for the relay to close, and returns nil. What is in the log then is
// lost: call Flush before. It is called once.
func (u *Uplink) Run(ctx context.Context) error {
	var aside sync.WaitGroup
	defer aside.Wait()
	aside.Go(func() { u.survey(ctx) })
	aside.Go(func() { u.watchClock(ctx) })
	for ctx.Err() == nil {
		if l := u.connect(ctx, nil); l != nil && u.serve(ctx, u.begin(ctx, l)) {
			continue
		}
		sleep(ctx, u.backoff.next())
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// serve returns when l, and every link that it moves to, has ended, and whether another is to be dialled at once.
func (u *Uplink) serve(ctx context.Context, l *running) (atOnce bool) {
	for {
		select {
		case <-l.over.Done():
			u.down(ctx, l)
			return l.renewed.Load()
		case window := <-l.drain:
			l = u.move(ctx, l, window)
		}
	}
}
