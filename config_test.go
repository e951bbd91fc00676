package main

import (
	"strings"
	"testing"
)

func TestDefaultsOfOneProcess(t *testing.T) {
	c, err := load(nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.edge.Addr != "127.0.0.1:8080" || c.edge.Auth != "open" || !c.relay.Memory() || c.edge.LinkKeys.IsZero() {
		t.Errorf("edge %s %s, memory %v", c.edge.Addr, c.edge.Auth, c.relay.Memory())
	}
	if c.edge.AdminAddr != "" || c.relay.AdminAddr != "" || c.relay.Addr != "" {
		t.Errorf("opens %q %q %q", c.edge.AdminAddr, c.relay.AdminAddr, c.relay.Addr)
	}
	again, _ := load(nil)
	if c.edge.LinkKeys.String() == "" || string(c.live()) != "127.0.0.1:8080" || again.edge.Node() == "" {
		t.Error("no keys, node or address to ask")
	}
}

func TestVariablesOfOneProcess(t *testing.T) {
	c, err := load([]string{"EDGE_ADMIN_ADDR=127.0.0.1:1", "RELAY_ADDR=127.0.0.1:2", "RELAY_ADMIN_ADDR=127.0.0.1:3", "EDGE_MAX_MESSAGE=1KiB",
		"RELAY_HISTORY_SIZE=7", "RELAY_REDIS_URL=redis://127.0.0.1", "EDGE_RELAY_URLS=ws://elsewhere"})
	if err != nil {
		t.Fatal(err)
	}
	if c.edge.AdminAddr != "127.0.0.1:1" || c.relay.Addr != "127.0.0.1:2" || c.relay.AdminAddr != "127.0.0.1:3" || c.edge.MaxMessage != 1024 ||
		c.relay.HistorySize != 7 || c.relay.Memory() || c.edge.RelayURLs[0] != "ws://relay" || c.live() != "127.0.0.1:1" {
		t.Errorf("%+v", c)
	}
	if w := strings.Join(c.warnings(), "\n"); !strings.Contains(w, "EDGE_RELAY_URLS: ignored") {
		t.Errorf("warnings %q", w)
	}
}

// TestASharedWarningIsGivenOnce checks that a warning of both the edge and the relay is given once.
func TestASharedWarningIsGivenOnce(t *testing.T) {
	c, err := load([]string{"EDGE_AUTH=jwt", "JWT_JWKS_URL=http://127.0.0.1:1/", "JWT_AUDIENCE=me"})
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(strings.Join(c.warnings(), "\n"), "JWT_JWKS_URL: http has no encryption"); n != 1 {
		t.Errorf("%d times in %q", n, c.warnings())
	}
}

// TestA7_StrictIDsAreForPathsAndForCommands sets EDGE_STRICT_IDS, RELAY_STRICT_IDS, both or
// neither. A cluster in one process must warn if exactly one of the two variables is true.
func TestA7_StrictIDsAreForPathsAndForCommands(t *testing.T) {
	for set, warns := range map[string]bool{
		"": false, "EDGE_STRICT_IDS=true": true, "RELAY_STRICT_IDS=true": true, "EDGE_STRICT_IDS=true RELAY_STRICT_IDS=true": false,
	} {
		c, err := load(strings.Fields(set))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(strings.Join(c.warnings(), "\n"), "EDGE_STRICT_IDS: "); got != warns {
			t.Errorf("%s: warnings %q", set, c.warnings())
		}
	}
}

func TestOpenOnlyOnLoopback(t *testing.T) {
	const said = "EDGE_AUTH: must be said"
	for _, c := range []struct {
		environ string
		want    string // how the error begins; "": no error
	}{
		{"EDGE_ADDR=:8080", said},
		{"EDGE_ADDR=0.0.0.0:8080", said},
		{"EDGE_ADDR=[::]:8080", said},
		{"EDGE_ADDR=example.com:8080", said},
		{"EDGE_ADDR=:8080 JWT_KEYS=k:0123456789abcdef", said},
		{"EDGE_ADDR=28080", `EDGE_ADDR: "28080" is not an address`}, // no error about EDGE_AUTH
		{"EDGE_ADDR=:8080 EDGE_AUTH=open", ""},
		{"EDGE_ADDR=:8080 EDGE_AUTH=jwt JWT_KEYS=k:0123456789abcdef", ""},
		{"EDGE_ADDR=:8080 EDGE_AUTH=jwt", "JWT_KEYS: is required"},
		{"EDGE_ADDR=localhost:8080", ""},
		{"EDGE_ADDR=[::1]:8080", ""},
		{"EDGE_ADDR=127.0.0.1:8080 EDGE_AUTH=jwt", "JWT_KEYS: is required"},
		// The next address is the default of EDGE_ADMIN_ADDR for an edge alone. In one process that
		// variable has no default.
		{"EDGE_ADDR=127.0.0.1:9091", ""},
		{"EDGE_ADDR=127.0.0.1:9000", ""},
		{"RELAY_ADDR=127.0.0.1:9092", ""},
		{"EDGE_ADDR=127.0.0.1:9000 RELAY_ADDR=:9000", "RELAY_ADDR: "},
		{"EDGE_ADMIN_ADDR=127.0.0.1:8080", "EDGE_ADMIN_ADDR: "},
		{"LINK_KEYS=short:x", "LINK_KEYS: "},
		{"LOG_LEVEL=loud", "LOG_LEVEL: "},
	} {
		_, err := load(strings.Fields(c.environ))
		switch {
		case err == nil && c.want != "":
			t.Errorf("%s was taken", c.environ)
		case err != nil && (c.want == "" || !strings.HasPrefix(err.Error(), c.want) || strings.Contains(err.Error(), "\n")):
			t.Errorf("%s: %v, want one line %s", c.environ, err, c.want)
		}
	}
}
