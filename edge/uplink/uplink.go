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

	// mu makes one order of what sessions do: a Session frame goes before the messages of its session, and those before its end. It is never
	// held across I/O nor while the Handler is called.
	mu        sync.Mutex // guards the following
	log       *Log
	admission *admission
	tables    *tables // of the link that is being told or up; nil: there is none
	up        *link.Conn
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
	for ctx.Err() == nil {
		if l := u.connect(ctx); l != nil {
			began := time.Now()
			u.serve(ctx, l)
			if time.Since(began) >= settled {
				u.backoff.reset()
			}
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

// serve tells the edge's tables on l and carries frames until it ends.
func (u *Uplink) serve(ctx context.Context, l *dialled) {
	t := u.tell(l.conn)
	u.metrics.links.Inc()
	u.logger.Info("link up", "relay", l.welcome.Relay, "build", l.welcome.Build, "url", l.url, "broker", l.welcome.Broker,
		"sessions", t.synced.Sessions, "memberships", t.synced.Held, "first", t.synced.First, "last", t.synced.Last)

	stop := context.AfterFunc(ctx, func() { l.conn.Bye(link.CodeNormal, "edge stopped") })
	err := l.conn.Run(context.WithoutCancel(ctx), t, &sink{Uplink: u, tables: t})
	stop()

	u.mu.Lock()
	u.up, u.tables, u.degraded = nil, nil, nil
	u.notify()
	u.mu.Unlock()
	u.handler.LinkDown()

	var end *link.CloseError
	if !errors.As(err, &end) {
		end = &link.CloseError{Code: link.CodeLost, Err: err}
	}
	u.metrics.ends.WithLabelValues(end.Code.String()).Inc()
	if ctx.Err() != nil {
		u.logger.Info("link closed", "relay", l.welcome.Relay)
		return
	}
	u.logger.Warn("link lost", "relay", l.welcome.Relay, "url", l.url, "reason", end.Code.String(), "error", err)
}
