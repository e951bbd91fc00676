package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func TestPage(t *testing.T) {
	for _, c := range []struct {
		method, path string
		status       int
	}{{"GET", "/", 200}, {"HEAD", "/", 200}, {"POST", "/", 405}, {"GET", "/index.html", 404}, {"GET", "/favicon.ico", 404}} {
		w := httptest.NewRecorder()
		page().ServeHTTP(w, httptest.NewRequest(c.method, c.path, nil))
		if w.Code != c.status {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, w.Code, c.status)
		}
		if c.status == http.StatusOK && !strings.Contains(w.Header().Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s %s: headers %v", c.method, c.path, w.Header())
		}
	}
}

// TestTheHintsFitWhatRuns checks what the printed hints say about SDKs. In one of the
// configurations clients need a token, and in another the channels have rules of the operator's
// own.
func TestTheHintsFitWhatRuns(t *testing.T) {
	for _, c := range []struct {
		environ   []string
		want, not []string
	}{
		{nil, []string{`new Centrifuge("ws://127.0.0.1:1/connection/websocket?user=1")`, "any other name", "user:2"}, []string{"token", "Bearer"}},
		{[]string{"EDGE_AUTH=jwt", "JWT_KEYS=k:0123456789abcdef"}, []string{`/connection/websocket", {token})`, "what the token names", "token --sub 1", `/chat/channel/1 -H "Authorization: Bearer $TOKEN"`}, []string{"?user="}},
		{[]string{"EDGE_AUTH=jwt", "JWT_JWKS_URL=https://127.0.0.1:1/", "JWT_AUDIENCE=a"}, []string{"of your identity provider, in TOKEN"}, []string{"edge token", "JWT_KEYS"}},
		{[]string{"RELAY_CHANNELS=all read=any write=none"}, []string{"RELAY_CHANNELS"}, []string{"group:g1,", "user:2"}},
	} {
		cfg, err := load(c.environ)
		if err != nil {
			t.Fatal(err)
		}
		var hints strings.Builder
		printHints(&hints, cfg, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1})
		for _, want := range c.want {
			if !strings.Contains(hints.String(), want) {
				t.Errorf("%s: no %q in%s", c.environ, want, &hints)
			}
		}
		for _, not := range c.not {
			if strings.Contains(hints.String(), not) {
				t.Errorf("%s: %q in%s", c.environ, not, &hints)
			}
		}
	}
}

// TestPageTellsScreenReaders checks what screen readers need. A fieldset must have a legend of the
// class unseen. Such a legend is out of sight, but screen readers read it out. Some element must
// have the role log, and no list may have a role.
func TestPageTellsScreenReaders(t *testing.T) {
	text := string(pageHTML)
	if !regexp.MustCompile(`<fieldset[^>]*>\s*<legend class="unseen">\w+</legend>`).MatchString(text) {
		t.Error("the fieldset has no legend that is read out")
	}
	if !strings.Contains(text, `role="log"`) || regexp.MustCompile(`<[ou]l [^>]*role=`).MatchString(text) {
		t.Error("no log, or it is the list itself")
	}
}

// TestPageIsSelfContained looks in the page for references to anything outside of the page. There
// must be none, except the icon, which is empty data.
func TestPageIsSelfContained(t *testing.T) {
	for _, outside := range regexp.MustCompile(`(?i)(https?:|src=|@import|url\(|<link [^>]*)[^\s>]*`).FindAllString(string(pageHTML), -1) {
		if outside != `<link rel="icon" href="data:,"` {
			t.Errorf("the page refers to %s", outside)
		}
	}
}
