// Command relay decides who receives what, and connects edges through Redis.
package main

import (
	"context"
	"log/slog"

	"github.com/edgerelay/edgerelay/relay"
	"github.com/edgerelay/edgerelay/shared/service"
)

func main() {
	service.Program[relay.Config]{
		Name:      "relay",
		About:     "relay decides who receives what: it takes the links of edges and publishes through Redis.",
		Variables: relay.Variables(),
		Load:      relay.Load,
		Warnings:  relay.Config.Warnings,
		Logging:   func(c relay.Config) service.Logging { return c.Logging },
		Live:      func(c relay.Config) service.Addr { return c.AdminAddr },
		Run:       run,
	}.Main()
}

func run(ctx context.Context, cfg relay.Config, log *slog.Logger) error {
	r, err := relay.New(cfg, relay.Options{Log: log})
	if err != nil {
		return err
	}
	return r.Run(ctx)
}
