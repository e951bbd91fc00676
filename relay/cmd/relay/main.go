// Command relay is a relay: it takes the links of edges, decides who receives what, and publishes
// through Redis.
package main

import (
	"context"

	"github.com/edgerelay/edgerelay/relay"
	"github.com/edgerelay/edgerelay/shared/config"
	"github.com/edgerelay/edgerelay/shared/logging"
	"github.com/edgerelay/edgerelay/shared/service"
)

func main() {
	service.Program[relay.Config]{
		Name:      "relay",
		About:     "relay decides who receives what: it takes the links of edges and publishes through Redis.",
		Variables: relay.Variables(),
		Load:      relay.Load,
		Warnings:  relay.Config.Warnings,
		Logging:   func(c relay.Config) logging.Config { return c.Logging },
		Live:      func(c relay.Config) config.Addr { return c.AdminAddr },
		Run:       run,
	}.Main()
}

func run(ctx context.Context, cfg relay.Config, p service.Process) error {
	r, err := relay.New(cfg, relay.Options{Metrics: p.Registry(), Log: p.Log})
	if err != nil {
		return err
	}
	return r.Run(ctx)
}
