// Package edge puts an edge together: the clients' WebSockets and the one link to a relay.
package edge

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgerelay/edgerelay/edge/gateway"
	"github.com/edgerelay/edgerelay/edge/uplink"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/shared/service"
)

// Options replace what an Edge else makes for itself.
type Options struct {
	Listener net.Listener         // for clients; nil: listens on Config.Addr. Run closes it
	Metrics  *prometheus.Registry // nil: a registry of its own
	Log      *slog.Logger         // nil: discarded
	// NetDial makes the network connections of links; nil: a net.Dialer.
	NetDial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Pages answers requests for other paths than the edge's own; nil: 404.
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
	clients *service.Server

	listener net.Listener
	admin    net.Listener // nil: no admin port

	draining atomic.Bool
	aborted  context.Context // done after Abort
	abort    context.CancelFunc
}

// New returns an Edge that neither listens nor dials yet. An error is a service.Problem.
func New(cfg Config, o Options) (*Edge, error) {
	e := &Edge{
		cfg: cfg, log: service.Discard(o.Log), metrics: o.Metrics, pages: o.Pages, instance: protocol.NewInstance(), listener: o.Listener,
	}
	e.aborted, e.abort = context.WithCancel(context.Background())
	if e.metrics == nil {
		e.metrics = service.NewRegistry()
	}
	if e.pages == nil {
		e.pages = http.NotFoundHandler()
	}
	e.hub = gateway.NewHub(gateway.HubConfig{Metrics: e.metrics, Log: e.log})
	var err error
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
		return nil, service.Problemf("EDGE_RELAY_URLS", "%v", err)
	}
	e.gateway = gateway.NewServer(gateway.Config{
		MaxMessage:  int(cfg.MaxMessage),
		MaxSessions: cfg.sessions(),
		Rate:        cfg.Rate,
		Queue:       int(cfg.Queue),
		Ping:        cfg.Ping,
		Origins:     cfg.Origins,
		Replay:      cfg.Machine != "",
		Auth:        gateway.Auth{Open: cfg.Auth == "open", Keys: cfg.JWTKeys, TokenQuery: cfg.TokenQuery},
		Metrics:     e.metrics,
		Log:         e.log,
	}, e.hub, e.uplink)
	e.clients = service.NewServer(service.ServerConfig{
		Handler: http.HandlerFunc(e.public), Name: "edge", Port: "public", Upgraded: e.gateway.Active, Metrics: e.metrics, Log: e.log,
	})
	return e, nil
}

// Listen opens the edge's ports, so that Addr and AdminAddr are known before Run. An error is a service.Problem that names the variable. Run
// calls it when nobody has.
func (e *Edge) Listen() (err error) {
	if e.listener == nil {
		if e.listener, err = service.Listen("EDGE_ADDR", e.cfg.Addr); err != nil {
			return err
		}
	}
	if e.admin == nil && e.cfg.AdminAddr != "" {
		if e.admin, err = service.Listen("EDGE_ADMIN_ADDR", e.cfg.AdminAddr); err != nil {
			e.listener.Close()
			return err
		}
	}
	return nil
}

// Addr returns where clients are accepted, after Listen.
func (e *Edge) Addr() net.Addr { return e.listener.Addr() }

// AdminAddr returns the admin port's address, after Listen; nil without one.
func (e *Edge) AdminAddr() net.Addr {
	if e.admin == nil {
		return nil
	}
	return e.admin.Addr()
}

// Run serves until ctx is done, then drains over Config.Drain. It returns nil when every accepted message was acknowledged, *LeftError when some had to
// be left, and else the error of the part that failed. It is called once.
func (e *Edge) Run(ctx context.Context) error {
	if err := e.Listen(); err != nil {
		return err
	}
	parts := service.NewStack()
	parts.Start("uplink", e.uplink.Run)
	parts.Start("gateway", func(ctx context.Context) error { e.gateway.Run(ctx); return nil })
	if e.admin != nil {
		server := service.Admin{Name: "edge", Health: e.Health, Metrics: e.metrics, Settings: service.Settings(e.cfg), Log: e.log}.Server()
		parts.Start("admin", func(ctx context.Context) error { return server.Serve(ctx, e.admin, time.Second) })
	}
	parts.Start("clients", func(ctx context.Context) error { return e.clients.Serve(ctx, e.listener, time.Second) })
	e.log.With(service.Known("region", e.cfg.Region)...).Info("edge serves", "addr", e.listener.Addr().String(), "node", e.cfg.Node(), "instance", e.instance.String())

	var failed error
	select {
	case <-ctx.Done():
		failed = e.drain()
	case <-e.aborted.Done():
	case failed = <-parts.Failed():
		e.log.Error("edge failed", "error", failed)
	}
	if err := parts.Stop(); failed == nil {
		failed = err
	}
	return failed
}

// Abort ends Run without draining: what the relay has not acknowledged is lost. It may be called at any time by anyone.
func (e *Edge) Abort() { e.abort() }

// public is what clients and platforms reach. It is no ServeMux: that would redirect ids with an escaped slash or dots in them.
func (e *Edge) public(w http.ResponseWriter, r *http.Request) {
	if e.draining.Load() {
		w.Header().Set("Connection", "close")
	}
	read := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch {
	case strings.HasPrefix(r.URL.Path, "/chat/"):
		e.gateway.ServeHTTP(w, r)
	case r.URL.Path == "/livez" && read:
		service.ServeWord(w, http.StatusOK, "live")
	case r.URL.Path == "/readyz" && read:
		e.Health().ServeWord(w)
	default:
		e.pages.ServeHTTP(w, r)
	}
}

// Health is what /readyz tells. Without a link the edge stays ready: its clients would find no better one elsewhere, and what they send is kept.
func (e *Edge) Health() service.Health {
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
	return service.NewHealth(causes, link.Degraded, map[string]any{
		"node": e.cfg.Node(), "region": e.cfg.Region, "instance": e.instance.String(), "linked": link.Linked, "sessions": all - dead,
	})
}
