package gateway

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/edgerelay/edgerelay/shared/keyring"
	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/token"
)

func TestRefusals(t *testing.T) {
	upgrade := http.Header{
		"Connection": {"keep-alive, Upgrade"}, "Upgrade": {"websocket"},
		"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
	}
	with := func(name, value string) http.Header {
		h := upgrade.Clone()
		if value == "" {
			h.Del(name)
		} else {
			h.Set(name, value)
		}
		return h
	}
	never := func() (bool, bool) { return false, false }
	foreign, err := token.Judge{Keys: keyring.Keys{{ID: "next", Secret: []byte("0123456789abcdef")}}}.Sign("1", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, method, path string
		header             http.Header
		change             func(*Config)
		up                 *fakeUpstream
		status             int
		says, counted      string
	}{
		{"no upgrade", "GET", "/chat/user/1", nil, nil, nil, 426, "upgrade", "upgrade_required"},
		{"POST", "POST", "/chat/user/1", upgrade, nil, nil, 400, "upgrade", "bad_request"},
		{"old version", "GET", "/chat/user/1", with("Sec-WebSocket-Version", "8"), nil, nil, 426, "13", "upgrade_required"},
		{"no key", "GET", "/chat/user/1", with("Sec-WebSocket-Key", ""), nil, nil, 400, "Key", "bad_request"},
		{"short key", "GET", "/chat/user/1", with("Sec-WebSocket-Key", "AAAA"), nil, nil, 400, "Key", "bad_request"},
		{"unknown path", "GET", "/chat/room/1", upgrade, nil, nil, 400, "/chat/channel/{id}", "bad_path"},
		{"control character", "GET", "/chat/user/a%01", upgrade, nil, nil, 400, "id must", "bad_path"},
		{"no token", "GET", "/chat/user/1", upgrade, func(c *Config) { c.Auth = Auth{} }, nil, 401, "token", "auth"},
		{"token by a key that is not here", "GET", "/chat/user/1", with("Authorization", "Bearer "+foreign), func(c *Config) { c.Auth = Auth{Tokens: testTokens} }, nil, 503, "kid names no key", "undecided"},
		{"foreign origin", "GET", "/chat/user/1", with("Origin", "https://evil.example"), nil, nil, 403, "EDGE_ORIGINS", "origin"},
		{"full", "GET", "/chat/user/1", upgrade, func(c *Config) { c.MaxSessions = 0 }, nil, 503, "full", "max_sessions"},
		{"never linked", "GET", "/chat/user/1", upgrade, nil, &fakeUpstream{linked: never}, 503, "relay", "never_linked"},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := start(t, test.up, func(c *Config) {
				c.Replay = true
				if test.change != nil {
					test.change(c)
				}
			})
			req, _ := http.NewRequest(test.method, g.http.URL+test.path, nil)
			req.Header = test.header
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(res.Body)
			res.Body.Close()
			if res.StatusCode != test.status || !strings.Contains(string(body), test.says) {
				t.Errorf("%d %q, want %d with %q", res.StatusCode, body, test.status, test.says)
			}
			if (res.Header.Get("Retry-After") != "") != (test.status == 503) {
				t.Errorf("Retry-After: %q", res.Header.Get("Retry-After"))
			}
			if (res.Header.Get("Fly-Replay") != "") != (test.status == 503) {
				t.Errorf("Fly-Replay: %q", res.Header.Get("Fly-Replay"))
			}
			if got := g.metric("refused_total", test.counted); got != 1 {
				t.Errorf("counted %v as %s, want 1", got, test.counted)
			}
			if all, _ := g.hub.Len(); all != 0 {
				t.Error("a session was opened")
			}
		})
	}
}

// TestA7_PathsAreStrictWhereThatIsSet checks names in paths that are admitted by default, and are
// refused if Config.StrictIDs is set. Names that are refused by default must be refused with
// StrictIDs too. Ordinary names must be admitted with StrictIDs.
func TestA7_PathsAreStrictWhereThatIsSet(t *testing.T) {
	lax, strict := start(t, nil, nil), start(t, nil, func(c *Config) { c.StrictIDs = true })
	for _, path := range []string{"/chat/channel/Anna%20Maria", "/chat/group/%E7%BE%A4/%C3%A9", "/chat/all/1"} {
		strict.dial(path, nil)
	}
	for path, says := range map[string]string{
		"/chat/channel/a%E3%80%91":     "id must",
		"/chat/user/2%20send:x":        "id must",
		"/chat/all/a%E2%80%AEb":        "id must",
		"/chat/group/e%CC%81/1":        "group must",
		"/chat/group/g/a%E2%80%8Bb":    "id must",
		"/chat/group/g%E3%80%91/%F0a":  "valid UTF-8",
		"/chat/group/%E3%80%90g/a%00b": "control",
	} {
		res, err := http.DefaultClient.Do(upgradeRequest(t, strict.http.URL+path))
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), says) {
			t.Errorf("%s: %d %q, want 400 with %q", path, res.StatusCode, body, says)
		}
		if strings.Contains(says, "must") {
			lax.dial(path, nil)
		}
	}
}

func upgradeRequest(t *testing.T, url string) *http.Request {
	t.Helper()
	r, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"},
		"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
	}
	return r
}

func TestTheUpgradeIsAnsweredWhenTheRelayHasBoundTheSession(t *testing.T) {
	opened := make(chan link.Session, 1)
	g := start(t, &fakeUpstream{open: func(s link.Session) { opened <- s }}, nil)
	c := g.rawRequest("/chat/channel/1", "")
	s := <-opened
	if s.User != "1" || s.ID != 1 {
		t.Errorf("opened %+v", s)
	}
	c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := c.r.Peek(1); err == nil {
		t.Fatal("answered before Opened")
	}
	c.r.Reset(c.Conn)
	bindAll(g.hub, s)
	g.publish("all", "at once")
	c.SetReadDeadline(time.Now().Add(patience))
	res, err := http.ReadResponse(c.r, nil)
	if err != nil || res.StatusCode != 101 {
		t.Fatalf("%v %+v", err, res)
	}
	c.wantFrame(textByte, "at once")
}

func TestTheUpgradeIsAnsweredAtOnceWithoutALink(t *testing.T) {
	g := start(t, &fakeUpstream{
		open:   func(link.Session) {},
		linked: func() (bool, bool) { return false, true },
	}, nil)
	fastest, tries := openWait, 0
	for ; fastest > openWait/2 && tries < 10; tries++ { // a busy machine may delay a try
		began := time.Now()
		g.raw("/chat/user/1", "")
		fastest = min(fastest, time.Since(began))
	}
	if fastest > openWait/2 {
		t.Errorf("answered after %v at best", fastest)
	}
	if got := g.metric("openings_unanswered_total", ""); got != float64(tries) {
		t.Errorf("counted %v of %d", got, tries)
	}
}

func TestTheUpgradeWaitsNoLongerThanTwoSeconds(t *testing.T) {
	t.Parallel()
	g := start(t, &fakeUpstream{open: func(link.Session) {}}, nil)
	began := time.Now()
	g.raw("/chat/user/1", "")
	if d := time.Since(began); d < openWait || d > openWait+patience {
		t.Errorf("answered after %v", d)
	}
}

func TestAClientThatGoesAwayDuringTheWaitIsCleanedUp(t *testing.T) {
	opened := make(chan link.Session, 1)
	g := start(t, &fakeUpstream{open: func(s link.Session) { opened <- s }}, nil)
	c := g.rawRequest("/chat/user/1", "")
	s := <-opened
	c.Close()
	eventually(t, "its end upstream", func() bool { return len(g.up.ends()) == 1 && g.up.ends()[0] == s.ID })
	g.endsWith(ReasonGone)
	eventually(t, "no connect in progress", func() bool { return g.server.Active() == 0 })
	if all, dead := g.hub.Len(); all != 1 || dead != 1 {
		t.Errorf("%d sessions, %d dead; want 1, 1", all, dead)
	}
}

func TestDeadSessionsCountAsSessions(t *testing.T) {
	g := start(t, nil, func(c *Config) { c.MaxSessions = 1 })
	c := g.dial("/chat/user/1", nil)
	c.Close(websocket.StatusNormalClosure, "")
	eventually(t, "the end", func() bool { return len(g.up.ends()) == 1 })
	_, res, err := websocket.Dial(t.Context(), g.http.URL+"/chat/user/1", nil)
	if err == nil || res.StatusCode != 503 {
		t.Fatalf("second connect: %v, %+v", err, res)
	}
	g.hub.Forget(1)
	eventually(t, "its socket is closed", func() bool { return g.server.Active() == 0 })
	g.dial("/chat/user/1", nil)
}

var (
	testKeys   = keyring.Keys{{ID: "new", Secret: []byte("0123456789abcdef-new")}, {ID: "old", Secret: []byte("0123456789abcdef-old")}}
	testTokens = token.Judge{Keys: testKeys}
)

// TestP8_WhoLingersCounts checks that a session counts towards Config.MaxSessions until its socket
// is closed, even if the relay has forgotten the session. The socket of a session that has ended
// stays open until the client closes or the client's time to answer is over.
func TestP8_WhoLingersCounts(t *testing.T) {
	g := start(t, nil, func(c *Config) { c.MaxSessions = 1 })
	// The broken frame ends the session. Its socket then stays open until the client closes.
	lingers := g.raw("/chat/user/1", masked(0x83, ""))
	lingers.wantCloseFrame(ReasonProtocol)
	eventually(t, "its end", func() bool { return len(g.up.ends()) == 1 })
	g.hub.Forget(1)
	c := g.rawRequest("/chat/user/2", "")
	if res, err := http.ReadResponse(c.r, nil); err != nil || res.StatusCode != http.StatusServiceUnavailable {
		t.Fatalf("%v, %+v; want 503", err, res)
	}
	lingers.Close()
	eventually(t, "its socket is closed", func() bool { return g.server.Active() == 0 })
	g.raw("/chat/user/3", "")
}

// TestW1_TheOfferedSpellingIsEchoed checks that the answer names the subprotocol as the client
// spelled it. If the answer spelled it in another way, a browser would close the connection.
func TestW1_TheOfferedSpellingIsEchoed(t *testing.T) {
	for _, auth := range []Auth{{Open: true}, {Tokens: testTokens}} {
		g := start(t, nil, func(c *Config) { c.Auth = auth })
		token := signToken(t, "1", time.Minute)
		for offered, want := range map[string]string{
			"bearer, " + token:        "bearer",
			"Bearer, " + token:        "Bearer",
			"BEARER," + token:         "BEARER",
			"chat, beaRer, " + token:  "beaRer",
			"bearer, " + token + ", ": "bearer",
		} {
			res := g.handshake("Sec-WebSocket-Version: 13", "Sec-WebSocket-Protocol: "+offered)
			if got := res.Header.Get("Sec-WebSocket-Protocol"); res.StatusCode != 101 || got != want {
				t.Errorf("offered %.20q: %d, subprotocol %q, want %q", offered, res.StatusCode, got, want)
			}
		}
	}
	g := start(t, nil, nil)
	if res := g.handshake("Sec-WebSocket-Version: 13"); len(res.Header.Values("Sec-WebSocket-Protocol")) != 0 {
		t.Errorf("a subprotocol that nobody offered: %+v", res.Header)
	}
}

// TestW2_WhatAnUpgradeWouldMendIsAnswered426 checks that an answer of 426 names the supported
// version (RFC 6455, 4.4).
func TestW2_WhatAnUpgradeWouldMendIsAnswered426(t *testing.T) {
	g := start(t, nil, nil)
	plain, err := http.Get(g.http.URL + "/chat/user/1")
	if err != nil {
		t.Fatal(err)
	}
	plain.Body.Close()
	for name, res := range map[string]*http.Response{
		"a plain GET":       plain,
		"no version":        g.handshake(),
		"version 8":         g.handshake("Sec-WebSocket-Version: 8"),
		"version 14":        g.handshake("Sec-WebSocket-Version: 14"),
		"a list of several": g.handshake("Sec-WebSocket-Version: 8, 7"),
	} {
		h := res.Header
		if res.StatusCode != 426 || h.Get("Sec-WebSocket-Version") != "13" || h.Get("Upgrade") != "websocket" ||
			!strings.EqualFold(h.Get("Connection"), "upgrade") {
			t.Errorf("%s: %d %+v", name, res.StatusCode, h)
		}
	}
	if got := g.metric("refused_total", "upgrade_required"); got != 5 {
		t.Errorf("counted %v, want 5", got)
	}
	res, err := http.Post(g.http.URL+"/chat/user/1", "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 400 || res.Header.Get("Upgrade") != "" {
		t.Errorf("POST, which no upgrade mends: %d %+v", res.StatusCode, res.Header)
	}
}

// handshake requests /chat/user/1 with an upgrade and the given header lines. It returns the
// answer.
func (g *gateway) handshake(lines ...string) *http.Response {
	g.t.Helper()
	conn, err := net.Dial("tcp", g.http.Listener.Addr().String())
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { conn.Close() })
	c := &rawClient{g.t, conn, bufio.NewReader(conn)}
	c.send("GET /chat/user/1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n")
	for _, line := range lines {
		c.send(line + "\r\n")
	}
	c.send("\r\n")
	res, err := http.ReadResponse(c.r, nil)
	if err != nil {
		g.t.Fatal(err)
	}
	return res
}

// TestAnUpgradeWithABodyIsRefused checks that an upgrade with a body is refused with 400. Otherwise
// the bytes of the body could be taken for frames of the client.
func TestAnUpgradeWithABodyIsRefused(t *testing.T) {
	head := strings.TrimSuffix(strings.Replace(rawHandshake, "%s", "/chat/user/1", 1), "\r\n")
	ping := masked(0x89, "x")
	for _, body := range []string{"Content-Length: 7\r\n\r\n" + ping, "Transfer-Encoding: chunked\r\n\r\n7\r\n" + ping + "\r\n0\r\n\r\n"} {
		g := start(t, nil, nil)
		conn, err := net.Dial("tcp", g.http.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		c := &rawClient{t, conn, bufio.NewReader(conn)}
		c.send(head + body)
		res, err := http.ReadResponse(c.r, nil)
		if err != nil || res.StatusCode != http.StatusBadRequest {
			t.Errorf("%q: %v, %+v", body, err, res)
		}
		if got := g.metric("refused_total", "bad_request"); got != 1 {
			t.Errorf("counted %v, want 1", got)
		}
	}
}
