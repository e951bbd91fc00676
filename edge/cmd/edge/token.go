package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/edgerelay/edgerelay/edge/gateway"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/shared/service"
)

// tokenConfig is all of an edge's configuration that signing needs.
type tokenConfig struct {
	JWTKeys service.Keys `env:"EDGE_JWT_KEYS,required" secret:"true" doc:"HS256 keys of client tokens, kid:secret[,kid:secret]: the first signs"`
}

// token prints a token, to try an edge by hand: in production the site that knows its users signs them.
func token(args, environ []string, stdout, stderr io.Writer) (status int) {
	flags := flag.NewFlagSet("edge token", flag.ContinueOnError)
	flags.SetOutput(stderr)
	sub := flags.String("sub", "", "the id that the client connects under")
	ttl := flags.Duration("ttl", time.Hour, "the time until the token expires")
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil: // Parse has said it
		return 2
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "edge token: unknown argument %q\n", flags.Arg(0))
		return 2
	case *ttl <= 0:
		fmt.Fprintln(stderr, "edge token: --ttl must be more than 0")
		return 2
	}
	if err := protocol.CheckID(*sub); err != nil {
		fmt.Fprintf(stderr, "edge token: --sub %v\n", err)
		return 2
	}
	cfg, err := service.Load[tokenConfig](environ)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 2
	}
	text, err := gateway.SignToken(cfg.JWTKeys, *sub, *ttl)
	if err != nil {
		fmt.Fprintln(stderr, "edge token:", err)
		return 1
	}
	fmt.Fprintln(stdout, text)
	return 0
}
