package gateway

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
)

// spend takes messages of so many bytes for as long as none has to wait, and returns how many.
func spend(t *testing.T, a *allowance, bytes int) (n int) {
	t.Helper()
	for a.take(bytes) {
		n++
	}
	if got := a.wait(t.Context(), nil, bytes); got != pacedOn {
		t.Fatalf("paced %d", got)
	}
	return n
}

// TestP7_AUsersSessionsShareOneAllowance: more connections, or new ones, bring no more.
func TestP7_AUsersSessionsShareOneAllowance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRates(20)
		first, second, other := r.join("u"), r.join("u"), r.join("other")
		if n := spend(t, first, 100); n != 20*rateBurst {
			t.Errorf("a burst of %d", n)
		}
		if n := spend(t, second, 100); n > 1 {
			t.Errorf("%d more on a second connection", n)
		}
		if n := spend(t, other, 100); n < 20*rateBurst {
			t.Errorf("another user's burst was %d", n)
		}
		spend(t, first, 100)
		for range 5 {
			r.leave("u", first)
			r.leave("u", second)
			first, second = r.join("u"), r.join("u")
			if n := spend(t, first, 100); n > 1 {
				t.Errorf("%d more on a new connection", n)
			}
		}
		r.leave("u", first)
		r.leave("u", second)
		r.leave("other", other)
		for range 2 {
			time.Sleep((rateBurst + 1) * time.Second)
			r.leave("w", r.join("w"))
		}
		if n := len(r.users) + len(r.ended) + len(r.before); n > 1 {
			t.Errorf("%d users are remembered that have gone", n-1)
		}
		if n := spend(t, r.join("u"), 100); n != 20*rateBurst {
			t.Errorf("a burst of %d when it is whole again", n)
		}
	})
}

// TestP7_LargeMessagesUseUpMore: what a message costs others grows with its bytes.
func TestP7_LargeMessagesUseUpMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for bytes, want := range map[int]int{0: 200, 1: 200, rateUnit: 200, rateUnit + 1: 100, 60000: 3, 1 << 20: 1} {
			if n := spend(t, newRates(20).join("u"), bytes); n != want {
				t.Errorf("a burst of %d messages of %d bytes, want %d", n, bytes, want)
			}
		}
		if newRates(0).join("u") != nil {
			t.Error("no rate is a limit")
		}
	})
}

// TestP7_WhoWaitsForAnAllowanceWaitsForOneTurn: of many sessions one waits for the allowance, some for their turn, and others are refused; who gives up takes nothing.
func TestP7_WhoWaitsForAnAllowanceWaitsForOneTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newRates(1).join("u")
		spend(t, a, 1)
		results := make(chan paced, 3*rateCrowd)
		ended := make(chan struct{})
		for range rateCrowd {
			go func() { results <- a.wait(t.Context(), ended, 10*rateUnit) }()
		}
		synctest.Wait()
		if got := a.wait(t.Context(), nil, 1); got != pacedCrowded {
			t.Errorf("one of too many: %d", got)
		}
		close(ended)
		for range rateCrowd {
			if got := <-results; got != pacedOut {
				t.Errorf("who gave up: %d", got)
			}
		}
		began := time.Now()
		if got := a.wait(t.Context(), nil, 2*rateUnit); got != pacedOn || time.Since(began) > 2*time.Second {
			t.Errorf("%d after %v behind those who gave up", got, time.Since(began))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if got := a.wait(ctx, nil, 1); got != pacedOut {
			t.Errorf("at the server's end: %d", got)
		}
		if n := a.waiting.Load(); n != 0 {
			t.Errorf("%d wait", n)
		}
	})
}

// TestP3_WhoIsReadMoreSlowlyIsNotCalledSilent: a client whose messages wait for its user's allowance, and so are not read, nor its pongs.
func TestP3_WhoIsReadMoreSlowlyIsNotCalledSilent(t *testing.T) {
	t.Parallel()
	g := start(t, nil, func(c *Config) { c.Rate = 1; c.Ping = time.Second })
	c := g.dial("/chat/user/1", nil)
	for range 2 { // the second has to wait for ten times ten seconds
		send(t, c, websocket.MessageText, strings.Repeat("x", 60<<10))
	}
	s := g.hub.living()[0]
	eventually(t, "the second message waits", func() bool { return s.pacing.Load() != nil })
	for now := g.server.now(); now < time.Hour; now += time.Second {
		g.server.tick(now)
	}
	if reason, over := s.Reason(); over {
		t.Errorf("closed: %v", reason)
	}
	began := time.Now()
	s.close(ReasonDraining, closeWait)
	eventually(t, "the end ends the wait", func() bool { return s.pacing.Load() == nil })
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("after %v", took)
	}
	wantClose(t, c, 1012)
}
