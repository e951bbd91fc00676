package gateway

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// TestOriginPatterns checks that each accepted pattern admits the origin in its row. A refused
// pattern must not admit the origin in its row. For the empty pattern, the test checks only the
// refusal.
func TestOriginPatterns(t *testing.T) {
	for _, test := range []struct {
		pattern, origin string
		why             string // part of the refusal; "": the pattern is accepted
	}{
		{"chat.example.com", "https://chat.example.com", ""},
		{"*.example.com", "https://chat.example.com", ""},
		{"https://chat.example.com", "https://chat.example.com", ""},
		{"HTTPS://Chat.Example.com", "https://chat.example.com", ""},
		{"https://chat.example.com:8443", "https://chat.example.com:8443", ""},
		{"*://localhost:*", "http://localhost:5173", ""},
		{"localhost:[0-9]*", "http://localhost:5173", ""},
		{"chat.example.com:443", "http://chat.example.com:443", ""},
		{"https://chat.example.com:443", "https://chat.example.com", ""},
		{"http://chat.example.com:80", "http://chat.example.com", ""},
		{"*", "null", ""},
		{"null", "null", ""},
		{"Null", "null", ""},
		{"capacitor://localhost", "capacitor://localhost", ""},
		{`\[::1\]:8080`, "http://[::1]:8080", ""},
		{`http://\[::1\]`, "http://[::1]", ""},

		{"https://chat.example.com/", "https://chat.example.com", "no path"},
		{"chat.example.com/app", "https://chat.example.com", "no path"},
		{"https://me@chat.example.com", "https://chat.example.com", "no path, user"},
		{"https://a.example https://b.example", "https://a.example", "commas"},
		{"a.example\tb.example", "https://a.example", "commas"},
		{"wss://chat.example.com", "https://chat.example.com", "https://"},
		{"https:chat.example.com", "https://chat.example.com", "not a port"},
		{"https://", "https://chat.example.com", "no host"},
		{":8080", "http://localhost:8080", "no host"},
		{"http://[::1]:8080", "http://[::1]:8080", "IPv6"},
		{"bücher.example", "https://xn--bcher-kva.example", "xn--"},
		{"", "null", "empty"},
		{"[", "https://[", "syntax error"},
	} {
		err := CheckOriginPattern(test.pattern)
		if test.why == "" && err != nil || test.why != "" && (err == nil || !strings.Contains(err.Error(), test.why)) {
			t.Errorf("%q: %v, want %q", test.pattern, err, test.why)
		}
		r := &http.Request{Host: "elsewhere.example", Header: http.Header{"Origin": {test.origin}}}
		if got := originAllowed(r, []string{test.pattern}); got != (test.why == "") && test.pattern != "" {
			t.Errorf("%q lets %s in: %v", test.pattern, test.origin, got)
		}
	}
}

// TestW6_DefaultPortsAreEqualToNone checks that a host with the default port of its scheme is equal
// to the host without a port. An origin leaves the default port out. A proxy may add the default
// port to the Host header.
func TestW6_DefaultPortsAreEqualToNone(t *testing.T) {
	for _, test := range []struct {
		host, origin, pattern string
		want                  bool
	}{
		{"h:443", "https://h", "", true},
		{"h:80", "http://h", "", true},
		{"h", "https://h:443", "", true},
		{"h", "http://h:80", "", true},
		{"h:443", "https://h:443", "", true},
		{"H:443", "HTTPS://h", "", true},
		{"[::1]:443", "https://[::1]", "", true},
		{"[::1]", "http://[::1]:80", "", true},
		{"h:443", "http://h", "", false}, // the origin's port is 80
		{"h:80", "https://h", "", false},
		{"h:8443", "https://h", "", false},
		{"h", "https://h:8443", "", false},
		{"h:443", "ftp://h", "", false},
		{"[::1]:443", "https://[::2]", "", false},
		{"", "https://", "", false},

		{"a", "https://h:443", "h", true},
		{"a", "https://h:443", "https://h", true},
		{"a", "https://h", "h:443", true},
		{"a", "https://h", "https://h:443", true},
		{"a", "http://h", "http://h:80", true},
		{"a", "https://h:443", "h:443", true},
		{"a", "https://h:443", "h:*", true},
		{"a", "https://h:8443", "h", false},
		{"a", "https://h:8443", "h:443", false},
		{"a", "http://h", "h:443", false},
		{"a", "http://h", "https://h", false},
	} {
		r := &http.Request{Host: test.host, Header: http.Header{"Origin": {test.origin}}}
		var patterns []string
		if test.pattern != "" {
			patterns = []string{test.pattern}
			if err := CheckOriginPattern(test.pattern); err != nil {
				t.Error(err)
			}
		}
		if got := originAllowed(r, patterns); got != test.want {
			t.Errorf("%q at %q with %q: %v", test.origin, test.host, patterns, got)
		}
	}
}

// TestW9_TheRefusalOfAnOriginSaysWhatToSet checks that the setting in the refusal admits the page.
// The refusal does not repeat a long origin, since anybody could send one.
func TestW9_TheRefusalOfAnOriginSaysWhatToSet(t *testing.T) {
	for _, test := range []struct{ origin, set string }{
		{"null", "EDGE_ORIGINS=null"},
		{"https://evil.example", `"https://evil.example"`},
		{"file://", "EDGE_ORIGINS"},
		{"://", "EDGE_ORIGINS"},
		{"https://" + strings.Repeat("x", 4000), "EDGE_ORIGINS"},
	} {
		g := start(t, nil, nil)
		_, res, err := websocket.Dial(t.Context(), g.http.URL+"/chat/user/1",
			&websocket.DialOptions{HTTPHeader: http.Header{"Origin": {test.origin}}})
		if err == nil || res == nil || res.StatusCode != http.StatusForbidden {
			t.Fatalf("%.40s: %v, want 403", test.origin, err)
		}
		body, _ := io.ReadAll(res.Body)
		if !strings.Contains(string(body), "EDGE_ORIGINS") || !strings.Contains(string(body), test.set) || len(body) > 300 {
			t.Errorf("%.40s: %q, want %s", test.origin, body, test.set)
		}
	}
	for _, origin := range []string{"null", "https://evil.example"} {
		g := start(t, nil, func(c *Config) { c.Origins = []string{origin} })
		g.dial("/chat/user/1", &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {origin}}})
	}
	r := &http.Request{Host: "h", Header: http.Header{"Origin": {"https://evil.example"}}}
	if originAllowed(r, []string{"null"}) {
		t.Error("null lets a page with a host in")
	}
}

func TestOrigins(t *testing.T) {
	for _, test := range []struct {
		origin, host string
		patterns     []string
		want         bool
	}{
		{"", "a.example", nil, true},
		{"https://a.example", "a.example", nil, true},
		{"https://A.example", "a.EXAMPLE", nil, true},
		{"https://b.example", "a.example", nil, false},
		{"https://b.example", "a.example", []string{"*.example"}, true},
		{"http://b.example", "a.example", []string{"https://*.example"}, false},
		{"https://b.example:8443", "a.example", []string{"https://b.example:*"}, true},
		{"https://anything", "a.example", []string{"*"}, true},
		{"null", "a.example", []string{"b.example"}, false},
		{"null", "", nil, false},
		{"://", "a.example", []string{"*"}, false},
	} {
		r := &http.Request{Host: test.host, Header: http.Header{}}
		if test.origin != "" {
			r.Header.Set("Origin", test.origin)
		}
		if got := originAllowed(r, test.patterns); got != test.want {
			t.Errorf("%q at %q with %q: %v", test.origin, test.host, test.patterns, got)
		}
	}
	if CheckOriginPattern("[") == nil || CheckOriginPattern("") == nil || CheckOriginPattern("https://*.example") != nil {
		t.Error("CheckOriginPattern judges wrongly")
	}
}
