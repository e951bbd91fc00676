package gateway

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/service"
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
	for _, test := range []struct {
		name, method, path string
		header             http.Header
		change             func(*Config)
		up                 *fakeUpstream
		status             int
		says, counted      string
	}{
		{"no upgrade", "GET", "/chat/user/1", nil, nil, nil, 400, "upgrade", "bad_request"},
		{"POST", "POST", "/chat/user/1", upgrade, nil, nil, 400, "upgrade", "bad_request"},
		{"old version", "GET", "/chat/user/1", with("Sec-WebSocket-Version", "8"), nil, nil, 400, "13", "bad_request"},
		{"no key", "GET", "/chat/user/1", with("Sec-WebSocket-Key", ""), nil, nil, 400, "Key", "bad_request"},
		{"short key", "GET", "/chat/user/1", with("Sec-WebSocket-Key", "AAAA"), nil, nil, 400, "Key", "bad_request"},
		{"unknown path", "GET", "/chat/room/1", upgrade, nil, nil, 400, "/chat/channel/{id}", "bad_path"},
		{"control character", "GET", "/chat/user/a%01", upgrade, nil, nil, 400, "id must", "bad_path"},
		{"no token", "GET", "/chat/user/1", upgrade, func(c *Config) { c.Auth = Auth{} }, nil, 401, "token", "auth"},
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
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
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
	began := time.Now()
	g.raw("/chat/user/1", "")
	if d := time.Since(began); d > openWait/2 {
		t.Errorf("answered after %v", d)
	}
	if got := g.metric("openings_unanswered_total", ""); got != 1 {
		t.Errorf("counted %v", got)
	}
}

func TestTheUpgradeWaitsNoLongerThanTwoSeconds(t *testing.T) {
	t.Parallel()
	g := start(t, &fakeUpstream{open: func(link.Session) {}}, nil)
	began := time.Now()
	g.raw("/chat/user/1", "")
	if d := time.Since(began); d < openWait || d > openWait+time.Second {
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

var testKeys = service.Keys{{ID: "new", Secret: []byte("0123456789abcdef-new")}, {ID: "old", Secret: []byte("0123456789abcdef-old")}}

func signed(t *testing.T, method jwt.SigningMethod, kid string, secret any, claims jwt.MapClaims) string {
	t.Helper()
	token := jwt.NewWithClaims(method, claims)
	if kid != "" {
		token.Header["kid"] = kid
	}
	s, err := token.SignedString(secret)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTokens(t *testing.T) {
	now := time.Now().Unix()
	claims := func(sub string, exp int64) jwt.MapClaims { return jwt.MapClaims{"sub": sub, "exp": exp} }
	made, err := SignToken(testKeys, "1", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	hs, newKey, oldKey := jwt.SigningMethodHS256, testKeys[0].Secret, testKeys[1].Secret
	for _, test := range []struct{ name, token, says string }{
		{"made by SignToken", made, ""},
		{"by the older key", signed(t, hs, "old", oldKey, claims("1", now+60)), ""},
		{"without kid, by the older key", signed(t, hs, "", oldKey, claims("1", now+60)), ""},
		{"within the leeway", signed(t, hs, "new", newKey, claims("1", now-20)), ""},
		{"none", "", "required"},
		{"malformed", "x.y", "malformed"},
		{"expired", signed(t, hs, "new", newKey, claims("1", now-40)), "expired"},
		{"without exp", signed(t, hs, "new", newKey, jwt.MapClaims{"sub": "1"}), "required"},
		{"without sub", signed(t, hs, "new", newKey, jwt.MapClaims{"exp": now + 60}), "sub"},
		{"for another user", signed(t, hs, "new", newKey, claims("2", now+60)), "sub"},
		{"not yet valid", signed(t, hs, "new", newKey, jwt.MapClaims{"sub": "1", "exp": now + 600, "nbf": now + 60}), "not yet"},
		{"another secret", signed(t, hs, "new", []byte("another"), claims("1", now+60)), "signature"},
		{"the other key's secret", signed(t, hs, "new", oldKey, claims("1", now+60)), "signature"},
		{"unknown kid", signed(t, hs, "gone", newKey, claims("1", now+60)), "kid"},
		{"kid that is no string", signed(t, hs, "", newKey, claims("1", now+60))[:0] + kidNumber(t, newKey, now), "kid"},
		{"HS512", signed(t, jwt.SigningMethodHS512, "new", newKey, claims("1", now+60)), "HS256"},
		{"alg none", signed(t, jwt.SigningMethodNone, "new", jwt.UnsafeAllowNoneSignatureType, claims("1", now+60)), "HS256"},
	} {
		r := &http.Request{Header: http.Header{"Authorization": {"Bearer " + test.token}}}
		until, err := Auth{Keys: testKeys}.check(r, "1")
		switch {
		case test.says == "" && (err != nil || !until.After(time.Now())):
			t.Errorf("%s: %v, until %v", test.name, err, until)
		case test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)):
			t.Errorf("%s: %v, want %q", test.name, err, test.says)
		}
	}
}

func kidNumber(t *testing.T, secret []byte, now int64) string {
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "1", "exp": now + 60})
	token.Header["kid"] = 7
	s, err := token.SignedString(secret)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestWhereATokenMayBe(t *testing.T) {
	g := start(t, nil, func(c *Config) { c.Auth = Auth{Keys: testKeys} })
	token, _ := SignToken(testKeys, "1", time.Minute)
	c := g.dial("/chat/user/1", &websocket.DialOptions{Subprotocols: []string{"bearer", token}})
	if c.Subprotocol() != "bearer" {
		t.Errorf("subprotocol %q, want bearer", c.Subprotocol())
	}
	g.dial("/chat/user/1", &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"bearer " + token}}})

	if _, res, err := websocket.Dial(t.Context(), g.http.URL+"/chat/user/1?token="+token, nil); err == nil || res.StatusCode != 401 {
		t.Errorf("token in the URL: %v, want 401", err)
	}
	g = start(t, nil, func(c *Config) { c.Auth = Auth{Keys: testKeys, TokenQuery: true} })
	g.dial("/chat/user/1?token="+token, nil)
}

func TestSecretsAreNotLogged(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	log.Info("x", "auth", Auth{Keys: testKeys}.Keys)
	if strings.Contains(out.String(), "0123456789") {
		t.Error(out.String())
	}
}

func TestATokenMayEndInTheFarFuture(t *testing.T) {
	g := start(t, nil, func(c *Config) { c.Auth = Auth{Keys: testKeys} })
	for _, exp := range []int64{253402300799, time.Now().UnixMilli()} { // the year 9999; milliseconds taken for seconds
		token := signed(t, jwt.SigningMethodHS256, "new", testKeys[0].Secret, jwt.MapClaims{"sub": "1", "exp": exp})
		c := g.dial("/chat/user/1", &websocket.DialOptions{Subprotocols: []string{"bearer", token}})
		now := g.server.now()
		g.server.beat(g.server.start.Add(now), now)
		g.server.beat(g.server.start.Round(0).Add(now-time.Hour), now+time.Minute) // the wall clock was set back while the process was stopped
		g.publish("user:1", "still here")
		if got := receive(t, c); got != "still here" {
			t.Errorf("exp %d: got %q", exp, got)
		}
		c.CloseNow()
	}
}

func TestASessionEndsWithItsToken(t *testing.T) {
	g := start(t, nil, func(c *Config) { c.Auth = Auth{Keys: testKeys} })
	token, _ := SignToken(testKeys, "1", time.Hour)
	c := g.dial("/chat/user/1", &websocket.DialOptions{Subprotocols: []string{"bearer", token}})
	g.server.tick(g.server.now() + 59*time.Minute)
	g.publish("user:1", "still here")
	if got := receive(t, c); got != "still here" {
		t.Errorf("got %q", got)
	}
	for i := range 4 { // the ticks between, too: a client that answers pings stays
		g.server.tick(g.server.now() + 59*time.Minute + time.Duration(i)*time.Second)
	}
	g.server.tick(g.server.now() + time.Hour + time.Second)
	wantClose(t, c, 4002)
	g.endsWith(ReasonExpired)
}

// TestP8_WhoLingersCounts: a session that has ended, and that the relay has forgotten, has its socket until its client closes or its time is over.
func TestP8_WhoLingersCounts(t *testing.T) {
	g := start(t, nil, func(c *Config) { c.MaxSessions = 1 })
	lingers := g.raw("/chat/user/1", masked(0x83, "")) // broken: our close frame waits for the client
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
