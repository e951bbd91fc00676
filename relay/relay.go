// Package relay puts a relay together: the links of edges, the router, the dialects, and the
// broker.
package relay

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/chat"
	"github.com/edgerelay/edgerelay/relay/downlink"
	"github.com/edgerelay/edgerelay/relay/router"
	"github.com/edgerelay/edgerelay/relay/router/dialect"
	"github.com/edgerelay/edgerelay/relay/sdk"
	"github.com/edgerelay/edgerelay/shared/config"
	"github.com/edgerelay/edgerelay/shared/httpguard"
	"github.com/edgerelay/edgerelay/shared/logging"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/shared/service"
	"github.com/edgerelay/edgerelay/shared/token"
)

const (
	drainTime  = 5 * time.Second // longest time from the order to stop until Bye
	moveTime   = 3 * time.Second // longest time for edges to move away, the first part of drainTime
	moveWindow = time.Second     // time within which the edges that can move begin to do so
	byeTime    = 2 * time.Second // longest time for Bye and the edges' answers, after the drain
)

// Options replace parts that a Relay would make for itself.
type Options struct {
	Listener net.Listener         // for links; Run closes it; nil: Listen opens Config.Addr
	Broker   broker.Broker        // Run runs it; nil: New makes the one that Config.RedisURL names
	Metrics  *prometheus.Registry // nil: the Relay makes a registry of its own
	Log      *slog.Logger         // nil: nothing is logged
}

// Relay is one relay. Its life is New, Listen, Run.
type Relay struct {
	cfg     Config
	log     *slog.Logger
	metrics *prometheus.Registry
	broker  broker.Broker
	pump    *router.Pump
	links   *downlink.Server
	public  *httpguard.Server
	keys    *token.PublicKeys // nil: there are none

	listener net.Listener
	admin    net.Listener // nil: no admin port

	draining atomic.Bool
	aborted  context.Context // done after Abort
	abort    context.CancelFunc
}

// New returns a Relay that does not listen yet. An error is a config.Problem.
func New(cfg Config, o Options) (*Relay, error) {
	r := &Relay{
		cfg: cfg, log: logging.OrDiscard(o.Log), metrics: o.Metrics, broker: o.Broker, listener: o.Listener,
	}
	r.aborted, r.abort = context.WithCancel(context.Background())
	if r.metrics == nil {
		r.metrics = service.NewRegistry()
	}
	if r.broker == nil {
		b, err := newBroker(cfg, r.metrics, r.log)
		if err != nil {
			return nil, err
		}
		r.broker = b
	}
	tokens, err := cfg.Tokens.Open(r.log)
	if err != nil {
		return nil, err
	}
	tokens.Endless = true
	r.keys = tokens.Public
	r.keys.Register(r.metrics, "edgerelay_relay_")
	// The place of a dialect in this list is the link.Form of its texts, see router.New.
	clients := sdk.Dialect{
		Tokens:   tokens,
		Refusals: sdk.NewRefusals(r.log),
		Rules:    cfg.permitted, StrictIDs: cfg.StrictIDs, Version: service.Version(),
	}
	dialects := []dialect.Dialect{chat.Dialect{StrictIDs: cfg.StrictIDs, Rules: cfg.permitted}, clients}
	r.pump = router.NewPump(router.New(router.Config{
		History: cfg.HistorySize, HistoryAge: cfg.HistoryAge, TopicRate: int(cfg.TopicRate),
		Metrics: r.metrics, Log: r.log,
	}, r.broker, dialects...))
	r.links = downlink.NewServer(downlink.Config{
		Keys:     cfg.LinkKeys,
		Instance: protocol.NewInstance(),
		Name:     cfg.name(),
		Build:    service.Version(),
		Broker:   r.broker.Name,
		SDK:      true,
		Metrics:  r.metrics,
		Log:      r.log,
	}, feed{r.pump, clients})
	r.public = httpguard.NewServer(httpguard.Config{Handler: r.pages(), Name: "relay", Port: "public", Metrics: r.metrics, Log: r.log})
	return r, nil
}

// Listen opens the ports that are not open yet, so that Addr and AdminAddr are known before Run. An
// error is a config.Problem that names the variable. Run calls Listen too.
func (r *Relay) Listen() (err error) {
	if r.listener == nil {
		if r.listener, err = httpguard.Listen("RELAY_ADDR", r.cfg.Addr); err != nil {
			return err
		}
	}
	if r.admin == nil && r.cfg.AdminAddr != "" {
		if r.admin, err = httpguard.Listen("RELAY_ADMIN_ADDR", r.cfg.AdminAddr); err != nil {
			r.listener.Close()
			return err
		}
	}
	return nil
}

// Addr returns the address where links are accepted. It must be called after Listen.
func (r *Relay) Addr() net.Addr { return r.listener.Addr() }

// AdminAddr returns the admin port's address, or nil without one. It must be called after Listen.
func (r *Relay) AdminAddr() net.Addr {
	if r.admin == nil {
		return nil
	}
	return r.admin.Addr()
}

// Run serves until ctx is done, and then drains. At first the relay goes on for up to 3 s, while
// its edges link to other relays. Then it accepts no more frames from the edges that stayed, and
// waits until their earlier frames are acknowledged. It says Bye to these edges at most 5 s after
// ctx was done. Run returns the error of Listen or of the part that failed, or nil. Abort ends Run
// early. Run may be called only once.
func (r *Relay) Run(ctx context.Context) error {
	if err := r.Listen(); err != nil {
		return err
	}
	parts := service.NewStack()
	parts.Start("broker", func(ctx context.Context) error { return r.broker.Run(ctx, r.pump.Event) })
	if r.keys != nil {
		parts.Start("keys", r.keys.Run)
	}
	parts.Start("router", func(ctx context.Context) error { r.pump.Run(ctx); return nil })
	if r.admin != nil {
		server := httpguard.Admin{Name: "relay", Health: r.Health, Metrics: r.metrics, Settings: config.Settings(r.cfg), Log: r.log}.Server()
		parts.Start("admin", func(ctx context.Context) error { return server.Serve(ctx, r.admin, time.Second) })
	}
	parts.Start("links", func(ctx context.Context) error { return r.public.Serve(ctx, r.listener, time.Second) })
	r.log.With(logging.Known("region", r.cfg.Region)...).Info("relay serves", "addr", r.listener.Addr().String(), "name", r.cfg.name(), "broker", r.brokerKind())
	if r.cfg.DefaultChannels() {
		r.log.Info("RELAY_CHANNELS has its default: whoever an edge lets in may join any group, and may write to any user, to joined groups and to all; see docs/channels.md")
	}

	var failed error
	select {
	case <-ctx.Done():
		r.drain()
	case <-r.aborted.Done():
	case failed = <-parts.Failed():
		r.log.Error("relay failed", "err", failed)
	}
	r.closeLinks()
	if err := parts.Stop(); failed == nil {
		failed = err
	}
	return failed
}

// Abort ends Run without draining, or in the middle of its drain. The edges keep their unfinished
// frames, and replay them on their next links. Any goroutine may call Abort at any time.
func (r *Relay) Abort() { r.abort() }

func (r *Relay) drain() {
	r.draining.Store(true)
	began := time.Now()
	ctx, cancel := context.WithTimeout(r.aborted, drainTime)
	defer cancel()
	r.links.Refuse()
	r.pump.Move(moveWindow)
	r.log.Info("relay drains")
	moving, done := context.WithTimeout(ctx, moveTime)
	stayed := r.links.AwaitMoved(moving)
	done()
	r.log.Info("edges had time to move", "took", time.Since(began), "stayed", stayed)
	err := r.pump.Drain(ctx)
	r.log.Info("relay drained", "took", time.Since(began), "everything_acknowledged", err == nil)
}

// closeLinks says Bye to the edges and waits up to byeTime for their links to end. An aborted relay
// does not wait.
func (r *Relay) closeLinks() {
	ctx, cancel := context.WithTimeout(r.aborted, byeTime)
	defer cancel()
	r.links.Close(ctx)
}

// pages returns the handler of the port that edges reach. Beside /link it has /livez and /readyz,
// for platforms whose checks cannot reach the admin port.
func (r *Relay) pages() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/link", r.links)
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { httpguard.ServeWord(w, http.StatusOK, "live") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { r.Health().ServeWord(w) })
	return mux
}

// Health returns the content of /readyz. If the broker is away, the relay is degraded but ready:
// clients whose edges link to this relay can still reach each other.
func (r *Relay) Health() httpguard.Health {
	var causes []string
	if r.draining.Load() {
		causes = append(causes, "draining")
	}
	degraded, missing := r.pump.Degraded(), r.missingPermissions()
	if missing != "" {
		degraded = append(slices.Clone(degraded), "broker_permissions")
	}
	if r.keys.Stale() {
		degraded = append(slices.Clone(degraded), "jwks")
	}
	return httpguard.NewHealth(causes, degraded, map[string]any{
		"name": r.cfg.name(), "region": r.cfg.Region, "broker": r.brokerKind(), "broker_name": r.broker.Name(),
		"missing_permissions": missing, "broker_cause": r.brokerCause(), "jwks_cause": r.keys.Cause(),
	})
}

// brokerCause returns why the broker is away. It returns "" if the broker names no cause.
func (r *Relay) brokerCause() string {
	if b, ok := r.broker.(interface{ Cause() error }); ok {
		if err := b.Cause(); err != nil {
			return err.Error()
		}
	}
	return ""
}

// missingPermissions names the permissions that the broker needs and is known to lack.
func (r *Relay) missingPermissions() string {
	if b, ok := r.broker.(interface{ Missing() []string }); ok {
		return strings.Join(b.Missing(), " ")
	}
	return ""
}

func (r *Relay) brokerKind() string {
	if r.cfg.Memory() {
		return "memory"
	}
	return "redis"
}
