package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/edgerelay/edgerelay/shared/config"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/shared/service"
	"github.com/edgerelay/edgerelay/shared/token"
)

// fetchWait is how long "edge token check" waits for the keys of JWT_JWKS_URL.
const fetchWait = 10 * time.Second

// checkToken judges a token as edges and relays with the same variables would, and says in words
// what is right or wrong with it. The token is the argument, or without one the text on stdin.
func checkToken(args, environ []string, stdin io.Reader, stdout, stderr io.Writer) (status int) {
	switch {
	case len(args) == 1 && isHelp(args[0]):
		fmt.Fprint(stdout, tokenUsage)
		return service.StatusDone
	case len(args) > 1 || len(args) == 1 && strings.HasPrefix(args[0], "-"):
		fmt.Fprintln(stderr, "edge token check: want one token, as the argument or on standard input")
		return service.StatusUsage
	}
	text := strings.Join(args, "")
	if text == "" {
		read, err := io.ReadAll(io.LimitReader(stdin, token.MaxBytes+2))
		if err != nil {
			fmt.Fprintln(stderr, "edge token check:", err)
			return service.StatusFailed
		}
		text = string(read)
	}
	text = strings.TrimSpace(text)
	cfg, err := config.Load[token.Config](environ)
	for _, line := range config.Unknown(environ, config.Variables[token.Config]()) {
		fmt.Fprintln(stderr, "warning:", line)
	}
	problems := config.Problems(cfg.Problems())
	switch {
	case err != nil:
	case len(problems) > 0:
		err = problems
	case !cfg.Known():
		err = config.Problemf("JWT_KEYS", "is required, or JWT_PUBLIC_KEYS, or JWT_JWKS_URL: those of the edges and relays")
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		return service.StatusConfig
	}
	for _, line := range cfg.Warnings() {
		fmt.Fprintln(stderr, "warning:", line)
	}
	if slices.Contains(environ, "EDGE_AUTH=open") {
		fmt.Fprintln(stderr, "warning: EDGE_AUTH: is open, and an edge with that reads no token")
	}
	judge, err := cfg.Open(slog.New(slog.DiscardHandler))
	if err != nil {
		fmt.Fprintln(stderr, err)
		return service.StatusConfig
	}
	if judge.Public != nil {
		awaitKeys(judge.Public)
	}
	c := checked{cfg: cfg, judge: judge, now: time.Now(), text: text, says: readUnjudged(text)}
	lines, good := c.lines()
	for _, line := range lines {
		fmt.Fprintln(stdout, line)
	}
	if !good {
		return service.StatusFailed
	}
	return service.StatusDone
}

// awaitKeys fetches the keys of JWT_JWKS_URL once.
func awaitKeys(keys *token.PublicKeys) {
	ctx, cancel := context.WithTimeout(context.Background(), fetchWait)
	ended := make(chan struct{})
	go func() {
		keys.Run(ctx)
		close(ended)
	}()
	for ctx.Err() == nil && keys.Stale() && keys.Cause() == "" {
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
	cancel()
	<-ended
}

// unjudged is what a token says, whoever has signed it. Its values are JSON.
type unjudged struct{ header, claims map[string]json.RawMessage }

// readUnjudged reads as much of a token as can be read.
func readUnjudged(text string) (u unjudged) {
	parts := strings.Split(text, ".")
	for i, into := range []*map[string]json.RawMessage{&u.header, &u.claims} {
		if i < len(parts) {
			decoded, _ := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[i], "="))
			json.Unmarshal(decoded, into)
		}
	}
	return u
}

// quote returns a value for people to read. It is JSON, so it has no control characters.
func quote(value json.RawMessage) string {
	var b bytes.Buffer
	if value == nil || json.Compact(&b, value) != nil {
		return "absent"
	}
	if b.Len() > 200 {
		return fmt.Sprintf("%.200s…", b.String())
	}
	return b.String()
}

// checked is a token that is checked.
type checked struct {
	cfg   token.Config
	judge token.Judge
	now   time.Time
	text  string
	says  unjudged
}

// lines says what is right or wrong with the token.
func (c checked) lines() (lines []string, good bool) {
	judge := c.judge
	judge.Endless = true
	use := judge.Judge
	if value, is := c.says.claims["channel"]; is && string(value) != "null" {
		use = judge.JudgeSubscription
	}
	claims, err := use(c.text, c.now)
	if err != nil {
		return c.wrong(err), false
	}
	lines = []string{fmt.Sprintf("The token is good for %s. It is signed with %s, and %s.",
		quote(c.says.claims["sub"]), quote(c.says.header["alg"]), c.until(claims))}
	if late := c.late("exp"); late != "" {
		lines = append(lines, late)
	}
	if c.cfg.JWKSURL != "" && c.cfg.Audience == "" {
		lines = append(lines, "Its aud is "+quote(c.says.claims["aud"])+", and any other is as good, since JWT_AUDIENCE is not set.")
	}
	if claims.Channel != "" {
		return append(lines, "It is for a subscription to "+quote(c.says.claims["channel"])+", and for no connection."), true
	}
	for _, name := range []string{"info", "channels", "subs", "caps"} {
		if value := c.says.claims[name]; value != nil {
			lines = append(lines, "Its "+name+": "+quote(value))
		}
	}
	if claims.Until.IsZero() {
		lines = append(lines, "Clients of the chat cannot use it, since it has no exp.")
	}
	if err := protocol.CheckID(claims.Subject); err != nil {
		return append(lines, "Nobody can connect with it: its sub, as the id of a user, "+err.Error()+"."), false
	}
	if err := protocol.CheckStrictID(claims.Subject); err != nil {
		lines = append(lines, "EDGE_STRICT_IDS and RELAY_STRICT_IDS would refuse it: its sub "+err.Error()+".")
	}
	return lines, true
}

func (c checked) until(claims token.Claims) string {
	if claims.Until.IsZero() {
		return "never ends"
	}
	if c.late("exp") != "" {
		return "ends in more than a thousand years"
	}
	left := claims.Until.Sub(c.now).Round(time.Second)
	return fmt.Sprintf("ends in %v, at %s", left, claims.Until.UTC().Format("2006-01-02 15:04:05 UTC"))
}

// wrong says why a token is not good.
func (c checked) wrong(err error) (lines []string) {
	_, refused := errors.AsType[token.Fault](err)
	switch {
	case refused:
		lines = append(lines, "The token is refused: "+err.Error()+".")
	case c.keysLack():
		lines = append(lines, "The token cannot be judged: its key is perhaps one of JWT_JWKS_URL, and these cannot be fetched. Clients that bring it are asked to come back.")
	default:
		lines = append(lines, "The token cannot be judged: "+err.Error()+". Clients that bring it are asked to come back.")
	}
	if c.says.header == nil || c.says.claims == nil {
		return append(lines, c.shape())
	}
	if sub := c.says.claims["sub"]; !bytes.HasPrefix(sub, []byte{'"'}) {
		lines = append(lines, "Its sub is "+quote(sub)+", and must be a text: the id of the user.")
	}
	lines = append(lines, "Its header says alg "+quote(c.says.header["alg"])+" and kid "+quote(c.says.header["kid"])+". "+c.known())
	for _, demand := range []struct{ claim, variable, value string }{
		{"iss", "JWT_ISSUER", c.cfg.Issuer}, {"aud", "JWT_AUDIENCE", c.cfg.Audience},
	} {
		if demand.value != "" {
			lines = append(lines, fmt.Sprintf("Its %s is %s, and %s is %q.", demand.claim, quote(c.says.claims[demand.claim]), demand.variable, demand.value))
		}
	}
	dates := ""
	for _, name := range []string{"nbf", "exp"} {
		var seconds float64
		if json.Unmarshal(c.says.claims[name], &seconds) == nil && seconds > -1e11 && seconds < 1e11 {
			dates += fmt.Sprintf("Its %s is %s. ", name, time.Unix(int64(seconds), 0).UTC().Format("2006-01-02 15:04:05 UTC"))
		}
	}
	for _, name := range []string{"nbf", "exp"} {
		if late := c.late(name); late != "" {
			lines = append(lines, late)
		}
	}
	if dates != "" {
		lines = append(lines, dates+"It is now "+c.now.UTC().Format("15:04:05 UTC on 2006-01-02")+".")
	}
	return lines
}

// shape says what kind of text it is that is no token.
func (c checked) shape() string {
	switch parts := strings.Count(c.text, ".") + 1; {
	case len(c.text) > 7 && strings.EqualFold(c.text[:7], "bearer "):
		return `It begins with "` + c.text[:7] + `", which is no part of the token.`
	case strings.ContainsAny(c.text, "\"'`"):
		return "It has quotes, which are no part of a token."
	case parts == 5:
		return "It has five parts, as an encrypted token (JWE) has. Only signed ones are read, which have three."
	case parts == 1:
		return "It has no dots, and a token has two. Some providers give out such texts, which only they can read: ask for a JWT."
	}
	return "A token is three texts with dots between them. The first two are base64url of a JSON object."
}

// late returns a sentence about a date that is so far away that milliseconds were probably meant,
// or "".
func (c checked) late(name string) string {
	var seconds float64
	if json.Unmarshal(c.says.claims[name], &seconds) != nil || seconds < 1e11 {
		return ""
	}
	return "Its " + name + " is " + quote(c.says.claims[name]) + ". It counts seconds, and this looks like milliseconds."
}

// keysLack reports whether the token is of the kind that keys of JWT_JWKS_URL sign, while there are
// none of them.
func (c checked) keysLack() bool {
	return c.judge.Public.Cause() != "" && !bytes.HasPrefix(c.says.header["alg"], []byte(`"HS`))
}

// known says which keys are here.
func (c checked) known() string {
	var kinds []string
	if n := len(c.cfg.JWTKeys); n > 0 {
		kinds = append(kinds, fmt.Sprintf("JWT_KEYS has %s", c.cfg.JWTKeys))
	}
	if len(c.cfg.PublicKeys) > 0 {
		kinds = append(kinds, fmt.Sprintf("JWT_PUBLIC_KEYS has %s", c.cfg.PublicKeys))
	}
	if c.cfg.JWKSURL != "" {
		const most = 8
		kids := c.judge.Public.Kids()
		found := fmt.Sprintf("JWT_JWKS_URL has the keys %q", kids[:min(len(kids), most)])
		if len(kids) > most {
			found += fmt.Sprintf(" and %d more", len(kids)-most)
		}
		if cause := c.judge.Public.Cause(); cause != "" {
			found = "JWT_JWKS_URL cannot be fetched: " + cause
		}
		kinds = append(kinds, found)
	}
	return strings.Join(kinds, ", and ") + "."
}
