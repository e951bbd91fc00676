package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/edgerelay/edgerelay/shared/link"
)

func TestDrainSpreadsTheClosesAndWaitsForAll(t *testing.T) {
	t.Parallel()
	g := start(t, nil, nil)
	const n, over = 30, 2 * time.Second
	times := make(chan time.Duration, n)
	began := time.Now()
	for i := range n {
		c := g.dial(fmt.Sprint("/chat/user/", i), nil)
		go func() {
			_, _, err := c.Read(context.Background())
			if code := websocket.CloseStatus(err); code != 1012 {
				t.Errorf("close %d, want 1012", code)
			}
			times <- time.Since(began)
		}()
	}
	began = time.Now()
	if err := g.server.Drain(t.Context(), 0, over); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(began); d > over+10*time.Second {
		t.Errorf("drained in %v, want %v at most", d, over)
	}
	var first, last time.Duration = time.Hour, 0
	for range n {
		d := <-times
		first, last = min(first, d), max(last, d)
	}
	if last-first < over/4 {
		t.Errorf("closes from %v to %v are not spread", first, last)
	}
	if got := len(g.up.ends()); got != n {
		t.Errorf("%d ends upstream, want %d", got, n)
	}
	if _, res, err := websocket.Dial(t.Context(), g.http.URL+"/chat/user/1", nil); err == nil || res.StatusCode != 503 {
		t.Errorf("a connect while draining: %v, want 503", err)
	}
}

func TestWhatAClientSendsUntilItsCloseIsAcceptedDuringADrain(t *testing.T) {
	g := start(t, nil, nil)
	c := g.raw("/chat/user/1", "")
	drained := make(chan error)
	go func() { drained <- g.server.Drain(context.Background(), 0, time.Second) }()
	for { // the close comes at a random moment
		if first, _, err := c.frame(); err != nil {
			t.Fatal(err)
		} else if first == closeByte {
			break
		}
	}
	g.publish("user:1", "too late")
	c.send(masked(0x81, "in flight") + masked(0x88, "\x03\xf4"))
	if err := <-drained; err != nil {
		t.Fatal(err)
	}
	if got := g.up.messages(); len(got) != 1 || got[0] != "in flight" {
		t.Errorf("accepted %q", got)
	}
	g.endsWith(ReasonDraining)
}

func TestWhatAClientSendsAfterAnyOtherCloseIsNotAccepted(t *testing.T) {
	g := start(t, nil, nil)
	c := g.raw("/chat/user/1", "")
	g.hub.living()[0].close(ReasonKicked, closeWait)
	c.wantCloseFrame(ReasonKicked)
	c.send(masked(0x81, "late") + masked(0x88, ""))
	g.endsWith(ReasonKicked)
	if got := g.up.messages(); len(got) != 0 {
		t.Errorf("accepted %q", got)
	}
	if got := g.metric("dropped_total", "closing"); got != 1 {
		t.Errorf("counted %v, want 1", got)
	}
}

func TestDrainIsCutShortByItsContextAndCloseEndsTheRest(t *testing.T) {
	g := start(t, nil, nil)
	g.raw("/chat/user/1", "") // this client never answers a close
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := g.server.Drain(ctx, 0, time.Hour); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Drain: %v", err)
	}
	began := time.Now()
	g.server.Close()
	if d := time.Since(began); d > shutdownWait+10*time.Second {
		t.Errorf("Close took %v", d)
	}
	if g.server.Active() != 0 || len(g.up.ends()) != 1 {
		t.Errorf("%d active, ends %v", g.server.Active(), g.up.ends())
	}
}

func TestCloseEndsConnectsInProgress(t *testing.T) {
	opened := make(chan link.Session, 1)
	g := start(t, &fakeUpstream{open: func(s link.Session) { opened <- s }}, nil)
	g.rawRequest("/chat/user/1", "")
	<-opened
	g.server.Close()
	if g.server.Active() != 0 || len(g.up.ends()) != 1 {
		t.Errorf("%d active, ends %v", g.server.Active(), g.up.ends())
	}
}

func TestRunEndsEverythingWithItsContext(t *testing.T) {
	g := start(t, nil, func(c *Config) { c.Ping = wheelTick })
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan struct{})
	go func() { g.server.Run(ctx); close(ran) }()
	c := g.raw("/chat/user/1", "")
	c.wantFrame(pingFrame[0], "")
	cancel()
	c.wantCloseFrame(ReasonDraining)
	<-ran
	if g.server.Active() != 0 {
		t.Error("Run returned before the session had ended")
	}
}

// TestNobodyIsClosedWhileBalancersTakeNotice checks that no client is closed during the notice. A
// client that connects just when the drain begins must either be refused, or stay until the notice
// is over.
func TestNobodyIsClosedWhileBalancersTakeNotice(t *testing.T) {
	t.Parallel()
	g := start(t, nil, nil)
	const notice, over, n = time.Second, 2 * time.Second, 100
	closed := make(chan time.Time, n)
	for i := range n {
		go func() {
			c, _, err := websocket.Dial(context.Background(), fmt.Sprintf("%s/chat/user/%d", g.http.URL, i), nil)
			if err == nil {
				c.Read(context.Background())
				closed <- time.Now()
				return
			}
			closed <- time.Time{} // the client was refused
		}()
	}
	eventually(t, "half of them are there", func() bool { return g.server.Active() >= n/2 })
	began := time.Now()
	if err := g.server.Drain(t.Context(), notice, over); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(began); d > over+10*time.Second {
		t.Errorf("drained in %v, want %v", d, over)
	}
	for range n {
		if at := <-closed; !at.IsZero() && at.Sub(began) < notice {
			t.Errorf("closed after %v", at.Sub(began))
		}
	}
}

func TestADrainOfNobodyIsOverAtOnce(t *testing.T) {
	g := start(t, nil, nil)
	if err := g.server.Drain(t.Context(), time.Hour, 2*time.Hour); err != nil {
		t.Fatal(err)
	}
}

// TestARefusedRequestIsReplayedElsewhereOnce checks answers with the status 503. If Config.Replay
// is set, the answer asks Fly's proxy to try another machine. If the request has been replayed
// before, the answer does not ask for another replay.
func TestARefusedRequestIsReplayedElsewhereOnce(t *testing.T) {
	for _, c := range []struct {
		replay bool
		source string
		want   string
	}{{false, "", ""}, {true, "", "elsewhere=true"}, {true, "instance=1;t=2", ""}} {
		g := start(t, nil, func(cfg *Config) { cfg.Replay = c.replay })
		if err := g.server.Drain(t.Context(), 0, 0); err != nil {
			t.Fatal(err)
		}
		header := http.Header{}
		if c.source != "" {
			header.Set("fly-replay-src", c.source)
		}
		_, res, err := websocket.Dial(t.Context(), g.http.URL+"/chat/user/1", &websocket.DialOptions{HTTPHeader: header})
		if err == nil || res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
			t.Fatalf("%v, want 503 with Retry-After", err)
		}
		if got := res.Header.Get("Fly-Replay"); got != c.want {
			t.Errorf("replay %v, source %q: fly-replay is %q, want %q", c.replay, c.source, got, c.want)
		}
		// Every machine would refuse this plain GET, so the answer does not ask for a replay.
		res2, err := http.Get(g.http.URL + "/chat/user/1")
		if err != nil {
			t.Fatal(err)
		}
		res2.Body.Close()
		if res2.StatusCode != http.StatusUpgradeRequired || res2.Header.Get("Fly-Replay") != "" {
			t.Errorf("a bad request: %d, fly-replay %q", res2.StatusCode, res2.Header.Get("Fly-Replay"))
		}
	}
}

// TestAConnectUnderWayIsRefusedByADrain begins a drain while a connect waits for the relay's
// answer. The client must be refused at once, so that another server can take it. If the client
// were admitted, it would soon be closed.
func TestAConnectUnderWayIsRefusedByADrain(t *testing.T) {
	opening := make(chan struct{})
	g := start(t, &fakeUpstream{open: func(link.Session) { close(opening) }}, func(c *Config) { c.Replay = true })
	answered := make(chan *http.Response, 1)
	go func() {
		_, res, _ := websocket.Dial(context.Background(), g.http.URL+"/chat/user/1", nil)
		answered <- res
	}()
	<-opening
	if err := g.server.Drain(t.Context(), time.Hour, 2*time.Hour); err != nil {
		t.Fatal(err)
	}
	if res := <-answered; res == nil || res.StatusCode != 503 || res.Header.Get("Retry-After") == "" || res.Header.Get("Fly-Replay") == "" {
		t.Errorf("got %v, want 503 with Retry-After and fly-replay", res)
	}
	g.endsWith(ReasonDraining)
	if len(g.up.ends()) != 1 {
		t.Error("the relay was not told of the session's end")
	}
}

// TestADrainOfSilentClientsIsOverInTime checks that hundreds of clients that never answer a close
// frame do not make the drain longer.
func TestADrainOfSilentClientsIsOverInTime(t *testing.T) {
	g := start(t, nil, nil)
	const n, over = 300, 3 * time.Second
	for i := range n {
		g.raw(fmt.Sprintf("/chat/user/%d", i), "")
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), over)
	defer cancel()
	g.server.Drain(ctx, over/6, over)
	g.server.Close()
	// The drain must not wait for one client after the other.
	if d := time.Since(began); d > over+10*time.Second {
		t.Errorf("drained in %v, want %v", d, over)
	}
	if got := g.metric("sessions_ended_total", "draining"); got != n {
		t.Errorf("%v sessions ended by the drain, want %d", got, n)
	}
}
