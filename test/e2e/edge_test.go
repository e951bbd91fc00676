package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/test/e2e/chat"
	"github.com/edgerelay/edgerelay/test/e2e/client"
	"github.com/edgerelay/edgerelay/test/e2e/cluster"
	"github.com/edgerelay/edgerelay/test/long"
)

// The function upgrade asks an edge for a WebSocket and returns the refusal. If the edge accepts,
// the test fails.
func upgrade(t *testing.T, e *cluster.Edge, h http.Header) (status int, body string) {
	t.Helper()
	_, res, err := client.Try(t, e.URL("/chat/channel/1"), client.Options{Header: h})
	if err == nil {
		t.Fatal("the upgrade was accepted")
	}
	b := make([]byte, 1024)
	n, _ := res.Body.Read(b) // coder/websocket keeps the first bytes of the body
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
			u.Send(chat.One("2", "in"))
		}
		return err == nil
	})
	b.Expect(chat.Direct("3", "in"))
}

func TestP7_RateSlowsTheReaderAndLosesNothing(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	// A user may send 20 messages a second, and 200 in a burst.
	e := c.StartEdge(cluster.Env{"EDGE_RATE": "20"}, c.StartRelay(nil))
	a, b := channel(t, e, chat.Unique("a")), channel(t, e, chat.Unique("b"))
	const n = 260
	begin := time.Now()
	for i := range n {
		a.Send(chat.One(b.id, fmt.Sprint(i)))
	}
	for i := range n {
		b.Expect(chat.Direct(a.id, fmt.Sprint(i)))
	}
	if took := time.Since(begin); took < 2*time.Second {
		t.Errorf("%d messages at 20/s behind a burst of 200 took %v, want about 3 s", n, took)
	}
	quiet(t, e, b)
}

// TestP7_AFloodIsReadMoreSlowlyAndACalmClientIsNot checks that each user has a rate of their own.
// If all users shared one rate, the calm client would have to wait for the flood.
func TestP7_AFloodIsReadMoreSlowlyAndACalmClientIsNot(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	// A user may send 20 messages a second, and 200 in a burst.
	e := c.StartEdge(cluster.Env{"EDGE_RATE": "20"}, c.StartRelay(nil))
	flood, calm, b := channel(t, e, chat.Unique("flood")), channel(t, e, chat.Unique("calm")), channel(t, e, chat.Unique("b"))
	const n, rounds = 440, 100 // the flood takes 12 s by its rate, and the rounds are not slowed
	for i := range n {
		flood.Send(chat.One(b.id, fmt.Sprint(i)))
	}
	next := 0 // number of the flood's message that must come next
	for i := range rounds {
		calm.Send(chat.One(b.id, fmt.Sprint(i)))
		for _, text := range until(t, b, chat.Direct(calm.id, fmt.Sprint(i))) {
			if text != chat.Direct(flood.id, fmt.Sprint(next)) {
				t.Fatalf("got %q, want number %d of the flood", text, next)
			}
			next++
		}
	}
	if next == n {
		t.Errorf("all %d messages of a flood at 20/s behind a burst of 200 came before the last of %d that were sent one by one", n, rounds)
	}
	t.Logf("%d of %d messages of the flood came before the last of the calm client", next, n)
	for ; next < n; next++ {
		b.Expect(chat.Direct(flood.id, fmt.Sprint(next)))
	}
	quiet(t, e, flood, calm, b)
}

// TestP8_AFloodHasItsShareOfTheLogAndACalmClientItsOwn freezes an edge's link, so that nothing
// leaves the log. One client's flood fills that client's share, a sixteenth of the log. Then a calm
// client sends messages. These messages must be accepted all the same. They must arrive before
// those messages of the flood for which there was no room.
func TestP8_AFloodHasItsShareOfTheLogAndACalmClientItsOwn(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	e := c.StartEdge(cluster.Env{"EDGE_LOG": "64KiB", "EDGE_MAX_MESSAGE": "8KiB"}, c.StartRelay(nil))
	flood, calm, b := channel(t, e, chat.Unique("flood")), channel(t, e, chat.Unique("calm")), channel(t, e, chat.Unique("b"))
	const n, share = 200, 3 // a share of 4 KiB has room for 3 messages of 1,000 bytes
	text := func(i int) string { return fmt.Sprint(i, " ", strings.Repeat("x", 1000)) }
	e.Links()[0].Freeze()
	for i := range n {
		flood.Send(chat.One(b.id, text(i)))
	}
	logged := func() int { return int(e.Metrics().Sum(metricLogMessages)) }
	cluster.Eventually(t, "the flood waits for its share", func() bool { return logged() == share && e.Metrics().Sum(metricLogWaiting) == 1 })
	for i := range share {
		calm.Send(chat.One(b.id, text(i)))
	}
	cluster.Eventually(t, "all of the calm client is accepted", func() bool { return logged() == 2*share })
	e.Links()[0].Thaw()
	for _, u := range []*user{flood, calm} {
		for i := range share {
			b.Expect(chat.Direct(u.id, text(i)))
		}
	}
	cluster.Eventually(t, "there is room", func() bool { return logged() == 0 })
	flood.Send(chat.One(b.id, "end"))
	last := share - 1
	flooded := until(t, b, chat.Direct(flood.id, "end"))
	// On a busy machine some messages of the flood may have waited for room for more than 2 s. The
	// edge has answered each of these messages as not delivered.
	for _, got := range flooded {
		i := last + 1
		for i < n && got != chat.Direct(flood.id, text(i)) {
			i++
		}
		if i == n {
			t.Fatalf("got %.40q behind number %d of the flood", got, last)
		}
		last = i
	}
	if told := len(flood.Messages()); share+len(flooded)+told != n {
		t.Errorf("%d of the flood delivered and %d answered, want %d in all", share+len(flooded), told, n)
	}
	flood.Seek(len(flood.Messages()))
	quiet(t, e, flood, calm, b)
}

func TestSilentClientsAreClosedWith4004AndPongingOnesAreNot(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	e := c.StartEdge(cluster.Env{"EDGE_PING": "1s"}, c.StartRelay(nil))
	a := channel(t, e, chat.Unique("a")) // the client's library answers pings
	silent := client.DialRaw(t, e.URL("/chat/channel/"+chat.Unique("silent")))
	if code := closeCode(silent); code != 4004 {
		t.Errorf("the silent client's close code is %d, want 4004", code)
	}
	quiet(t, e, a)
}

func TestP8_AFullLogIsAnsweredAndNeverSilent(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	r := c.StartRelay(nil)
	e := c.StartEdge(cluster.Env{"EDGE_LOG": "64KiB", "EDGE_MAX_MESSAGE": "8KiB"}, r)
	a, b := channel(t, e, chat.Unique("a")), channel(t, e, chat.Unique("b"))
	r.Kill()
	const n = 20
	payload := strings.Repeat("x", 1000)
	// Together these messages are larger than a user's share of the log, which is 4 KiB.
	for i := range n {
		a.Send(chat.One(b.id, fmt.Sprint(i, " ", payload)))
	}
	f, err := a.Next()
	if err != nil || !strings.HasPrefix(f.Text, "error: ") || !strings.HasSuffix(f.Text, ", not delivered") {
		t.Fatalf("got %q, %v; want error: …, not delivered", f.Text, err)
	}
	r.Restart()
	a.Send(chat.One(a.id, "end"))
	refused := 1
	for {
		f, err := a.Next()
		if err != nil {
			t.Fatal(err)
		}
		if f.Text == chat.Direct(a.id, "end") {
			break
		}
		if !strings.HasSuffix(f.Text, ", not delivered") {
			t.Fatalf("got %q", f.Text)
		}
		refused++
	}
	a.Send(chat.One(b.id, "end"))
	got := until(t, b, chat.Direct(a.id, "end"))
	if len(got)+refused != n {
		t.Errorf("%d delivered and %d answered, want %d in all", len(got), refused, n)
	}
	t.Logf("%d delivered, %d answered", len(got), refused)
	quiet(t, e, a, b)
}

func TestWrongLinkKeyIsSaidAndClientsAreKept(t *testing.T) {
	long.Only(t, "a refused edge dials again after half a minute")
	t.Parallel()
	// After a relay has refused an edge, the edge does not dial this relay for up to half a minute.
	redial := promised(45 * time.Second)
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

	// The relay comes back with another key, and later with the right key. Meanwhile the edge keeps
	// its clients, and the messages that they sent.
	e := c.StartEdge(nil, r)
	a, b := channel(t, e, chat.Unique("a")), channel(t, e, chat.Unique("b"))
	r.Kill()
	r.Setenv("LINK_KEYS", "test:rotated-in-a-way-that-forgot-the-edges")
	r.Restart()
	a.Send(chat.One(b.id, "meanwhile"))
	cluster.Eventually(t, "the edge counts the refusal", func() bool { return e.Metrics().Sum(metricDialFailures, `reason="key"`) >= 1 })
	if e.IsReady() {
		t.Error("an edge whose key is refused says that it is ready")
	}
	r.Kill()
	r.Setenv("LINK_KEYS", cluster.Key+",next:a-key-that-all-are-to-have-before-it-signs")
	r.Restart()
	cluster.Within(t, redial, "the edge is linked again", e.IsReady)
	b.Expect(chat.Direct(a.id, "meanwhile"))
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
		end.by(channel(t, e, chat.Unique("a")))
		cluster.Eventually(t, end.reason+" is counted", func() bool { return e.Metrics().Sum(metricEnded, `reason="`+end.reason+`"`) == 1 })
	}
	client.DialRaw(t, e.URL("/chat/channel/1")).Write([]byte{0x81, 1, 'x'}) // an unmasked frame
	cluster.Eventually(t, "protocol_error is counted", func() bool { return e.Metrics().Sum(metricEnded, `reason="protocol_error"`) == 1 })
	client.DialRaw(t, e.URL("/chat/channel/2"))
	cluster.Eventually(t, "silent is counted", func() bool { return e.Metrics().Sum(metricEnded, `reason="silent"`) == 1 })
	if m := e.Metrics(); m.Sum(metricEnded) != m.Sum(metricOpened) || m.Sum("edgerelay_edge_sessions") != 0 {
		t.Errorf("%v sessions opened, %v ended, %v left", m.Sum(metricOpened), m.Sum(metricEnded), m.Sum("edgerelay_edge_sessions"))
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
	cluster.Eventually(t, "nothing is degraded with all well", func() bool { return len(degraded(t, e)) == 0 })
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

// The function degraded returns the list called degraded in the /readyz of an edge or a relay.
func degraded(t *testing.T, s interface{ Ready() (int, string) }) []string {
	t.Helper()
	_, body := s.Ready()
	var detail struct{ Degraded []string }
	if err := json.Unmarshal([]byte(body), &detail); err != nil {
		t.Fatalf("/readyz %q: %v", body, err)
	}
	return detail.Degraded
}
