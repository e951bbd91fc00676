// Command edge accepts the WebSockets of clients, and carries their messages over one link to a
// relay.
package main

import (
	"context"

	"github.com/edgerelay/edgerelay/edge"
	"github.com/edgerelay/edgerelay/shared/config"
	"github.com/edgerelay/edgerelay/shared/logging"
	"github.com/edgerelay/edgerelay/shared/service"
)

func main() {
	service.Program[edge.Config]{
		Name:      "edge",
		About:     "edge ends client WebSockets and carries their messages over one link to a relay.",
		Variables: edge.Variables(),
		Load:      edge.Load,
		Warnings:  edge.Config.Warnings,
		Logging:   func(c edge.Config) logging.Config { return c.Logging },
		Live:      func(c edge.Config) config.Addr { return c.AdminAddr },
		Run:       run,
		Commands: []service.Command{{
			Name:  "token",
			Usage: "prints a token for a client, or with check says what is right or wrong with one; see edge token --help",
			Run:   tokenCommand,
		}},
	}.Main()
}

func run(ctx context.Context, cfg edge.Config, p service.Process) error {
	e, err := edge.New(cfg, edge.Options{Metrics: p.Registry(), Log: p.Log})
	if err != nil {
		return err
	}
	return e.Run(ctx)
}
