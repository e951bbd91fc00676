package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/edgerelay/edgerelay/shared/config"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/shared/service"
	"github.com/edgerelay/edgerelay/shared/token"
)

// tokenCommand is "edge token". It prints a token to stdout, or checks one. With a printed token an
// edge can be tried by hand. In production, the site that knows the users signs their tokens.
func tokenCommand(args, environ []string, stdout, stderr io.Writer) (status int) {
	if len(args) > 0 && args[0] == "check" {
		return checkToken(args[1:], environ, os.Stdin, stdout, stderr)
	}
	return printToken(args, environ, stdout, stderr)
}

// tokenUsage begins the help of "edge token", and is that of "edge token check".
const tokenUsage = `Usage:
  edge token --sub ID [FLAGS]   prints a token for a client, to try an edge and a relay with
  edge token check [TOKEN]      says what is right or wrong with a token: status 0 if it is good, else 1

Both read JWT_KEYS, JWT_ISSUER and JWT_AUDIENCE, and check reads JWT_PUBLIC_KEYS and JWT_JWKS_URL, too.
Set them as for the edge. Without an argument, check reads the token from standard input. A provider's
tokens are made by the provider alone.
`

func isHelp(arg string) bool { return arg == "-h" || arg == "-help" || arg == "--help" }

// wanted is what the flags of "edge token" ask for.
type wanted struct {
	sub, channel, caps, info, alg, key, kid string
	ttl                                     time.Duration
	anyID                                   bool
}

func (w *wanted) flags() *flag.FlagSet {
	flags := flag.NewFlagSet("edge token", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&w.sub, "sub", "", "the id that the client connects under")
	flags.DurationVar(&w.ttl, "ttl", time.Hour, "the time until the token expires")
	flags.StringVar(&w.channel, "channel", "", "make the token of a subscription to this channel")
	flags.StringVar(&w.caps, "caps", "", `what the token permits, as JSON: [{"channels":["news:*"],"allow":["sub","pub","hst","prs"]}]`)
	flags.StringVar(&w.info, "info", "", "what others may see of the client, as JSON")
	flags.StringVar(&w.alg, "alg", "", "the algorithm; HS256 without --key, and otherwise what the key wants")
	flags.StringVar(&w.key, "key", "", "file with a private key in PEM, which signs in place of the first of JWT_KEYS")
	flags.StringVar(&w.kid, "kid", "", "the kid of --key")
	flags.BoolVar(&w.anyID, "any-id", false, "make the token also for an id that edges with EDGE_STRICT_IDS refuse")
	return flags
}

// fault returns what is wrong with the flags, or "".
func (w *wanted) fault() string {
	if w.ttl <= 0 {
		return "--ttl must be more than 0"
	}
	if w.kid != "" && w.key == "" {
		return "--kid is for --key; the keys of JWT_KEYS have kids"
	}
	if err := protocol.CheckID(w.sub); err != nil {
		return fmt.Sprintf("--sub %v", err)
	}
	if err := protocol.CheckStrictID(w.sub); err != nil && !w.anyID {
		return fmt.Sprintf("--sub %v; --any-id makes the token all the same, for edges without EDGE_STRICT_IDS", err)
	}
	return ""
}

// signer returns the key that signs.
func (w *wanted) signer(cfg token.Config) (token.SigningKey, error) {
	switch {
	case w.key != "":
		return token.PrivateKey(w.key, w.kid, w.alg)
	case len(cfg.JWTKeys) == 0:
		return token.SigningKey{}, config.Problemf("JWT_KEYS", "is required: kid:secret[,kid:secret]; or name a private key by --key. Tokens for the keys of JWT_JWKS_URL come from its provider")
	case w.alg == "":
		return token.SecretKey(cfg.JWTKeys[0], "HS256")
	}
	return token.SecretKey(cfg.JWTKeys[0], w.alg)
}

func printToken(args, environ []string, stdout, stderr io.Writer) (status int) {
	var w wanted
	flags := w.flags()
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, tokenUsage+"\nFlags:\n")
		flags.SetOutput(stdout)
		flags.PrintDefaults()
		return service.StatusDone
	case err != nil:
		fmt.Fprintf(stderr, "edge token: %v; see edge token --help\n", err)
		return service.StatusUsage
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "edge token: unknown argument %q; see edge token --help\n", flags.Arg(0))
		return service.StatusUsage
	}
	if fault := w.fault(); fault != "" {
		fmt.Fprintln(stderr, "edge token:", fault)
		return service.StatusUsage
	}
	cfg, err := config.Load[token.Config](environ)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return service.StatusConfig
	}
	key, err := w.signer(cfg)
	if problem, is := errors.AsType[config.Problem](err); is {
		fmt.Fprintln(stderr, problem)
		return service.StatusConfig
	}
	now := time.Now()
	if err == nil {
		var text string
		text, err = token.Draft{
			Subject: w.sub, Issuer: cfg.Issuer, Audience: cfg.Audience, Channel: w.channel,
			Info: json.RawMessage(w.info), Caps: json.RawMessage(w.caps), Issued: now, Expires: now.Add(w.ttl),
		}.Sign(key)
		if err == nil {
			fmt.Fprintln(stdout, text)
			return service.StatusDone
		}
	}
	fmt.Fprintln(stderr, "edge token:", err)
	return service.StatusFailed
}
