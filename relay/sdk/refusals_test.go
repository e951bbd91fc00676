package sdk

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/edgerelay/edgerelay/relay/router/dialect"
	"github.com/edgerelay/edgerelay/shared/keyring"
	"github.com/edgerelay/edgerelay/shared/token"
)

// TestTheLogSaysWhyATokenIsRefused connects with tokens that are not good, at relays with and
// without keys. The log must say why. A missing key is a warning, which comes once.
func TestTheLogSaysWhyATokenIsRefused(t *testing.T) {
	// The kid of this token is k2 and a line feed.
	const noKey = `{"id":1,"connect":{"token":"eyJhbGciOiJIUzI1NiIsImtpZCI6ImsyXG4ifQ.e30."}}`
	for _, c := range []struct {
		from dialect.Session
		line string
		keys keyring.Keys
		want string
	}{
		{guest, `{"id":1,"connect":{}}`, keyring.Keys{key}, `level=DEBUG msg="token refused" command=connect reason="there is no token"`},
		{guest, `{"id":1,"connect":{"token":"x"}}`, keyring.Keys{key}, `command=connect reason=malformed`},
		{guest, connecting(`{"sub":"a\u0007"}`, ""), keyring.Keys{key}, `reason="its sub cannot be the id of a user here"`},
		{confirmed, `{"id":1,"refresh":{"token":"` + signed(`{"sub":"bob"}`) + `"}}`, keyring.Keys{key},
			`command=refresh reason="its sub is not the user of the session"`},
		{guest, noKey, keyring.Keys{key}, `level=WARN msg="the token of an SDK cannot be judged here, and its client tries again: ` +
			`its key is still to be fetched, or relays lack a JWT variable of the edges" err="its kid names no key" kid="k2\n"`},
		{guest, noKey, nil, `err="no key is set here by which tokens could be judged"`},
		{confirmed, forChannel("subscribe", "all", signed(`{"sub":"alice","channel":"vip"}`)), keyring.Keys{key},
			`command=subscribe reason="its channel is not that of the command"`},
		{confirmed, forChannel("sub_refresh", "vip", signed(`{"sub":"alice"}`)), keyring.Keys{key}, `command=sub_refresh reason="a token for a connection`},
		{guest, connecting(`{"sub":"alice"}`, ""), keyring.Keys{key}, ""},
	} {
		var log strings.Builder
		d := Dialect{
			Tokens: token.Judge{Keys: c.keys, Endless: true}, Version: "1",
			Refusals: NewRefusals(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))),
		}
		d.Parse(c.from, now, []byte(c.line), false)
		if !strings.Contains(log.String(), c.want) || c.want == "" && log.Len() > 0 {
			t.Errorf("%s: logged %q, want %s", c.line, &log, c.want)
		}
		log.Reset()
		d.Parse(c.from, now, []byte(c.line), false)
		if strings.Contains(log.String(), "WARN") {
			t.Errorf("%s: logged twice at once: %s", c.line, &log)
		}
	}
}
