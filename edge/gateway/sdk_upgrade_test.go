package gateway

import (
	"context"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// upgradeWith asks for an upgrade with the given query and headers, and returns the answer and its
// body.
func (g *gateway) upgradeWith(query string, header http.Header) (*http.Response, string) {
	g.t.Helper()
	r, err := http.NewRequestWithContext(g.t.Context(), "GET", g.http.URL+protocol.SDKPath+query, nil)
	if err != nil {
		g.t.Fatal(err)
	}
	r.Header = http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"},
		"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
	}
	for name, values := range header {
		r.Header[name] = values
	}
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { res.Body.Close() })
	if res.StatusCode == http.StatusSwitchingProtocols {
		return res, ""
	}
	body, _ := io.ReadAll(res.Body)
	return res, string(body)
}

func TestTheUpgradeOfAnSDKIsAnsweredBeforeARelayHearsOfIt(t *testing.T) {
	up := silentRelay()
	up.client = func(c link.Client) { t.Errorf("told %+v", c) }
	g := startSDK(t, up, nil)
	g.raw(protocol.SDKPath, "")
	if all, _ := g.hub.Len(); all != 0 || g.server.Active() != 1 || g.metric("guests", "") != 1 {
		t.Errorf("%d sessions in the tables, %d active, %v guests", all, g.server.Active(), g.metric("guests", ""))
	}
	if d, comparable := g.hub.Digest(); d != (link.Digest{}) || !comparable {
		t.Errorf("digest %+v, %v", d, comparable)
	}
}

func TestAnSDKThatAsksForProtobufIsRefused(t *testing.T) {
	g := startSDK(t, nil, nil)
	for _, test := range []struct{ query, protocols string }{
		{"?cf_protocol=protobuf", ""},
		{"?format=protobuf", ""},
		{"?x=1&format=protobuf", ""},
		{"", "centrifuge-protobuf"},
		{"", "centrifuge-json, centrifuge-protobuf"},
	} {
		res, body := g.upgradeWith(test.query, http.Header{"Sec-Websocket-Protocol": {test.protocols}})
		if res.StatusCode != 400 || !strings.Contains(body, "JSON") {
			t.Errorf("%q %q: %d %q", test.query, test.protocols, res.StatusCode, body)
		}
	}
	if n := g.metric("refused_total", "bad_request"); n != 5 {
		t.Errorf("%v are counted", n)
	}
	if g.server.Active() != 0 {
		t.Errorf("%d active", g.server.Active())
	}
}

// TestTheSubprotocolOfJSONIsNamed checks that the answer to an upgrade names centrifuge-json if the
// client offers it. A browser fails if it offers subprotocols and the answer names none.
func TestTheSubprotocolOfJSONIsNamed(t *testing.T) {
	g := startSDK(t, nil, nil)
	for offered, want := range map[string]string{"": "", "centrifuge-json": "centrifuge-json", "x, centrifuge-json": "centrifuge-json", "x": "", "bearer, x": ""} {
		header := http.Header{}
		if offered != "" {
			header.Set("Sec-WebSocket-Protocol", offered)
		}
		res, _ := g.upgradeWith("", header)
		if got := res.Header.Get("Sec-WebSocket-Protocol"); res.StatusCode != 101 || got != want {
			t.Errorf("%q: %d %q, want %q", offered, res.StatusCode, got, want)
		}
	}
}

// TestTheEdgeNamesAUserOnlyUnderOpen checks which user the edge names when it announces a guest to
// the relay. Without Auth.Open the edge names no user.
func TestTheEdgeNamesAUserOnlyUnderOpen(t *testing.T) {
	for _, test := range []struct {
		open  bool
		query string
		user  string // a regular expression
	}{
		{true, "?user=1", "^1$"},
		{true, "?user=a%20b%2Fc", "^a b/c$"},
		{true, "", "^anon-[a-z]{8}$"},
		{false, "?user=1", "^$"},
		{false, "", "^$"},
	} {
		var mu sync.Mutex
		var told []link.Client
		up := silentRelay()
		up.client = func(c link.Client) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, c)
		}
		g := startSDK(t, up, func(c *Config) { c.Auth.Open = test.open })
		g.raw(protocol.SDKPath+test.query, textOf("connect"))
		eventually(t, "a line", func() bool { return len(g.up.messages()) == 1 })
		mu.Lock()
		if len(told) != 1 || told[0].Open != test.open || told[0].Confirmed || told[0].ID != 1 || !regexp.MustCompile(test.user).MatchString(told[0].User) {
			t.Errorf("open %v, %q: told %+v", test.open, test.query, told)
		}
		mu.Unlock()
	}
}

func TestAUserInTheQueryMustBeAName(t *testing.T) {
	for _, test := range []struct {
		query  string
		strict bool
		status int
	}{
		{"?user=", false, 400},
		{"?user=" + strings.Repeat("x", 129), false, 400},
		{"?user=%0a", false, 400},
		{"?user=%ff", false, 400},
		{"?user=a%E2%80%8Bb", true, 400},
		{"?user=a%E2%80%8Bb", false, 101},
	} {
		g := startSDK(t, nil, func(c *Config) { c.StrictIDs = test.strict })
		if res, body := g.upgradeWith(test.query, nil); res.StatusCode != test.status || test.status == 400 && !strings.HasPrefix(body, "user ") {
			t.Errorf("%q: %d %q, want %d", test.query, res.StatusCode, body, test.status)
		}
	}
}

func TestWhySDKsAreRefused(t *testing.T) {
	for _, test := range []struct {
		name   string
		up     *fakeUpstream
		change func(*Config)
		header http.Header
		status int
		label  string
	}{
		{"the relay does not know SDKs", &fakeUpstream{noSDK: true}, nil, nil, 503, "no_sdk"},
		{"there never was a link", &fakeUpstream{linked: func() (now, ever bool) { return false, false }}, nil, nil, 503, "never_linked"},
		{"the page is a stranger", nil, nil, http.Header{"Origin": {"https://elsewhere.example"}}, 403, "origin"},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := startSDK(t, test.up, test.change)
			res, body := g.upgradeWith("", test.header)
			if res.StatusCode != test.status || body == "" || g.metric("refused_total", test.label) != 1 {
				t.Errorf("%d %q, %v counted", res.StatusCode, body, g.metric("refused_total", test.label))
			}
			if g.server.Active() != 0 || len(g.hub.living()) != 0 {
				t.Errorf("%d active, %d living", g.server.Active(), len(g.hub.living()))
			}
		})
	}
}

// TestADrainClosesSDKsWith3001 drains a server with a guest, a confirmed session of an SDK and a
// chat session. Each must be closed with the code of its protocol.
func TestADrainClosesSDKsWith3001(t *testing.T) {
	g := startSDK(t, nil, nil)
	guest, member, chat := g.raw(protocol.SDKPath, ""), g.sdk("1"), g.raw("/chat/user/2", "")
	drained := make(chan error)
	go func() { drained <- g.server.Drain(context.Background(), 0, 100*time.Millisecond) }()
	for _, c := range []*rawClient{guest, member} {
		c.wantCode(3001)
		c.Close()
	}
	chat.wantCode(1012)
	chat.Close()
	if err := <-drained; err != nil {
		t.Error(err)
	}
	if res, _ := g.upgradeWith("", nil); res.StatusCode != 503 || g.metric("guests", "") != 0 {
		t.Errorf("%d while draining, %v guests", res.StatusCode, g.metric("guests", ""))
	}
}

// TestADrainThatBeginsDuringAnUpgradeRefusesIt begins a drain while a guest's upgrade is under way.
// The drain does not find the guest, so the edge must refuse the upgrade.
func TestADrainThatBeginsDuringAnUpgradeRefusesIt(t *testing.T) {
	up := silentRelay()
	inBubble(t, up, nil, func(t *testing.T, b *bubbled) {
		drained := make(chan error, 1)
		up.linked = func() (now, ever bool) { // called before there is a guest
			go func() { drained <- b.server.Drain(context.Background(), 0, 0) }()
			synctest.Wait()
			return true, true
		}
		if res, err := http.ReadResponse(b.request(protocol.SDKPath).r, nil); err != nil || res.StatusCode != 503 {
			t.Errorf("%+v, %v; want 503", res, err)
		}
		if err := <-drained; err != nil {
			t.Error(err)
		}
		if n := len(b.hub.living()); n != 0 || b.metric("guests", "") != 0 {
			t.Errorf("%d sessions live", n)
		}
	})
}
