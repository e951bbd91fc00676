package gateway

import (
	"net/http"
	"strings"
	"testing"
)

// TestOriginPatterns: each pattern that is taken lets in the origin beside it, and each that is refused lets in none like it.
func TestOriginPatterns(t *testing.T) {
	for _, test := range []struct {
		pattern, origin string
		why             string // of the refusal; "": taken
	}{
		{"chat.example.com", "https://chat.example.com", ""},
		{"*.example.com", "https://chat.example.com", ""},
		{"https://chat.example.com", "https://chat.example.com", ""},
		{"HTTPS://Chat.Example.com", "https://chat.example.com", ""},
		{"https://chat.example.com:8443", "https://chat.example.com:8443", ""},
		{"*://localhost:*", "http://localhost:5173", ""},
		{"localhost:[0-9]*", "http://localhost:5173", ""},
		{"chat.example.com:443", "http://chat.example.com:443", ""},
		{"*", "null", ""},
		{"capacitor://localhost", "capacitor://localhost", ""},
		{`\[::1\]:8080`, "http://[::1]:8080", ""},
		{`http://\[::1\]`, "http://[::1]", ""},

		{"https://chat.example.com/", "https://chat.example.com", "no path"},
		{"chat.example.com/app", "https://chat.example.com", "no path"},
		{"https://me@chat.example.com", "https://chat.example.com", "no path, user"},
		{"https://a.example https://b.example", "https://a.example", "commas"},
		{"a.example\tb.example", "https://a.example", "commas"},
		{"wss://chat.example.com", "https://chat.example.com", "https://"},
		{"https://chat.example.com:443", "https://chat.example.com", "leave it out"},
		{"http://chat.example.com:80", "http://chat.example.com", "leave it out"},
		{"https:chat.example.com", "https://chat.example.com", "not a port"},
		{"https://", "https://chat.example.com", "no host"},
		{":8080", "http://localhost:8080", "no host"},
		{"http://[::1]:8080", "http://[::1]:8080", "IPv6"},
		{"bücher.example", "https://xn--bcher-kva.example", "xn--"},
		{"null", "null", "* alone"},
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
