package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/edgerelay/edgerelay/shared/config"
	"github.com/edgerelay/edgerelay/shared/keyring"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/shared/service"
	"github.com/edgerelay/edgerelay/shared/token"
)

// tokenConfig is the part of an edge's configuration that signing needs.
type tokenConfig struct {
	JWTKeys  keyring.Keys `env:"JWT_KEYS,required" secret:"true" type:"keys" doc:"HS256 keys of client tokens, kid:secret[,kid:secret]: the first signs"`
	Issuer   string       `env:"JWT_ISSUER" doc:"the token's iss"`
	Audience string       `env:"JWT_AUDIENCE" doc:"the token's aud"`
}

// printToken prints a token to stdout. With the token an edge can be tried by hand. In production,
// the site that knows the users signs their tokens.
func printToken(args, environ []string, stdout, stderr io.Writer) (status int) {
	flags := flag.NewFlagSet("edge token", flag.ContinueOnError)
	flags.SetOutput(stderr)
	sub := flags.String("sub", "", "the id that the client connects under")
	ttl := flags.Duration("ttl", time.Hour, "the time until the token expires")
	anyID := flags.Bool("any-id", false, "make the token also for an id that edges with EDGE_STRICT_IDS refuse")
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return service.StatusDone
	case err != nil: // Parse has printed the error
		return service.StatusUsage
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "edge token: unknown argument %q\n", flags.Arg(0))
		return service.StatusUsage
	case *ttl <= 0:
		fmt.Fprintln(stderr, "edge token: --ttl must be more than 0")
		return service.StatusUsage
	}
	if err := protocol.CheckID(*sub); err != nil {
		fmt.Fprintf(stderr, "edge token: --sub %v\n", err)
		return service.StatusUsage
	}
	if err := protocol.CheckStrictID(*sub); err != nil && !*anyID {
		fmt.Fprintf(stderr, "edge token: --sub %v; --any-id makes the token all the same, for edges without EDGE_STRICT_IDS\n", err)
		return service.StatusUsage
	}
	cfg, err := config.Load[tokenConfig](environ)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return service.StatusConfig
	}
	text, err := token.Judge{Keys: cfg.JWTKeys, Issuer: cfg.Issuer, Audience: cfg.Audience}.Sign(*sub, time.Now(), *ttl)
	if err != nil {
		fmt.Fprintln(stderr, "edge token:", err)
		return service.StatusFailed
	}
	fmt.Fprintln(stdout, text)
	return service.StatusDone
}
