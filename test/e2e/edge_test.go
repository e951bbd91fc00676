package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"

	"github.com/edgerelay/edgerelay/test/e2e/client"
	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

const (
	jwtKey    = "k1:a-secret-of-clients-long-enough-for-a-warning-free-start"
	jwtSecret = "a-secret-of-clients-long-enough-for-a-warning-free-start"
)

// token signs claims as a back end would.
func token(t *testing.T, secret string, claims jwt.MapClaims) string {
	t.Helper()
	tok := jwt.NewWithClaims(jwt.SigningMethodHS256, claims)
	tok.Header["kid"] = "k1"
	s, err := tok.SignedString([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func inAnHour() int64 { return time.Now().Add(time.Hour).Unix() }

func TestTokensDecideWhoConnects(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	env := cluster.Env{"EDGE_AUTH": "jwt", "EDGE_JWT_KEYS": jwtKey}
	r := c.StartRelay(nil)
	e := c.StartEdge(env, r)
	good := token(t, jwtSecret, jwt.MapClaims{"sub": "1", "exp": inAnHour()})
	withBearer := func(tok string) client.Options {
		return client.Options{Header: http.Header{"Authorization": {"Bearer " + tok}}}
	}

	t.Run("from the Authorization header", func(t *testing.T) {
		for _, path := range []string{"/chat/channel/1", "/chat/user/1", "/chat/group/g/1", "/chat/all/1"} {
			client.Dial(t, e.URL(path), withBearer(good))
		}
	})
	t.Run("from the subprotocol pair that browsers can send", func(t *testing.T) {
		a := client.Dial(t, e.URL("/chat/channel/1"), client.Options{Subprotocols: []string{"bearer", good}})
		if got := a.Subprotocol(); got != "bearer" {
			t.Errorf("the server chose subprotocol %q, want bearer", got)
		}
		a.Send(cmdOne("1", "me"))
		a.Expect(direct("1", "me"))
	})
	t.Run("from the query only when that is allowed", func(t *testing.T) {
		if _, res, err := client.Try(t, e.URL("/chat/channel/1?token="+good), client.Options{}); err == nil || res == nil || res.StatusCode != http.StatusUnauthorized {
			t.Errorf("got %v, %v; want 401", res, err)
		}
		open := c.StartEdge(cluster.Env{"EDGE_AUTH": "jwt", "EDGE_JWT_KEYS": jwtKey, "EDGE_TOKEN_QUERY": "true"}, r)
		client.Dial(t, open.URL("/chat/channel/1?token="+good), client.Options{})
	})
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`)) + "." +
		base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"sub":"1","exp":%d}`, inAnHour())) + "."
	for name, tok := range map[string]string{
		"no token":                 "",
		"no JWT":                   "x.y.z",
		"another secret":           token(t, jwtSecret+"x", jwt.MapClaims{"sub": "1", "exp": inAnHour()}),
		"another user":             token(t, jwtSecret, jwt.MapClaims{"sub": "2", "exp": inAnHour()}),
		"no sub":                   token(t, jwtSecret, jwt.MapClaims{"exp": inAnHour()}),
		"no exp":                   token(t, jwtSecret, jwt.MapClaims{"sub": "1"}),
		"expired a minute ago":     token(t, jwtSecret, jwt.MapClaims{"sub": "1", "exp": time.Now().Add(-time.Minute).Unix()}),
		"valid only in a minute":   token(t, jwtSecret, jwt.MapClaims{"sub": "1", "exp": inAnHour(), "nbf": time.Now().Add(time.Minute).Unix()}),
		"signed by nobody":         none,
		"cut off":                  good[:len(good)-4],
		"of a million characters?": strings.Repeat("x", 4000),
	} {
		t.Run("401: "+name, func(t *testing.T) {
			_, res, err := client.Try(t, e.URL("/chat/channel/1"), withBearer(tok))
			if err == nil || res == nil || res.StatusCode != http.StatusUnauthorized {
				t.Errorf("got %v, %v; want 401", res, err)
			}
		})
	}
	t.Run("30 s of leeway", func(t *testing.T) {
		client.Dial(t, e.URL("/chat/channel/1"), withBearer(token(t, jwtSecret, jwt.MapClaims{"sub": "1", "exp": inAnHour(), "nbf": time.Now().Add(15 * time.Second).Unix()})))
	})
	t.Run("a session ends with 4002 when its token does", func(t *testing.T) {
		soon := token(t, jwtSecret, jwt.MapClaims{"sub": "1", "exp": time.Now().Add(-27 * time.Second).Unix()}) // 3 s are left, by the leeway
		a := client.Dial(t, e.URL("/chat/channel/1"), withBearer(soon))
		a.ExpectEnd(4002)
		if n := e.Metrics().Sum(metricEnded, `reason="token_expired"`); n != 1 {
			t.Errorf("%v ends counted as expired tokens, want 1", n)
		}
	})
	t.Run("403 for a foreign origin, which names the variable", func(t *testing.T) {
		status, body := upgrade(t, e, http.Header{"Origin": {"https://evil.example"}, "Authorization": {"Bearer " + good}})
		if status != http.StatusForbidden || !strings.Contains(body, "EDGE_ORIGINS") {
			t.Errorf("got %d %q, want 403 that names EDGE_ORIGINS", status, body)
		}
		allowed := c.StartEdge(cluster.Env{"EDGE_ORIGINS": "*.example"}, r)
		client.Dial(t, allowed.URL("/chat/channel/1"), client.Options{Header: http.Header{"Origin": {"https://good.example"}}})
		client.Dial(t, allowed.URL("/chat/channel/1"), client.Options{Header: http.Header{"Origin": {"http://" + allowed.Addr()}}})
	})
	t.Run("the edge prints tokens for trying", func(t *testing.T) {
		if c.Kind() != cluster.Process {
			t.Skip("needs the binary: E2E_KIND=process")
		}
		status, out := cluster.Command(t, "edge", env, "token", "--sub", "1", "--ttl", "1h")
		if status != 0 {
			t.Fatalf("edge token: exit status %d: %s", status, out)
		}
		client.Dial(t, e.URL("/chat/channel/1"), withBearer(strings.TrimSpace(out)))
	})
}

// upgrade asks for a WebSocket by hand and returns the refusal.
func upgrade(t *testing.T, e *cluster.Edge, h http.Header) (status int, body string) {
	t.Helper()
	_, res, err := client.Try(t, e.URL("/chat/channel/1"), client.Options{Header: h})
	if err == nil {
		t.Fatal("the upgrade was accepted")
	}
	b := make([]byte, 1024)
	n, _ := res.Body.Read(b) // coder/websocket keeps the beginning of a refusal's body
	return res.StatusCode, string(b[:n])
}

func TestMaxSessionsAnswers503WithRetryAfter(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	e := c.StartEdge(cluster.Env{"EDGE_MAX_SESSIONS": "2"}, c.StartRelay(nil))
	a, b := channel(t, e, "1"), channel(t, e, "2")
	_, res, err := client.Try(t, e.URL("/chat/channel/3"), client.Options{})
	if err == nil || res == nil || res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
		t.Fatalf("got %v, %v; want 503 with Retry-After", res, err)
	}
	a.Close()
	cluster.Eventually(t, "there is room again", func() bool {
		u, _, err := client.Try(t, e.URL("/chat/channel/3"), client.Options{})
		if err == nil {
			u.Send(cmdOne("2", "in"))
		}
		return err == nil
	})
	b.Expect(direct("3", "in"))
}

func TestP7_RateSlowsTheReaderAndLosesNothing(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	e := c.StartEdge(cluster.Env{"EDGE_RATE": "20"}, c.StartRelay(nil)) // and a burst of 200
	a, b := channel(t, e, unique("a")), channel(t, e, unique("b"))
	const n = 260
	begin := time.Now()
	for i := range n {
		a.Send(cmdOne(b.id, fmt.Sprint(i)))
	}
	for i := range n {
		b.Expect(direct(a.id, fmt.Sprint(i)))
	}
	if took := time.Since(begin); took < 2*time.Second {
		t.Errorf("%d messages at 20/s behind a burst of 200 took %v, want about 3 s", n, took)
	}
	quiet(t, e, b)
}

func TestSilentClientsAreClosedWith4004AndPongingOnesAreNot(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	e := c.StartEdge(cluster.Env{"EDGE_PING": "1s"}, c.StartRelay(nil))
	a := channel(t, e, unique("a")) // its library answers pings
	silent := client.DialRaw(t, e.URL("/chat/channel/"+unique("silent")))
	if code := closeCode(silent); code != 4004 {
		t.Errorf("the silent client's close code is %d, want 4004", code)
	}
	quiet(t, e, a)
}

func TestAFullLogIsAnsweredAndNeverSilent(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	r := c.StartRelay(nil)
	e := c.StartEdge(cluster.Env{"EDGE_LOG": "64KiB", "EDGE_MAX_MESSAGE": "8KiB"}, r)
	a, b := channel(t, e, unique("a")), channel(t, e, unique("b"))
	r.Kill()
	const n = 20
	payload := strings.Repeat("x", 1000)
	for i := range n { // a session's share is 4 KiB
		a.Send(cmdOne(b.id, fmt.Sprint(i, " ", payload)))
	}
	f, err := a.Next()
	if err != nil || !strings.HasPrefix(f.Text, "error: ") || !strings.HasSuffix(f.Text, ", not delivered") {
		t.Fatalf("got %q, %v; want error: …, not delivered", f.Text, err)
	}
	r.Restart()
	a.Send(cmdOne(a.id, "end"))
	refused := 1
	for {
		f, err := a.Next()
		if err != nil {
			t.Fatal(err)
		}
		if f.Text == direct(a.id, "end") {
			break
		}
		if !strings.HasSuffix(f.Text, ", not delivered") {
			t.Fatalf("got %q", f.Text)
		}
		refused++
	}
	a.Send(cmdOne(b.id, "end"))
	got := until(t, b, direct(a.id, "end"))
	if len(got)+refused != n {
		t.Errorf("%d delivered and %d answered, want %d in all", len(got), refused, n)
	}
	t.Logf("%d delivered, %d answered", len(got), refused)
	quiet(t, e, a, b)
}

func TestWrongLinkKeyIsSaidAndClientsAreKept(t *testing.T) {
	t.Parallel()
	// A refused edge dials again only every half minute.
	const redial = 45 * time.Second
	c := cluster.New(t, onBest(t))
	r := c.StartRelay(nil)
	wrong := c.LaunchEdge(cluster.Env{"LINK_KEYS": "test:another-secret-that-is-long-enough"}, r)
	unknown := c.LaunchEdge(cluster.Env{"LINK_KEYS": "other:a-link-key-for-tests-that-is-long-enough"}, r)
	for _, e := range []*cluster.Edge{wrong, unknown} {
		cluster.Eventually(t, e.Name+" says that its key is refused", func() bool {
			status, body := e.Ready()
			return status == http.StatusServiceUnavailable && strings.Contains(body, "link key refused") && strings.Contains(e.Log(), "link key refused")
		})
		if status, _ := upgrade(t, e, nil); status != http.StatusServiceUnavailable {
			t.Errorf("an edge that never had a link answers a connect with %d, want 503", status)
		}
	}
	cluster.Eventually(t, "the relay counts the unknown key", func() bool { return r.Metrics().Sum(metricLinkRefusals, `reason="key"`) >= 1 })

	// A relay comes back with another key: the edge keeps its clients and what they sent until the right one is there.
	e := c.StartEdge(nil, r)
	a, b := channel(t, e, unique("a")), channel(t, e, unique("b"))
	r.Kill()
	r.Setenv("LINK_KEYS", "test:rotated-in-a-way-that-forgot-the-edges")
	r.Restart()
	a.Send(cmdOne(b.id, "meanwhile"))
	cluster.Eventually(t, "the edge counts the refusal", func() bool { return e.Metrics().Sum(metricDialFailures, `reason="key"`) >= 1 })
	if e.IsReady() {
		t.Error("an edge whose key is refused says that it is ready")
	}
	r.Kill()
	r.Setenv("LINK_KEYS", cluster.Key+",next:a-key-that-all-are-to-have-before-it-signs")
	r.Restart()
	cluster.Within(t, redial, "the edge is linked again", e.IsReady)
	b.Expect(direct(a.id, "meanwhile"))
	quiet(t, e, a, b)
}

func TestP10_EveryEndOfASessionHasACountedReason(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	e := c.StartEdge(cluster.Env{"EDGE_PING": "1s"}, c.StartRelay(nil))
	for _, end := range []struct {
		reason string
		by     func(a *user)
	}{
		{"client_closed", func(a *user) { a.Close() }},
		{"client_gone", func(a *user) { a.Drop() }},
		{"not_utf8", func(a *user) { a.SendRaw([]byte{0xff}); a.Ended() }},
		{"too_big", func(a *user) { a.TrySend(strings.Repeat("x", 64<<10+1)); a.Ended() }},
	} {
		end.by(channel(t, e, unique("a")))
		cluster.Eventually(t, end.reason+" is counted", func() bool { return e.Metrics().Sum(metricEnded, `reason="`+end.reason+`"`) == 1 })
	}
	client.DialRaw(t, e.URL("/chat/channel/1")).Write([]byte{0x81, 1, 'x'}) // unmasked
	cluster.Eventually(t, "protocol_error is counted", func() bool { return e.Metrics().Sum(metricEnded, `reason="protocol_error"`) == 1 })
	client.DialRaw(t, e.URL("/chat/channel/2"))
	cluster.Eventually(t, "silent is counted", func() bool { return e.Metrics().Sum(metricEnded, `reason="silent"`) == 1 })
	if m := e.Metrics(); m.Sum(metricEnded) != m.Sum(metricOpened) || m.Sum("edgerelay_edge_sessions") != 0 {
		t.Errorf("%v sessions opened, %v ended, %v left", m.Sum(metricOpened), m.Sum(metricEnded), m.Sum("edgerelay_edge_sessions"))
	}
}

func TestDrainCloses1012AndAcceptsUntilTheClose(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	r := c.StartRelay(nil)
	e, f := c.StartEdge(cluster.Env{"EDGE_DRAIN": "2s"}, r), c.StartEdge(nil, r)
	receiver := channel(t, f, unique("receiver"))
	const n = 20
	type talker struct {
		*user
		sent chan int
	}
	var talkers []talker
	for range n {
		u := talker{channel(t, e, unique("t")), make(chan int, 1)}
		talkers = append(talkers, u)
		go func() { // sends until its library has seen the close
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for i := 0; ; i++ {
				if !u.Open() || u.TrySend(cmdOne(receiver.id, fmt.Sprintf("%s %d", u.id, i))) != nil {
					u.sent <- i
					return
				}
				<-tick.C
			}
		}()
	}
	until(t, receiver, direct(talkers[0].id, talkers[0].id+" 5"))
	begin := time.Now()
	e.Terminate()
	cluster.Eventually(t, "unready", func() bool { status, _ := e.Ready(); return status != http.StatusOK })
	var first, last time.Duration
	for _, u := range talkers {
		u.ExpectEnd(websocket.StatusServiceRestart)
		last = time.Since(begin)
		if first == 0 {
			first = last
		}
	}
	if status := e.Exited(); status != 0 {
		t.Errorf("exit status %d, want 0", status)
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("a drain of 2s took %v", took)
	}
	t.Logf("all closed after %v", last)

	// Everything up to the close that each talker's library saw has arrived, in order. The last write of each may have crossed the close.
	got := map[string]int{}
	receiver.Seek(0)
	receiver.Send(cmdOne(receiver.id, "end"))
	for _, text := range until(t, receiver, direct(receiver.id, "end")) {
		_, text, _ = strings.Cut(text, " send:")
		id, number, _ := strings.Cut(text, " ")
		if want := fmt.Sprint(got[id]); number != want {
			t.Fatalf("%s: got number %s, want %s", id, number, want)
		}
		got[id]++
	}
	for _, u := range talkers {
		if sent := <-u.sent; got[u.id] < sent-1 {
			t.Errorf("%s sent %d messages before it saw the close, %d arrived", u.id, sent, got[u.id])
		}
	}
}

func TestAClientMaySendUntilItsClose(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	r := c.StartRelay(nil)
	e, f := c.StartEdge(cluster.Env{"EDGE_DRAIN": "1s"}, r), c.StartEdge(nil, r)
	b := channel(t, f, unique("b"))
	a := client.DialRaw(t, e.URL("/chat/channel/"+unique("a")))
	e.Terminate()
	if code := closeCode(a); code != 1012 {
		t.Fatalf("close code %d, want 1012", code)
	}
	a.Write(client.Masked(0x81, []byte(cmdOne(b.id, "one more"))))
	a.Write(client.Masked(0x81, []byte(cmdOne(b.id, "and one"))))
	a.Write(client.Masked(0x88, []byte{0x03, 0xf4}))
	for _, want := range []string{" send:one more", " send:and one"} {
		frame, err := b.Next()
		if err != nil || !strings.HasSuffix(frame.Text, want) {
			t.Fatalf("got %q, %v; want …%s", frame.Text, err, want)
		}
	}
	if status := e.Exited(); status != 0 {
		t.Errorf("exit status %d, want 0", status)
	}
	quiet(t, f, b)
}

func TestAnEdgeThatMustLeaveAcceptedFramesSaysSoAndExits1(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	r := c.StartRelay(nil)
	e := c.StartEdge(cluster.Env{"EDGE_DRAIN": "1s"}, r)
	a := channel(t, e, unique("a"))
	r.Kill()
	for i := range 3 {
		a.Send(cmdOne(a.id, fmt.Sprint(i)))
	}
	cluster.Eventually(t, "three frames are in the log", func() bool { return e.Metrics().Sum(metricLogMessages) == 3 })
	e.Terminate()
	a.ExpectEnd(websocket.StatusServiceRestart)
	if status := e.Exited(); status != 1 {
		t.Errorf("exit status %d, want 1", status)
	}
	if log := e.Log(); !strings.Contains(log, "3 accepted") {
		t.Errorf("the log does not say how many accepted frames were left:\n%s", log)
	}
}

func TestReadinessTellsSharedCausesFromItsOwn(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	r := c.StartRelay(nil)
	r.Kill()
	e := c.LaunchEdge(nil, r)
	cluster.Eventually(t, "an edge that never had a link is unready", func() bool { s, _ := e.Ready(); return s == http.StatusServiceUnavailable })
	r.Restart()
	cluster.Eventually(t, "ready once linked", e.IsReady)
	if got := degraded(t, e); len(got) != 0 {
		t.Errorf("degraded %q with all well", got)
	}
	r.Kill()
	cluster.Eventually(t, "degraded without its relay", func() bool { return len(degraded(t, e)) > 0 })
	if !e.IsReady() {
		t.Error("a missing relay made the edge unready")
	}
	for path, want := range map[string]int{"/livez": 200, "/readyz": 200} {
		res, err := http.Get("http://" + e.Addr() + path)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s on the public port: %s, want %d", path, res.Status, want)
		}
	}
}

// degraded returns the list of that name in the /readyz of an edge or a relay.
func degraded(t *testing.T, s interface{ Ready() (int, string) }) []string {
	t.Helper()
	_, body := s.Ready()
	var detail struct{ Degraded []string }
	if err := json.Unmarshal([]byte(body), &detail); err != nil {
		t.Fatalf("/readyz %q: %v", body, err)
	}
	return detail.Degraded
}
