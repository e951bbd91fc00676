// Command edge ends client WebSockets and carries their messages over one link to a relay.
package main

import (
	"context"
	"log/slog"

	"github.com/edgerelay/edgerelay/edge"
	"github.com/edgerelay/edgerelay/shared/service"
)

func main() {
	service.Program[edge.Config]{
		Name:      "edge",
		About:     "edge ends client WebSockets and carries their messages over one link to a relay.",
		Variables: edge.Variables(),
		Load:      edge.Load,
		Warnings:  edge.Config.Warnings,
		Logging:   func(c edge.Config) service.Logging { return c.Logging },
		Live:      func(c edge.Config) service.Addr { return c.AdminAddr },
		Run:       run,
		Commands:  []service.Command{{Name: "token", Usage: "prints a token for a client: --sub ID [--ttl 1h], signed by the first of EDGE_JWT_KEYS", Run: token}},
	}.Main()
}

func run(ctx context.Context, cfg edge.Config, log *slog.Logger) error {
	e, err := edge.New(cfg, edge.Options{Log: log})
	if err != nil {
		return err
	}
	return e.Run(ctx)
}
