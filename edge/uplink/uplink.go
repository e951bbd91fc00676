// Package uplink keeps the one link of an edge to a relay: it chooses a relay and dials it, tells it the edge's tables, keeps what clients sent in
// a log until the relay has acknowledged it, and replays that on every new link.
package uplink

import (
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

const defaultLogSize = 4 << 20

// Uplink carries what sessions send to a relay, and what the relay sends to a Handler. Run keeps its link; all other methods may be called at any
// time, by anyone.
type Uplink struct {
	config  Config
	handler Handler
	logger  *slog.Logger
	metrics *metrics

	// Owned by Run.
	relays     []*relay
	holds      holds
	backoff    backoff
	generation uint64 // the highest so far
	outage     string // the reason that was logged last while there is no link
	carrier    string // the broker behind the last link, and its relay
	relayed    string

	// turn is held while the link in use changes the Handler's tables or the log by a frame from the relay, and while the tables are read for a new link: what a new
	// relay is told, and what is replayed to it, are of one moment. It is taken before mu and never held across I/O.
	turn sync.Mutex

	// mu makes one order of what sessions do: a Session frame goes before the messages of its session, and those before its end. It is never
	// held across I/O nor while the Handler is called.
	mu        sync.Mutex // guards the following
	log       *Log
	admission *admission
	tables    *tables // of the link that is being told or up; nil: there is none
	up        *link.Conn
	used      *running // the same link; nil: there is none
	divided   bool     // the last survey found relays of different brokers
	ever      bool
	refused   bool          // every relay refused the key
	degraded  []string      // as the relay said
	changed   chan struct{} // closed when the log has shrunk or the link is gone; nil: nobody waits
}

// New returns an Uplink that feeds handler. It does no I/O. The error tells what is wrong with a URL or the keys.
func New(config Config, handler Handler) (*Uplink, error) {
	if len(config.URLs) == 0 {
		return nil, errors.New("no relay URL")
	}
	if config.Keys.IsZero() {
		return nil, errors.New("no link key")
	}
	if config.LogSize <= 0 {
		config.LogSize = defaultLogSize
	}
	if config.Instance == (protocol.Instance{}) {
		config.Instance = protocol.NewInstance()
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	if config.Lookup == nil {
		config.Lookup = lookupIP
	}
	u := &Uplink{config: config, handler: handler, logger: config.Log, holds: make(holds), log: NewLog(config.LogSize)}
	u.admission = newAdmission(u.log)
	for _, s := range config.URLs {
		r, err := parseRelay(s)
		if err != nil {
			return nil, err
		}
		u.relays = append(u.relays, r)
	}
	u.metrics = newMetrics(config.Metrics, u)
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
		case <-l.ended.Done():
			u.down(ctx, l)
			return l.renewed.Load()
		case window := <-l.drain:
			l = u.move(ctx, l, window)
		}
	}
}
