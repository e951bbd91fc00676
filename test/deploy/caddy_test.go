package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

const caddyfile = "deploy/caddy/Caddyfile"

// directive returns the arguments of each line that begins with the given word.
func directive(text, word string) (lines []string) {
	for _, found := range regexp.MustCompile(`(?m)^\s*`+word+`\s+(.+?)(?:\s*\{)?$`).FindAllStringSubmatch(text, -1) {
		lines = append(lines, found[1])
	}
	return lines
}

func TestCaddyfile(t *testing.T) {
	text := read(t, caddyfile)
	one := func(word string) string {
		t.Helper()
		lines := directive(text, word)
		if len(lines) != 1 {
			t.Fatalf("%s: %q", word, lines)
		}
		return lines[0]
	}
	cfg := loadEdge(t, nil)
	edgePort := string(cfg.Addr)
	proxied := one("reverse_proxy")
	if !strings.HasPrefix(proxied, "{$EDGES:") || strings.Count(proxied, edgePort) != 3 {
		t.Errorf("%s, edges listen on %s", proxied, cfg.Addr)
	}
	if one("handle") != "@sockets" || one("@sockets") != "path /chat/* "+protocol.SDKPath {
		t.Errorf("handle %s, which are %s", one("handle"), one("@sockets"))
	}
	// A draining edge begins to close sessions after 5 s or after a sixth of EDGE_DRAIN, whichever
	// is shorter. Two of Caddy's health checks must fit into that time.
	interval, err := time.ParseDuration(one("health_interval"))
	if err != nil || interval > min(cfg.Drain/6, 5*time.Second)/2 {
		t.Errorf("health_interval %v %v, EDGE_DRAIN is %v", interval, err, cfg.Drain)
	}
	if delay, err := time.ParseDuration(one("stream_close_delay")); err != nil || delay < time.Hour {
		t.Errorf("stream_close_delay %v %v", delay, err)
	}
	if len(directive(text, "stream_timeout")) > 0 {
		t.Error("stream_timeout closes sockets")
	}
	e, _ := running(t)
	answers(t, e.public+one("health_uri"))
}

// TestCaddyValidate checks that Caddy finds no fault in the Caddyfile. Caddy may send health checks
// to the edges while it validates. So the test gives Caddy addresses on loopback for the edges.
func TestCaddyValidate(t *testing.T) {
	caddy, err := exec.LookPath("caddy")
	if err != nil {
		t.Skip("caddy is not on the PATH: the Caddyfile is not validated")
	}
	dir := t.TempDir()
	c := exec.CommandContext(t.Context(), caddy, "validate", "--adapter", "caddyfile", "--config", filepath.Join(root, caddyfile))
	c.Env = append(os.Environ(), "EDGES=127.0.0.1:1 127.0.0.1:2 127.0.0.1:3", "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	out, err := c.CombinedOutput()
	if err != nil && strings.Contains(string(out), "stream_close_delay") {
		t.Skipf("this caddy is older than 2.7: the Caddyfile is not validated: %s", out)
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
