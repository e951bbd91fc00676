// Package edge puts an edge together: configuration, the clients' WebSockets, and the one link to a
// relay.
package edge

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
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/edgerelay/edgerelay/edge/gateway"
	"github.com/edgerelay/edgerelay/edge/uplink"
	"github.com/edgerelay/edgerelay/shared/config"
	"github.com/edgerelay/edgerelay/shared/httpguard"
	"github.com/edgerelay/edgerelay/shared/logging"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/shared/service"
	"github.com/edgerelay/edgerelay/shared/token"
)

// Options replace parts that an Edge would make for itself.
type Options struct {
	Listener net.Listener         // for clients; Run closes it; nil: Listen opens Config.Addr
	Metrics  *prometheus.Registry // nil: the Edge makes a registry of its own
	Log      *slog.Logger         // nil: nothing is logged
	// NetDial makes the network connections of links; nil: the uplink dials over TCP.
	NetDial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Pages answers the requests that the edge has no answer for. If Pages is nil, the answer is
	// 404.
	Pages http.Handler
}

// Edge is one edge. Its life is New, Listen, Run.
type Edge struct {
	cfg      Config
	log      *slog.Logger
	metrics  *prometheus.Registry
	pages    http.Handler
	instance protocol.Instance

	hub     *gateway.Hub
	uplink  *uplink.Uplink
	gateway *gateway.Server
	clients *httpguard.Server
	keys    *token.PublicKeys // nil: there are none

	listener net.Listener
	// buffer is the size in bytes of the kernel's send buffer when a client's connection begins. If
	// EDGE_SEND_BUFFER is above 0, it sets this size. The field is 0 before Listen, and if the size
	// is unknown.
	buffer atomic.Int64
	admin  net.Listener // nil: no admin port

	draining atomic.Bool
	aborted  context.Context // done once Abort is called
	abort    context.CancelFunc
}

// New returns an Edge that neither listens nor dials yet. The error is a config.Problem.
func New(cfg Config, o Options) (*Edge, error) {
	e := &Edge{
		cfg: cfg, log: logging.OrDiscard(o.Log), metrics: o.Metrics, pages: o.Pages, instance: protocol.NewInstance(), listener: o.Listener,
	}
	e.aborted, e.abort = context.WithCancel(context.Background())
	if e.metrics == nil {
		e.metrics = service.NewRegistry()
	}
	if e.pages == nil {
		e.pages = http.NotFoundHandler()
	}
	e.hub = gateway.NewHub(gateway.HubConfig{Metrics: e.metrics, Log: e.log})
	var tokens token.Judge
	var err error
	if cfg.Auth != "open" {
		if tokens, err = cfg.Tokens.Open(e.log); err != nil {
			return nil, err
		}
	}
	e.keys = tokens.Public
	e.keys.Register(e.metrics, "edgerelay_edge_")
	e.uplink, err = uplink.New(uplink.Config{
		URLs:     cfg.RelayURLs,
		Keys:     cfg.LinkKeys,
		Node:     cfg.Node(),
		Instance: e.instance,
		Build:    service.Version(),
		LogSize:  int(cfg.Log),
		Metrics:  e.metrics,
		Log:      e.log,
		NetDial:  o.NetDial,
	}, handler{e.hub})
	if err != nil {
		return nil, config.Problemf("EDGE_RELAY_URLS", "%v", err)
	}
	e.gateway = gateway.NewServer(gateway.Config{
		MaxMessage:  int(cfg.MaxMessage),
		MaxSessions: cfg.sessions(),
		PerUser:     cfg.UserSessions,
		Unfinished:  int(cfg.Unfinished),
		Rate:        cfg.Rate,
		FanOut:      cfg.FanOut,
		Queue:       int(cfg.Queue),
		Ping:        cfg.Ping,
		Origins:     cfg.Origins,
		Replay:      cfg.Machine != "",
		Auth: gateway.Auth{
			Open:       cfg.Auth == "open",
			Tokens:     tokens,
			TokenQuery: cfg.TokenQuery,
		},
		StrictIDs: cfg.StrictIDs,
		Metrics:   e.metrics,
		Log:       e.log,
	}, e.hub, e.uplink)
	promauto.With(e.metrics).NewGaugeFunc(prometheus.GaugeOpts{
		Name: "edgerelay_edge_send_buffer_bytes",
		Help: "What the kernel keeps at most for one client that does not read, as the kernel counts it.",
	}, func() float64 { return float64(e.buffer.Load()) })
	guard := httpguard.Config{
		Handler: http.HandlerFunc(e.public), Name: "edge", Port: "public", Upgraded: e.gateway.Active, Metrics: e.metrics, Log: e.log,
	}
	// The guard checks the host only under EDGE_AUTH=open. An edge that asks for tokens needs no
	// such check: a page of a foreign host has no token, so it cannot connect.
	if cfg.Auth == "open" {
		guard.OtherHosts, guard.OtherHostsBy = cfg.servesHost, "EDGE_ORIGINS"
	}
	e.clients = httpguard.NewServer(guard)
	return e, nil
}

// Listen opens the ports that are not open yet, so that Addr and AdminAddr can be called before
// Run. The error is a config.Problem that names the port's variable. Run calls Listen itself.
func (e *Edge) Listen() (err error) {
	if e.listener == nil {
		if e.listener, err = httpguard.ListenBuffered("EDGE_ADDR", e.cfg.Addr, int(e.cfg.SendBuffer)); err != nil {
			return err
		}
	}
	e.buffer.Store(int64(httpguard.SendBuffer(e.listener)))
	if e.admin == nil && e.cfg.AdminAddr != "" {
		if e.admin, err = httpguard.Listen("EDGE_ADMIN_ADDR", e.cfg.AdminAddr); err != nil {
			e.listener.Close()
			e.listener = nil
			return err
		}
	}
	return nil
}

// Addr returns the address where clients are accepted. It must be called after Listen.
func (e *Edge) Addr() net.Addr { return e.listener.Addr() }

// AdminAddr returns the admin port's address, or nil if there is no admin port. It must be called
// after Listen.
func (e *Edge) AdminAddr() net.Addr {
	if e.admin == nil {
		return nil
	}
	return e.admin.Addr()
}

// Run serves until ctx is done, and then drains. The drain takes about Config.Drain at most. If
// Config.Drain is shorter than 2 s, the drain may take up to 0.5 s more. Stopping the parts may
// take some seconds more. Abort ends Run early.
//
// Run returns *LeftError if the drain leaves accepted messages that no relay has acknowledged.
// Otherwise it returns the error of Listen or of a part, or nil. Run is called once.
func (e *Edge) Run(ctx context.Context) error {
	if err := e.Listen(); err != nil {
		return err
	}
	parts := service.NewStack()
	parts.Start("uplink", e.uplink.Run)
	if e.keys != nil {
		parts.Start("keys", e.keys.Run)
	}
	parts.Start("gateway", func(ctx context.Context) error { e.gateway.Run(ctx); return nil })
	if e.admin != nil {
		server := httpguard.Admin{Name: "edge", Health: e.Health, Metrics: e.metrics, Settings: config.Settings(e.cfg), Log: e.log}.Server()
		parts.Start("admin", func(ctx context.Context) error { return server.Serve(ctx, e.admin, time.Second) })
	}
	parts.Start("clients", func(ctx context.Context) error { return e.clients.Serve(ctx, e.listener, time.Second) })
	e.log.With(logging.Known("region", e.cfg.Region)...).Info("edge serves", "addr", e.listener.Addr().String(), "node", e.cfg.Node(), "instance", e.instance.String())

	var failed error
	select {
	case <-ctx.Done():
		failed = e.drain()
	case <-e.aborted.Done():
	case failed = <-parts.Failed():
		e.log.Error("edge failed", "err", failed)
	}
	if err := parts.Stop(); failed == nil {
		failed = err
	}
	return failed
}

// Abort ends Run without draining, or in the middle of its drain. Messages that the relay has not
// acknowledged may be lost. Anyone may call Abort at any time.
func (e *Edge) Abort() { e.abort() }

// public handles the requests of clients, and of platforms that ask for the edge's health. It is no
// ServeMux, since a ServeMux may redirect a path whose id contains escaped slashes or dots.
func (e *Edge) public(w http.ResponseWriter, r *http.Request) {
	if e.draining.Load() {
		w.Header().Set("Connection", "close")
	}
	read := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch {
	case strings.HasPrefix(r.URL.Path, "/chat/") || r.URL.Path == protocol.SDKPath:
		e.gateway.ServeHTTP(w, r)
	case r.URL.Path == "/livez" && read:
		httpguard.ServeWord(w, http.StatusOK, "live")
	case r.URL.Path == "/readyz" && read:
		e.Health().ServeWord(w)
	default:
		e.pages.ServeHTTP(w, r)
	}
}

// Health returns the content of /readyz. An edge is not ready while it drains, before its first
// link, and while it has no link because each relay refused its key. An edge that has lost its link
// for another reason stays ready. Its clients may find no better edge, and the edge keeps the
// messages that it has accepted.
func (e *Edge) Health() httpguard.Health {
	link := e.uplink.State()
	var causes []string
	switch {
	case link.KeyRefused:
		causes = append(causes, "link key refused")
	case !link.EverLinked:
		causes = append(causes, "never linked")
	}
	if e.draining.Load() {
		causes = append(causes, "draining")
	}
	all, dead := e.hub.Len()
	degraded := link.Degraded
	if e.keys.Stale() {
		degraded = append(slices.Clone(degraded), "jwks")
	}
	return httpguard.NewHealth(causes, degraded, map[string]any{
		"node": e.cfg.Node(), "region": e.cfg.Region, "instance": e.instance.String(), "linked": link.Linked, "sessions": all - dead,
		"relay": link.Relay, "relay_url": link.URL, "relay_rtt_ms": milliseconds(link.RTT), "relay_cause": link.Cause, "jwks_cause": e.keys.Cause(),
	})
}

// milliseconds returns d as a number of milliseconds, or "" for 0.
func milliseconds(d time.Duration) any {
	if d == 0 {
		return ""
	}
	return float64(d.Microseconds()) / 1000
}
