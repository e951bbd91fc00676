package edge

import (
	"strings"
	"testing"

	"github.com/edgerelay/edgerelay/shared/config"
	"github.com/edgerelay/edgerelay/shared/httpguard"
	"github.com/edgerelay/edgerelay/shared/service"
)

func good(more ...string) []string {
	return append([]string{"EDGE_RELAY_URLS=ws://127.0.0.1:9000", "LINK_KEYS=l:hidden-hidden-hidden", "JWT_KEYS=k:hidden-hidden-hidden"}, more...)
}

func TestConfigDefaults(t *testing.T) {
	c, err := Load(good("EDGE_RELAY_URLS=ws://a:9000, wss://b ,dns://c.internal:9000", "EDGE_ORIGINS= *.example.com , https://a.example"))
	if err != nil {
		t.Fatal(err)
	}
	if c.Auth != "jwt" || c.MaxMessage != 64<<10 || c.Queue != 256<<10 || c.Log != 4<<20 || c.MaxSessions != 50000 || c.Ping.Seconds() != 50 ||
		c.Drain.Seconds() != 30 || c.Rate != 100 || c.TokenQuery || c.RelayURLs[2] != "dns://c.internal:9000" || c.Origins[0] != "*.example.com" {
		t.Errorf("%+v", c)
	}
}

// TestA9_DemandsOfTokensAreRead checks that Load reads JWT_ISSUER and JWT_AUDIENCE. Under
// EDGE_AUTH=open each of these variables must give a warning. If JWT_ISSUER is misspelt,
// config.Unknown must name the right variable. An operator may also write EDGE_JWT_KEYS, since most
// variables of an edge begin with EDGE_. Then config.Unknown must name JWT_KEYS.
func TestA9_DemandsOfTokensAreRead(t *testing.T) {
	set := good("JWT_ISSUER=https://id.example/", "JWT_AUDIENCE=chat", "EDGE_STRICT_IDS=true")
	c, err := Load(set)
	if err != nil || c.Tokens.Issuer != "https://id.example/" || c.Tokens.Audience != "chat" || !c.StrictIDs {
		t.Errorf("%v, %+v", err, c)
	}
	if lines := strings.Join(c.Warnings(), "\n"); strings.Contains(lines, "JWT_") {
		t.Errorf("warnings %q", lines)
	}
	c, err = Load(append(set, "EDGE_AUTH=open"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Join(c.Warnings(), "\n")
	if !strings.Contains(lines, "JWT_ISSUER: demands nothing") || !strings.Contains(lines, "JWT_AUDIENCE: demands nothing") {
		t.Errorf("warnings %q", lines)
	}
	for set, says := range map[string]string{
		"JWT_KEYS= JWT_JWKS_URL=https://id.example/keys JWT_ISSUER=me":     "",
		"JWT_KEYS= JWT_JWKS_URL=https://id.example/keys JWT_AUDIENCE=chat": "",
		"JWT_KEYS= JWT_JWKS_URL=https://id.example/keys":                   "JWT_JWKS_URL: needs JWT_ISSUER or JWT_AUDIENCE",
		"JWT_JWKS_URL=id.example/keys JWT_ISSUER=me":                       "JWT_JWKS_URL: ",
		"JWT_PUBLIC_KEYS=k:/does/not/exist":                                "JWT_PUBLIC_KEYS: open /does/not/exist",
		"JWT_PUBLIC_KEYS=exist":                                            "JWT_PUBLIC_KEYS: ",
	} {
		_, err := Load(good(strings.Fields(set)...))
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", set, err, says)
		}
	}
	for wrong, right := range map[string]string{"JWT_ISUER": "JWT_ISSUER", "EDGE_JWT_KEYS": "JWT_KEYS"} {
		lines := config.Unknown([]string{wrong + "=x"}, Variables())
		if len(lines) != 1 || !strings.HasSuffix(lines[0], " "+right) {
			t.Errorf("%s: warnings %q", wrong, lines)
		}
	}
}

func TestRelayURLs(t *testing.T) {
	for _, u := range []string{"ws://a", "WSS://a/", "ws://a:9000/link", "ws://[::1]:9000", "dns://a:9000", "dns://a:9000/"} {
		if _, err := Load(good("EDGE_RELAY_URLS=" + u)); err != nil {
			t.Error(err)
		}
	}
}

func TestQueueSmallerThanAMessageIsAWarning(t *testing.T) {
	for set, warns := range map[string]bool{"EDGE_QUEUE=64KiB": false, "EDGE_QUEUE=65535": true, "EDGE_MAX_MESSAGE=1MiB": true} {
		c, err := Load(good(set))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(strings.Join(c.Warnings(), "\n"), "EDGE_QUEUE: "); got != warns {
			t.Errorf("%s: warnings %q", set, c.Warnings())
		}
	}
}

func TestNodeID(t *testing.T) {
	for _, c := range []struct{ environ, want string }{
		{"EDGE_NODE_ID=n1 FLY_MACHINE_ID=m1", "n1"},
		{"FLY_MACHINE_ID=m1", "m1"},
	} {
		cfg, err := Load(good(strings.Fields(c.environ)...))
		if err != nil || cfg.Node() != c.want {
			t.Errorf("%s: %q, %v", c.environ, cfg.Node(), err)
		}
	}
	if cfg, err := Load(good()); err != nil || cfg.Node() == "" {
		t.Errorf("no node ID, %v", err)
	}
}

func TestLoopbackOnFlyIsAWarning(t *testing.T) {
	for set, warns := range map[string]bool{
		"FLY_MACHINE_ID=m1 EDGE_ADDR=127.0.0.1:8080": true, "FLY_MACHINE_ID=m1 EDGE_ADDR=localhost:8080": true,
		"FLY_MACHINE_ID=m1": false, "EDGE_ADDR=127.0.0.1:8080": false,
	} {
		c, err := Load(good(strings.Fields(set)...))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(strings.Join(c.Warnings(), "\n"), "EDGE_ADDR: "); got != warns {
			t.Errorf("%s: warnings %q", set, c.Warnings())
		}
	}
}

func TestBadValuesNameTheirVariable(t *testing.T) {
	for _, set := range []string{
		"EDGE_ADDR=8080", "EDGE_ADDR=:x", "EDGE_ADDR=", "EDGE_ADMIN_ADDR=localhost", "EDGE_ADMIN_ADDR=",
		"EDGE_RELAY_URLS=", "EDGE_RELAY_URLS=http://a", "EDGE_RELAY_URLS=a:9000", "EDGE_RELAY_URLS=dns://a", "EDGE_RELAY_URLS=ws://a:9000,", "EDGE_RELAY_URLS=ws://",
		"EDGE_RELAY_URLS=,", "EDGE_RELAY_URLS=ws://a/relay", "EDGE_RELAY_URLS=wss://a/link/", "EDGE_RELAY_URLS=ws://a?x=1", "EDGE_RELAY_URLS=ws://a/link#x",
		"EDGE_RELAY_URLS=ws://u:hidden@a", "EDGE_RELAY_URLS=ws://u:hidden@a:x", "EDGE_RELAY_URLS=ws://a:0", "EDGE_RELAY_URLS=ws://a:70000", "EDGE_RELAY_URLS=dns://a:9000/link",
		"EDGE_ADMIN_ADDR=:8080", "EDGE_ADMIN_ADDR=127.0.0.1:8080",
		"LINK_KEYS=", "LINK_KEYS=hidden", "LINK_KEYS=l:hidden", "JWT_KEYS=", "JWT_KEYS=hidden", "JWT_KEYS=:hidden",
		"EDGE_AUTH=none", "EDGE_AUTH=", "EDGE_TOKEN_QUERY=2", "EDGE_ORIGINS=[", "EDGE_ORIGINS=a,,b", "EDGE_ORIGINS=,", "EDGE_ORIGINS=https://a/", "EDGE_ORIGINS=https://a https://b",
		"EDGE_PING=0s", "EDGE_PING=fast", "EDGE_PING=2h", "EDGE_MAX_MESSAGE=0", "EDGE_MAX_MESSAGE=2MiB", "EDGE_MAX_MESSAGE=64KB",
		"EDGE_MAX_SESSIONS=0", "EDGE_MAX_SESSIONS=-1", "EDGE_MAX_SESSIONS=many", "EDGE_RATE=-1", "EDGE_RATE=x", "EDGE_RATE=NaN",
		"EDGE_QUEUE=0", "EDGE_QUEUE=1GiB", "EDGE_LOG=1", "EDGE_LOG=65MiB", "EDGE_DRAIN=-1s", "EDGE_DRAIN=30",
		"EDGE_NODE_ID=" + strings.Repeat("n", 129), "EDGE_NODE_ID=a\tb", "LOG_LEVEL=x", "LOG_FORMAT=xml",
	} {
		name, _, _ := strings.Cut(set, "=")
		_, err := Load(good(set))
		if err == nil {
			t.Errorf("%s was taken", set)
			continue
		}
		if line := err.Error(); !strings.HasPrefix(line, name+": ") || strings.Contains(line, "\n") || strings.Contains(line, "hidden") {
			t.Errorf("%s: not one line that names the variable and no secret: %s", set, line)
		}
	}
}

// TestKeysWithoutAnyUseAreAWarning sets JWT_KEYS under both values of EDGE_AUTH. An open edge reads
// no token, so its operator may have forgotten to set EDGE_AUTH. Only in this case must Warnings
// warn.
func TestKeysWithoutAnyUseAreAWarning(t *testing.T) {
	for auth, warns := range map[string]bool{"open": true, "jwt": false} {
		c, err := Load(good("EDGE_ADDR=127.0.0.1:8080", "EDGE_AUTH="+auth))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(strings.Join(c.Warnings(), "\n"), "set EDGE_AUTH=jwt"); got != warns {
			t.Errorf("%s: warnings %q", auth, c.Warnings())
		}
	}
}

func TestOpenNeedsNoKeys(t *testing.T) {
	environ := []string{"EDGE_RELAY_URLS=ws://a:1", "LINK_KEYS=l:hidden-hidden-hidden"}
	if _, err := Load(append(environ, "EDGE_AUTH=open")); err != nil {
		t.Error(err)
	}
	if _, err := Load(environ); err == nil || !strings.HasPrefix(err.Error(), "JWT_KEYS: is required under EDGE_AUTH=jwt") {
		t.Errorf("jwt without keys: %v", err)
	}
	for _, wrong := range []string{"JWT_JWKS_URL=id.example.com", "JWT_JWKS_URL=https://me@example.com", "JWT_PUBLIC_KEYS=key.pem", "JWT_PUBLIC_KEYS=-----BEGIN"} {
		variable, _, _ := strings.Cut(wrong, "=")
		if _, err := Load(append(environ, wrong)); err == nil || !strings.HasPrefix(err.Error(), variable+": ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v; want one line", wrong, err)
		}
	}
	for addr, warns := range map[string]bool{":8080": true, "127.0.0.1:8080": false} {
		cfg, err := Load(append(environ, "EDGE_AUTH=open", "EDGE_ADDR="+addr, "EDGE_MAX_SESSIONS=1"))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(strings.Join(cfg.Warnings(), "\n"), "EDGE_AUTH: open"); got != warns {
			t.Errorf("open on %s: warnings %q", addr, cfg.Warnings())
		}
	}
}

// TestP8_NoMoreSessionsThanOpenFiles tests Config.sessions. Of the files that the process may open,
// httpguard.SpareFiles must be left over. If the edge takes fewer sessions than EDGE_MAX_SESSIONS,
// Config.Warnings must warn.
func TestP8_NoMoreSessionsThanOpenFiles(t *testing.T) {
	limit, known := service.OpenFiles()
	if !known || limit < 2*httpguard.SpareFiles || limit > 1<<30 {
		t.Skip(limit, " open files")
	}
	most := int(limit) - httpguard.SpareFiles
	for _, test := range []struct{ asked, want int }{{1, 1}, {most, most}, {most + 1, most}, {1 << 30, most}} {
		c := Config{MaxSessions: test.asked, Auth: "jwt", Queue: 1}
		if got := c.sessions(); got != test.want {
			t.Errorf("%d sessions of %d, want %d", got, test.asked, test.want)
		}
		if warned := len(c.Warnings()) > 0; warned != (test.asked > test.want) {
			t.Errorf("%d sessions: warned %v", test.asked, warned)
		}
	}
}

// TestC3_StrayCharactersInSecretsAreRefused checks that Load refuses a secret with quotes or spaces
// around it, or with a control character in it. Such characters may come from a file or a shell.
// Load must accept a quote or a space within a secret.
func TestC3_StrayCharactersInSecretsAreRefused(t *testing.T) {
	const secret = "hidden-hidden-hidden"
	for _, name := range []string{"LINK_KEYS", "JWT_KEYS"} {
		for _, value := range []string{
			"k:" + secret + "\n", "k:" + secret + "\r", "k:" + secret + " ", "k: " + secret,
			"k:" + secret + `"`, `"k:` + secret + `"`, "k:'" + secret + "'", "'k:" + secret + "'",
			"k:" + secret[:8] + "\t" + secret, "k:" + secret + "\u00a0", "k:" + secret + "\x00",
			"k:" + secret + " ,n:" + secret, "k:" + secret + ",n:'" + secret + "'",
		} {
			_, err := Load(good(name + "=" + value))
			if err == nil || !strings.HasPrefix(err.Error(), name+": ") || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s=%q: %v, want one line", name, value, err)
			}
			if err != nil && strings.Contains(err.Error(), secret[:8]) {
				t.Errorf("%s=%q: the error shows a secret: %v", name, value, err)
			}
		}
		for _, value := range []string{
			"k:" + secret + ",n:" + secret + "-too", "k:" + secret + `"'in it`, "k:" + secret + " in words",
			"k:" + secret + "==", "k:" + secret + ":" + secret, "k:" + secret + "\xff",
		} {
			if _, err := Load(good(name + "=" + value)); err != nil {
				t.Errorf("%s=%q: %v", name, value, err)
			}
		}
	}
	for _, value := range []string{" k:" + secret, "k:" + secret + ", n:" + secret} {
		if _, err := Load(good("JWT_KEYS=" + value)); err != nil {
			t.Errorf("a space before an id: %v", err)
		}
	}
}

// TestC3_StrayCharactersInURLsAreRefused checks that Load refuses relay URLs and origins with
// quotes or control characters, and relay URLs with an inner space.
func TestC3_StrayCharactersInURLsAreRefused(t *testing.T) {
	for _, value := range []string{`"ws://a:9000"`, `ws://a:9000"`, "'ws://a:9000'", "ws://a\n:9000", "ws://a :9000", `dns://"a":9000`} {
		if _, err := Load(good("EDGE_RELAY_URLS=" + value)); err == nil {
			t.Errorf("EDGE_RELAY_URLS=%q is valid", value)
		}
	}
	for _, value := range []string{`"https://a.example"`, "'a.example'", "a.example\"", "a.exa\nmple"} {
		if _, err := Load(good("EDGE_ORIGINS=" + value)); err == nil {
			t.Errorf("EDGE_ORIGINS=%q is valid", value)
		}
	}
}
