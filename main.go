// Command edgerelay is a whole cluster in one process: an edge, a relay, and a page to try them.
// The edge reaches the relay over a network in memory, or through RELAY_ADDR if that is set. For
// production there are edge/cmd/edge and relay/cmd/relay.
package main

import (
	"context"
	"net"

	"github.com/edgerelay/edgerelay/edge"
	"github.com/edgerelay/edgerelay/relay"
	"github.com/edgerelay/edgerelay/shared/config"
	"github.com/edgerelay/edgerelay/shared/logging"
	"github.com/edgerelay/edgerelay/shared/memnet"
	"github.com/edgerelay/edgerelay/shared/service"
)

func main() {
	service.Program[settings]{
		Name:      "edgerelay",
		About:     "edgerelay is a whole cluster in one process, to try it and to develop with it.",
		Variables: variables(),
		Ignored:   []string{"EDGE_RELAY_URLS"},
		Load:      load,
		Warnings:  settings.warnings,
		Logging:   func(c settings) logging.Config { return c.edge.Logging },
		Live:      settings.live,
		Run:       run,
	}.Main()
}

// run runs a relay and an edge until ctx is done, or until one of them fails. Then it stops the
// edge before the relay. So messages that the edge has accepted can still reach the relay.
func run(ctx context.Context, cfg settings, p service.Process) error {
	relayOptions := relay.Options{Metrics: p.Registry(), Log: p.Log.With("part", "relay")}
	edgeOptions := edge.Options{Metrics: p.Registry(), Log: p.Log.With("part", "edge"), Pages: page()}
	if cfg.relay.Addr == "" {
		network := memnet.Listen()
		relayOptions.Listener, edgeOptions.NetDial = network, network.DialContext
	}
	r, err := relay.New(cfg.relay, relayOptions)
	if err != nil {
		return err
	}
	if err := r.Listen(); err != nil {
		return err
	}
	if edgeOptions.NetDial == nil {
		edgeOptions.NetDial = dialTo(config.Addr(r.Addr().String()))
	}
	e, err := edge.New(cfg.edge, edgeOptions)
	if err != nil {
		return err
	}
	if err := e.Listen(); err != nil {
		return err
	}

	parts := service.NewStack()
	parts.Start("relay", r.Run)
	parts.Start("edge", e.Run)
	printHints(p.Out, cfg, e.Addr())
	select {
	case <-ctx.Done():
		return parts.Stop()
	case err := <-parts.Failed():
		parts.Stop()
		return err
	}
}

// dialTo returns a function that dials addr, whichever address its caller passes.
func dialTo(addr config.Addr) func(ctx context.Context, network, _ string) (net.Conn, error) {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, addr.Dial())
	}
}
