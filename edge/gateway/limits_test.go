package gateway

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// spend pays for messages of the given size until the allowance is used up. It then waits until one
// more message is paid for. It returns the number of messages that were paid for before that wait.
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

// TestP7_AUsersSessionsShareOneAllowance checks that a user gains no further burst by a second
// connection beside the first, or by connecting again.
func TestP7_AUsersSessionsShareOneAllowance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRates(20, 1<<30, 0)
		first, second, other := r.join("u"), r.join("u"), r.join("other")
		if n := spend(t, first, 100); n != 200 {
			t.Errorf("a burst of %d", n)
		}
		if n := spend(t, second, 100); n > 1 {
			t.Errorf("%d more on a second connection", n)
		}
		if n := spend(t, other, 100); n < 200 {
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
			time.Sleep(rateBurst + rateDebt + time.Second)
			r.leave("w", r.join("w"))
		}
		if n := len(r.users) + len(r.ended) + len(r.older); n > 1 {
			t.Errorf("%d users are remembered that have gone", n-1)
		}
		if n := spend(t, r.join("u"), 100); n != 200 {
			t.Errorf("a burst of %d when it is whole again", n)
		}
	})
}

// TestP7_LargeMessagesUseUpMore checks that a message counts once for each KiB or part of a KiB,
// and at least once.
func TestP7_LargeMessagesUseUpMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for bytes, want := range map[int]int{0: 200, 1: 200, rateUnit: 200, rateUnit + 1: 100, 60000: 3, 1 << 20: 1} {
			if n := spend(t, newRates(20, 1<<30, 0).join("u"), bytes); n != want {
				t.Errorf("a burst of %d messages of %d bytes, want %d", n, bytes, want)
			}
		}
		if newRates(0, 1<<30, 0).join("u") != nil {
			t.Error("no rate is a limit")
		}
	})
}

// TestP7_WhoWaitsForAnAllowanceWaitsForOneTurn checks many sessions of one user. One of them waits
// for the user's allowance, and the others wait for their turn. A session beyond rateWaiters must
// be refused. A session that gives up must use nothing of the allowance.
func TestP7_WhoWaitsForAnAllowanceWaitsForOneTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newRates(1, 1<<30, 0).join("u")
		spend(t, a, 1)
		results := make(chan paced, 3*rateWaiters)
		ended := make(chan struct{})
		for range rateWaiters {
			go func() { results <- a.wait(t.Context(), ended, 10*rateUnit) }()
		}
		synctest.Wait()
		if got := a.wait(t.Context(), nil, 1); got != pacedCrowded {
			t.Errorf("one of too many: %d", got)
		}
		close(ended)
		for range rateWaiters {
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

// TestP3_WhoIsReadMoreSlowlyIsNotCalledSilent checks a client whose message waits for the allowance
// of its user. Neither further messages nor pongs are read meanwhile. The session must not be
// closed as silent.
func TestP3_WhoIsReadMoreSlowlyIsNotCalledSilent(t *testing.T) {
	t.Parallel()
	g := start(t, nil, func(c *Config) { c.Rate = 1; c.Ping = time.Second })
	c := g.dial("/chat/user/1", nil)
	// The second message has to wait for a minute.
	for range 2 {
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
	s.close(ReasonDraining, closeWait)
	eventually(t, "the end ends the wait", func() bool { return s.pacing.Load() == nil })
	wantClose(t, c, 1012)
}

// TestA2_ABurstFitsIntoAQueue checks that a user's burst of large messages fills a quarter of a
// client's queue, or a little less. After the burst, large messages are limited to Config.Rate
// times a KiB in each second. A burst of small messages is bounded by the number of messages.
func TestA2_ABurstFitsIntoAQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const queue, size = 256 << 10, 10_000
		a := newRates(100, queue, 0).join("u")
		burst := spend(t, a, size)
		if bytes := burst * size; bytes > queue/4 || bytes < queue/4-size {
			t.Errorf("a burst of %d bytes, want %d", bytes, queue/4)
		}
		began, n := time.Now(), 0
		for time.Since(began) < 10*time.Second {
			if a.wait(t.Context(), nil, size) == pacedOn {
				n++
			}
		}
		if want := 100 << 10; n*size < want*9 || n*size > want*11 {
			t.Errorf("%d bytes in ten seconds, want %d", n*size, want*10)
		}
		if n := spend(t, newRates(100, queue, 0).join("v"), 50); n != 1000 {
			t.Errorf("a burst of %d small messages", n)
		}
	})
}

// TestA5_DeliveriesAreChargedToTheSender checks that a user who sends many messages to many members
// is read more slowly. A user who sends no more than four messages a second is not slowed down.
// Other users are not affected.
func TestA5_DeliveriesAreChargedToTheSender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const members, fanOut = 1000, 250
		r := newRates(100, 256<<10, fanOut)
		flood, person := r.join("flood"), r.join("person")
		say := func(a *allowance, user string, pause time.Duration) (n int) {
			for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(pause) {
				if a.wait(t.Context(), nil, 1) == pacedOn {
					n++
					r.charge(user, members)
				}
			}
			return n
		}
		// With its deliveries, each message costs as much as 1 + members/fanOut messages without
		// deliveries.
		if n, want := say(flood, "flood", 0), 7000/(1+members/fanOut); n > want+want/10 {
			t.Errorf("a flood of %d messages in a minute, want %d", n, want)
		}
		if n := say(person, "person", 250*time.Millisecond); n < 230 {
			t.Errorf("a person was slowed down to %d messages in a minute", n)
		}
		if n := spend(t, r.join("other"), 1); n != 1000 {
			t.Errorf("another user's burst is %d", n)
		}
		r.charge("nobody", 1e9)
		r.leave("flood", flood)
		r.charge("flood", 1e9)
		if again := r.join("flood"); again != flood || again.take(1) {
			t.Error("who connects anew owes nothing")
		} else if began := time.Now(); again.wait(t.Context(), nil, 1) != pacedOn || time.Since(began) > rateDebt+time.Second {
			t.Errorf("the debt is %v", time.Since(began))
		}
	})
}

// TestA6_WhatIsChargedIsWhatIsStored checks StoredLen, by which users are charged. For a message of
// the chat it must return the length of the published form. If an endpoint's messages are raw text,
// publishing escapes the control character U+0001 to six bytes. For a line of an SDK it must not
// return less than the length of the published data, nor much more.
func TestA6_WhatIsChargedIsWhatIsStored(t *testing.T) {
	raw := strings.Repeat("\x01", 1000) + `"` + "\n"
	for endpoint, want := range map[protocol.Endpoint]int{
		protocol.EndpointAll: 6004, protocol.EndpointGroup: 6004, protocol.EndpointChannel: 1002, protocol.EndpointUser: 1002,
	} {
		if got := endpoint.StoredLen([]byte(raw)); got != want {
			t.Errorf("endpoint %d: %d bytes, want %d", endpoint, got, want)
		}
	}
	line := `{"id":1,"publish":{"channel":"x","data":[` + strings.Repeat(`"",`, 1000) + `"\\\\"]}}`
	var c protocol.Content
	if err := c.SetData([]byte(line[strings.Index(line, "[") : len(line)-2])); err != nil {
		t.Fatal(err)
	}
	stored := len(protocol.AppendQuoted(nil, c.Msg))
	if got := protocol.EndpointSDK.StoredLen([]byte(line)); got < stored || got > stored+len(line)-len(c.Msg)+20 {
		t.Errorf("a line of %d bytes counts %d, and its data is stored in %d", len(line), got, stored)
	}
}

// TestA3_OneUserHasAPartOfTheSessions checks that a user's session counts towards Config.PerUser
// until its socket is closed and the relay has forgotten it. Other users are admitted meanwhile.
func TestA3_OneUserHasAPartOfTheSessions(t *testing.T) {
	g := start(t, nil, func(c *Config) { c.PerUser = 2 })
	first := g.raw("/chat/user/1", "")
	g.raw("/chat/channel/1", "")
	refused := func() bool {
		c := g.rawRequest("/chat/user/1", "")
		defer c.Close()
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(io.LimitReader(res.Body, 200))
		switch res.StatusCode {
		case http.StatusSwitchingProtocols:
			return false
		case http.StatusTooManyRequests:
			if !strings.Contains(string(text), "EDGE_USER_SESSIONS") || res.Header.Get("Retry-After") == "" {
				t.Errorf("%q, %v", text, res.Header)
			}
			return true
		}
		t.Fatalf("status %d", res.StatusCode)
		return false
	}
	if !refused() || g.metric("refused_total", "user_sessions") != 1 {
		t.Fatal("a third session of one user was let in, or not counted")
	}
	g.raw("/chat/user/2", "")
	first.Close()
	eventually(t, "the relay is told of its end", func() bool { return len(g.up.ends()) == 1 })
	if !refused() {
		t.Fatal("one that the relay has not forgotten does not count")
	}
	g.hub.Forget(g.up.ends()[0])
	eventually(t, "the user is let in again", func() bool { return !refused() })
}

// TestA3_TheNumberIsGivenBackWhateverEndsTheConnect checks that a session counts for its user until
// both of its claims are released, in either order.
func TestA3_TheNumberIsGivenBackWhateverEndsTheConnect(t *testing.T) {
	u := users{most: 1, sessions: map[string]int{}}
	for _, order := range [][]int32{{claimSocket, claimTables}, {claimTables, claimSocket}} {
		s := NewSession(link.Session{User: "1"}, 1)
		if !u.enter(s) {
			t.Fatal("refused")
		}
		for _, claim := range order {
			if u.enter(NewSession(link.Session{User: "1"}, 1)) {
				t.Fatal("one too many")
			}
			s.release(claim)
			s.release(claim)
		}
		if len(u.sessions) != 0 {
			t.Fatal(u.sessions)
		}
	}
}

// TestA3_UnfinishedMessagesAreBoundedInBytes checks the bound for one user and the bound for all.
// The session whose message has waited longest must give way, with a close frame. A finished
// message must no longer count.
func TestA3_UnfinishedMessagesAreBoundedInBytes(t *testing.T) {
	large := masked(0x81, strings.Repeat("x", 60<<10))
	for name, of := range map[string]func(i int) string{
		"one user":  func(int) string { return "1" },
		"all users": func(i int) string { return string(rune('a' + i)) },
	} {
		t.Run(name, func(t *testing.T) {
			share := 200 << 10 // room for two large messages, but not for three
			g := start(t, nil, func(c *Config) {
				c.Unfinished = share
				if name == "one user" {
					c.Unfinished *= unfinishedShare
				}
			})
			begin := func(i int) *rawClient {
				c := g.raw("/chat/user/"+of(i), "")
				before := g.metric("unfinished_bytes", "")
				c.send(large[:len(large)-1])
				eventually(t, "the remainder is awaited", func() bool {
					return g.metric("unfinished_bytes", "") > before+60<<10 ||
						g.metric("sessions_ended_total", ReasonUnfinishedBytes.String()) > 0
				})
				return c
			}
			finished := begin(0)
			finished.send(large[len(large)-1:])
			eventually(t, "it is finished", func() bool {
				return len(g.up.messages()) == 1 && g.metric("unfinished_bytes", "") == 0
			})
			first, second, third := begin(1), begin(2), begin(3)
			first.wantCloseFrame(ReasonUnfinishedBytes)
			g.endsWith(ReasonUnfinishedBytes)
			for _, c := range []*rawClient{second, third} {
				c.send(large[len(large)-1:])
			}
			eventually(t, "the others are accepted", func() bool { return len(g.up.messages()) == 3 })
			if got := g.metric("unfinished_bytes", ""); got != 0 {
				t.Errorf("%v bytes are held on", got)
			}
		})
	}
}

// TestB2_ManyWhoBeginAMessagePushOutNobodyElse checks many users, each with one unfinished message.
// Since none of them holds more bytes than the longest message can take, they count as equal. So
// the user that has waited longest gives way, and not the user that holds most.
func TestB2_ManyWhoBeginAMessagePushOutNobodyElse(t *testing.T) {
	var u unfinished
	u.bound(64<<20, 64<<10)
	sessionOf := func(user string) *Session { return NewSession(link.Session{User: user}, 1<<10) }
	most := int(u.most / (unfinishedCost + 512))
	for i := range most - 10 {
		u.count(sessionOf(fmt.Sprint("flood", i)), nil, 512)
	}
	honest := sessionOf("honest")
	first := u.count(honest, nil, 512)
	u.count(honest, first, 72<<10) // the buffer of a message of 64 KiB
	for i := range most / 2 {
		u.count(sessionOf(fmt.Sprint("more", i)), nil, 512)
	}
	if r, ended := honest.Reason(); ended {
		t.Errorf("whoever sends one message ended: %v", r)
	}
	if u.bytes() > float64(u.most) {
		t.Errorf("%v bytes are held", u.bytes())
	}
}
