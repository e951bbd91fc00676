// Package uplink keeps the one link of an edge to a relay. It chooses a relay, dials it and tells
// it the edge's tables. It keeps the clients' unfinished frames in a log, and replays the log on
// each new link.
package uplink

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/shared/resolve"
	"github.com/edgerelay/edgerelay/shared/timing"
)

// Config configures an Uplink.
type Config struct {
	URLs     []string          // URLs of relays, at least one; see CheckURL
	Keys     link.Keys         // must not be empty
	Node     string            // the node ID, a label
	Instance protocol.Instance // this boot of the edge; zero: New makes one
	Build    string            // the edge's version, for logs
	// LogSize bounds the Log in bytes. Each message counts EntryCost in addition to its payload.
	// The default is 4 MiB.
	LogSize int

	Metrics prometheus.Registerer // nil: none
	Log     *slog.Logger          // nil: discarded

	// NetDial makes the network connections. If it is nil, the Uplink dials the addresses that
	// Lookup finds.
	NetDial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Lookup finds the addresses of names. If it is nil, the system's resolver is asked.
	Lookup resolve.Lookup
}

// Uplink carries the frames of sessions to a relay, and the frames of the relay to a Handler. Links
// decides which frames are sent. Uplink dials, and owns the goroutines. Run keeps the link. Anyone
// may call the other methods at any time.
type Uplink struct {
	*Links
	config Config
	names  *resolve.Names
	better chan offered // links that Run may take

	// The goroutine of Run owns the following fields.
	relays     []*relay
	backoff    backoff
	parting    sync.WaitGroup // goroutines that end old links, or offer links
	failure    string         // the last logged reason why there is no link
	lastBroker string         // broker of the last relay that knew its broker
	lastRelay  string         // name of that relay

	// The lock Links.mu guards the following fields.
	used       *running // the link in use; nil: none
	refusals   refusals
	generation uint64        // the highest generation given to a dial so far
	lastRTT    time.Duration // shortest round trip on the last link that measured any; 0: none
	patience   patience
	divided    bool // the last survey found relays of different brokers
	// In the last failed round each relay refused the key. The field is false if a link has begun
	// since that round.
	refused bool
	// In the last failed round a relay lacked FeatureSDK, which this edge needs. The field is false
	// if a link has begun since that round.
	lacking bool
}

// New returns an Uplink that passes the frames of relays to handler. It does no I/O. New fails if
// there is no URL or no key, or if a URL is malformed.
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
	u := &Uplink{config: config, names: resolve.New(config.Lookup), better: make(chan offered), refusals: make(refusals)}
	if config.NetDial == nil {
		u.config.NetDial = u.names.DialContext
	}
	for _, s := range config.URLs {
		r, err := parseRelay(s)
		if err != nil {
			return nil, err
		}
		u.relays = append(u.relays, r)
	}
	u.Links = NewLinks(LinksConfig{LogSize: config.LogSize, Metrics: config.Metrics, Log: config.Log}, handler)
	u.watchRTT(config.Metrics)
	u.watchLack(config.Metrics)
	return u, nil
}

// Run keeps a link until ctx is cancelled. Then it says Bye on its links, waits up to 2 s for the
// relays to close them, and returns nil. Messages that are still in the log are then lost, so the
// caller should call Flush before it cancels ctx. Run may be called only once.
func (u *Uplink) Run(ctx context.Context) error {
	defer u.names.Close()
	var aside sync.WaitGroup
	defer aside.Wait()
	aside.Go(func() { u.survey(ctx) })
	aside.Go(func() { u.watchClock(ctx) })
	defer u.parting.Wait()
	for ctx.Err() == nil {
		l := u.find(ctx, nil, byLoss)
		if l == nil {
			continue
		}
		if r := u.begin(ctx, l, byLoss); r == nil || !u.serve(ctx, r) {
			timing.Sleep(ctx, u.backoff.next(), nil)
		}
	}
	return nil
}

// serve handles the events of l, and of each link to which the edge moves. The events are drains,
// doubts, offers and the link's end. When the link that is in use has ended, serve returns. The
// result atOnce says whether Run may dial the next link without a pause.
func (u *Uplink) serve(ctx context.Context, l *running) (atOnce bool) {
	for {
		select {
		case <-l.over.Done():
			u.down(ctx, l)
			if time.Since(l.began) >= settled {
				u.backoff.reset()
			}
			return l.renewed.Load()
		case window := <-l.drain:
			l = u.drained(ctx, l, window)
		case to := <-u.better:
			l = u.improve(ctx, l, to)
		case <-l.conn.Doubt():
			if l.conn.Silent() {
				l = u.doubted(ctx, l)
			}
		}
	}
}

// State is the state of an Uplink, for /readyz.
type State struct {
	Linked     bool
	EverLinked bool
	KeyRefused bool // no link, and in the last failed round each relay refused the key
	// Degraded holds "relay" if there is no link. The text lacksSDK follows if the edge has
	// sessions of SDKs, and the last failed round found a relay without FeatureSDK. With a link,
	// Degraded has the list of the relay's last link.Status. In all cases "brokers differ" may
	// follow.
	Degraded []string

	// The following fields are about the link in use. Without a link they are zero.
	Relay, URL string
	RTT        time.Duration // smoothed; 0: not measured yet
	Cause      string        // why the edge linked there: loss, drain, doubt, home, return
}

// State returns the state now.
func (u *Uplink) State() State {
	u.mu.Lock()
	defer u.mu.Unlock()
	s := State{Linked: u.up != nil, EverLinked: u.ever, KeyRefused: u.refused && u.up == nil, Degraded: slices.Clone(u.degraded)}
	if l := u.used; l != nil {
		s.Relay, s.URL, s.RTT, s.Cause = l.welcome.Relay, l.url, l.conn.Stats().RTT, l.why.String()
	}
	if !s.Linked {
		s.Degraded = []string{"relay"}
		if u.lacking {
			s.Degraded = append(s.Degraded, lacksSDK)
		}
	}
	if u.divided {
		s.Degraded = append(s.Degraded, "brokers differ")
	}
	return s
}

// Degraded returns State.Degraded: the parts of the service that are degraded.
func (u *Uplink) Degraded() []string { return u.State().Degraded }
