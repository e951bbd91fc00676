package main

import (
	_ "embed"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/edgerelay/edgerelay/edge"
	"github.com/edgerelay/edgerelay/shared/config"
)

//go:embed page.html
var pageHTML []byte

// pagePolicy is the page's Content-Security-Policy. It permits inline scripts and styles. It
// permits images from data URLs, since the page's icon is an empty data URL. It permits connections
// by WebSocket, and to the page's own host.
const pagePolicy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; connect-src 'self' ws: wss:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// page returns a handler for the page on which a user tries the cluster. It serves that page only
// at the path /.
func page() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != "/":
			http.NotFound(w, r)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		default:
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.Header().Set("Content-Security-Policy", pagePolicy)
			w.Header().Set("Cache-Control", "no-cache")
			w.Header().Set("X-Content-Type-Options", "nosniff")
			w.Write(pageHTML)
		}
	})
}

// printHints writes instructions to w: how to try the cluster, and how to stop it.
func printHints(w io.Writer, cfg settings, at net.Addr) {
	addr := config.Addr(at.String()).Dial()
	carrier := "Redis"
	if cfg.relay.Memory() {
		carrier = "memory"
	}
	terminal := "wscat -c ws://" + addr + "/chat/channel/1"
	call, channels := `new Centrifuge("ws://`+addr+`/connection/websocket?user=1")`, "any other name"
	if cfg.edge.Auth == "jwt" {
		terminal += ` -H "Authorization: Bearer $TOKEN"`
		call, channels = `new Centrifuge("ws://`+addr+`/connection/websocket", {token})`, "what the token names"
	}
	channels = "subscribe to group:g1, to all, or to " + channels + "; publish there, or to user:2"
	if !cfg.relay.DefaultChannels() {
		channels = "RELAY_CHANNELS says which channels there are"
	}
	fmt.Fprintf(w, `
edgerelay runs: one edge and one relay in this process, messages through %[2]s.

  in a browser    http://%[1]s/    open it twice, connect as 1 and as 2
  in a terminal   %[5]s
                  > {"Method":"One","MsgBody":{"Id":"2","Msg":"Hello"}}
                  > {"Method":"UserGroup","Group":"g1"}
                  > {"Method":"Group","Group":"g1","MsgBody":"Hi All"}
                  > {"Method":"All","MsgBody":"Hello All"}
  in an app       %[3]s
                  with Centrifugo's SDK for JavaScript: docs/apps.md
                  %[4]s
  is it well      curl http://%[1]s/readyz
`, addr, carrier, call, channels, terminal)
	if cfg.edge.Auth == "jwt" {
		fmt.Fprint(w, "  a token         "+tokenHint(cfg.edge)+"\n")
	}
	fmt.Fprint(w, "  stop            Ctrl-C\n\n")
}

// tokenHint says how a user gets a token.
func tokenHint(c edge.Config) string {
	const call = "TOKEN=$(go run ./edge/cmd/edge token --sub 1"
	switch {
	case len(c.Tokens.JWTKeys) > 0:
		return call + ")    with the same JWT_KEYS"
	case len(c.Tokens.PublicKeys) > 0:
		return call + " --key FILE)    with the private key of JWT_PUBLIC_KEYS"
	}
	return "of your identity provider, in TOKEN: its sub is the id that connects"
}
