package gateway

import (
	"context"
	"errors"
	"fmt"
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
	if err := g.server.Drain(t.Context(), over); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(began); d > over {
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
	go func() { drained <- g.server.Drain(context.Background(), time.Second) }()
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
	g.raw("/chat/user/1", "") // never answers a close
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := g.server.Drain(ctx, time.Hour); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Drain: %v", err)
	}
	began := time.Now()
	g.server.Close()
	if d := time.Since(began); d > shutdownWait+time.Second {
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
