package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// TestP7_TheSourceThatHasMostGuestsLosesItsOldest fills an edge with guests of one source. The edge
// must let each newcomer in. To make room, it must close the oldest guest of that source. It must
// not close the guest of another source, though that guest is the oldest of all and waits for the
// relay.
func TestP7_TheSourceThatHasMostGuestsLosesItsOldest(t *testing.T) {
	const most = 4
	inBubble(t, silentRelay(), func(c *Config) { c.MaxSessions = most*guestShare + 5 }, func(t *testing.T, b *bubbled) {
		honest := b.connectFrom("192.0.2.1:1")
		honest.send(textOf("connect 1"))
		var flood []*rawClient
		for i := range most - 1 {
			flood = append(flood, b.connectFrom(fmt.Sprintf("[2001:db8::%d]:1", i)))
		}
		began := time.Now()
		for i := range 20 {
			flood = append(flood, b.connectFrom(fmt.Sprintf("[2001:db8::%d:1]:1", i)))
			flood[i].wantCode(3004)
			synctest.Wait()
			if guests := b.metric("guests", ""); guests != most {
				t.Fatalf("%v guests", guests)
			}
		}
		b.connectFrom("198.51.100.1:1")
		flood[20].wantCode(3004)
		// After giveWayWait the sockets of the guests that gave way are closed, though no client
		// has answered.
		time.Sleep(giveWayWait)
		synctest.Wait()
		if n := b.metric("sessions_ended_total", "guests"); n != 21 || b.server.Active() != most {
			t.Errorf("%v guests gave way, and %d sockets are open", n, b.server.Active())
		}
		if took := time.Since(began); took >= confirmWait {
			t.Fatalf("it took %v", took)
		}
		b.hub.Confirmed(link.Confirmed{Session: 1, User: "1", Text: []byte("connected")}, true)
		honest.wantFrame(textByte, "connected")
		if guests := b.metric("guests", ""); guests != most-1 {
			t.Errorf("%v guests", guests)
		}
	})
}

// TestP7_WhoConnectsAtOnceIsConfirmedAmongManyGuestsOfItsSource gives all clients one source, as a
// proxy does. Many of them are guests that say nothing. Then another client connects, and further
// guests come before its connect is confirmed. If these guests are fewer than most, the client must
// be confirmed. If they are as many as most, the client must give way.
func TestP7_WhoConnectsAtOnceIsConfirmedAmongManyGuestsOfItsSource(t *testing.T) {
	const most = 50
	inBubble(t, nil, func(c *Config) { c.MaxSessions = most*guestShare + 15 }, func(t *testing.T, b *bubbled) {
		for range 3 * most {
			b.connect()
		}
		for range 10 {
			c := b.connect()
			for range most - 1 { // these come before the client's connect
				b.connect()
			}
			c.send(textOf("connect 1"))
			c.wantFrame(textByte, "connected")
			time.Sleep(giveWayWait) // by now the sockets of the guests that gave way are closed
		}
		late := b.connect()
		for range most {
			b.connect()
		}
		late.wantCode(3004)
	})
}

func TestSourcesOfRequests(t *testing.T) {
	of := func(addr string) netip.Addr { return sourceOf(&http.Request{RemoteAddr: addr}) }
	if of("192.0.2.1:1") != of("192.0.2.1:2") || of("192.0.2.1:1") == of("192.0.2.2:1") {
		t.Error("an IPv4 address is not a source")
	}
	if of("[2001:db8::1]:1") != of("[2001:db8::2]:1") || of("[2001:db8::1]:1") == of("[2001:db8:0:1::1]:1") {
		t.Error("a /64 is not a source")
	}
	if of("") != of("@") || of("").IsValid() {
		t.Error("what has no address is not one source")
	}
}

func TestAGuestCountsAmongTheSessions(t *testing.T) {
	g := startSDK(t, nil, func(c *Config) { c.MaxSessions = 3 })
	g.sdk("1")
	g.raw(protocol.SDKPath, "")
	g.raw("/chat/user/1", "")
	for _, path := range []string{protocol.SDKPath, "/chat/user/2"} {
		res, err := http.ReadResponse(g.rawRequest(path, "").r, nil)
		if err != nil || res.StatusCode != 503 {
			t.Errorf("%s: %v %+v", path, err, res)
		}
	}
	// Sessions that have ended count too while their sockets are open.
	g = startSDK(t, nil, func(c *Config) { c.MaxSessions = 3 })
	for range 3 {
		g.server.enter()
		defer g.server.leave()
	}
	if res, _ := g.upgradeWith("", nil); res.StatusCode != 503 {
		t.Errorf("%d while three sockets are open", res.StatusCode)
	}
	// Dead sessions count until the relay has forgotten them. With two dead sessions and one guest,
	// the bound of three is reached.
	h := NewHub(HubConfig{})
	up := &fakeUpstream{}
	for range 2 {
		s := channel("1")
		h.Open(s, up)
		h.End(s, up)
	}
	if !h.enterGuest(newGuest("", 1<<10), netip.Addr{}, 3) {
		t.Error("a guest is refused while there is room")
	}
	if _, ok := h.open(channel("1"), up, 3); ok {
		t.Error("a session takes the guest's place")
	}
	if h.enterGuest(newGuest("", 1<<10), netip.Addr{}, 3) {
		t.Error("a guest beyond the sessions")
	}
}

// In TestAGuestThatSaysNothingIsClosedAsStale, a guest sends nothing. The guest must be closed with
// 3502 after 10 s, and no relay must be told of it.
func TestAGuestThatSaysNothingIsClosedAsStale(t *testing.T) {
	up := silentRelay()
	up.client = func(c link.Client) { t.Errorf("told %+v", c) }
	inBubble(t, up, nil, func(t *testing.T, b *bubbled) {
		c := b.connect()
		began := time.Now()
		c.wantCode(3502)
		if took := time.Since(began); took < guestWait || took > guestWait+2*wheelTick {
			t.Errorf("closed after %v", took)
		}
		c.Close()
		synctest.Wait()
		if all, dead := b.hub.Len(); all+dead+len(b.up.ends())+len(b.hub.guests.places)+b.hub.strangers != 0 {
			t.Errorf("%d sessions, %d dead, %d ends, %d guests, %d strangers", all, dead, len(b.up.ends()), len(b.hub.guests.places), b.hub.strangers)
		}
		if n := b.metric("sessions_ended_total", "stale"); n != 1 {
			t.Errorf("%v are counted as stale", n)
		}
	})
}

// In TestAConnectThatNobodyConfirmsComesBack, the relay does not answer a guest's connect. The
// guest must be closed with 3004. Its SDK then connects again, so an outage ends no client for
// good. The close must come within 5 s, since an SDK gives up its connect then.
func TestAConnectThatNobodyConfirmsComesBack(t *testing.T) {
	for _, after := range []time.Duration{0, time.Second, 9 * time.Second} {
		inBubble(t, silentRelay(), nil, func(t *testing.T, b *bubbled) {
			c := b.connect()
			time.Sleep(after)
			c.send(textOf("connect 1", "behind"))
			began := time.Now()
			c.wantCode(3004)
			if took := time.Since(began); took < confirmWait || took > confirmWait+2*wheelTick {
				t.Errorf("after %v: closed after %v", after, took)
			}
			c.Close()
			synctest.Wait()
			if got := b.up.messages(); !slices.Equal(got, []string{"connect 1"}) || !slices.Equal(b.up.ends(), []uint64{1}) {
				t.Errorf("after %v: accepted %q, ended %v", after, got, b.up.ends())
			}
			if n := b.metric("sessions_ended_total", "unconfirmed"); n != 1 {
				t.Errorf("after %v: %v are counted as unconfirmed", after, n)
			}
		})
	}
}

// In TestAGuestsLineWaitsForARelayThatKnowsSDKs, a guest sends its connect while no relay can take
// guests. Meanwhile the guest must not be in the tables, and its connect must not be accepted. If a
// relay that can take guests then comes, the guest must be confirmed. If none comes, the guest must
// be closed with 3004.
func TestAGuestsLineWaitsForARelayThatKnowsSDKs(t *testing.T) {
	for _, comes := range []bool{true, false} {
		t.Run(fmt.Sprint("it comes: ", comes), func(t *testing.T) {
			var linked atomic.Bool
			up := &fakeUpstream{}
			var again chan struct{}
			up.enrol = func(link.Client) <-chan struct{} {
				if linked.Load() {
					return nil
				}
				return again
			}
			inBubble(t, up, nil, func(t *testing.T, b *bubbled) {
				again = make(chan struct{})
				c := b.connect()
				c.send(textOf("connect 1"))
				time.Sleep(confirmWait - time.Second)
				if all, _ := b.hub.Len(); all != 0 || len(b.up.messages()) != 0 {
					t.Errorf("%d sessions, %q accepted", all, b.up.messages())
				}
				if comes {
					linked.Store(true)
					close(again)
					c.wantFrame(textByte, "connected")
					return
				}
				c.wantCode(3004)
				c.Close()
				synctest.Wait()
				if all, _ := b.hub.Len(); all != 0 || len(b.up.messages())+len(b.up.ends()) != 0 {
					t.Errorf("%d sessions, %q accepted, %v ended", all, b.up.messages(), b.up.ends())
				}
			})
		})
	}
}

// In TestNothingBehindAConnectIsNumberedBeforeItIsConfirmed, a guest sends lines after its connect,
// in the same message and in later ones. No such line may be accepted before the connect is
// confirmed. After that all of the lines must be accepted, in order.
func TestNothingBehindAConnectIsNumberedBeforeItIsConfirmed(t *testing.T) {
	inBubble(t, silentRelay(), nil, func(t *testing.T, b *bubbled) {
		c := b.connect()
		c.send(textOf("connect 1", "a", "b") + textOf("c"))
		c.send(textOf("d"))
		synctest.Wait()
		if got := b.up.messages(); !slices.Equal(got, []string{"connect 1"}) {
			t.Fatalf("accepted %q", got)
		}
		b.hub.Confirmed(link.Confirmed{Session: 1, User: "1", Text: []byte("ok")}, true)
		c.wantFrame(textByte, "ok")
		synctest.Wait()
		if got := b.up.messages(); !slices.Equal(got, []string{"connect 1", "a", "b", "c", "d"}) {
			t.Errorf("accepted %q", got)
		}
	})
}

// In TestAGuestWhoseConnectIsRefusedIsNotReadOn, a relay answers a connect with an error, and then
// sends a Close. Lines that the client sends after its connect must be dropped.
func TestAGuestWhoseConnectIsRefusedIsNotReadOn(t *testing.T) {
	inBubble(t, silentRelay(), nil, func(t *testing.T, b *bubbled) {
		c := b.connect()
		c.send(textOf("connect 1", "behind"))
		synctest.Wait()
		b.hub.Answer(link.Answer{Session: 1, Text: []byte("error 109")})
		b.hub.Close(link.Close{Session: 1})
		c.wantFrame(textByte, "error 109")
		c.send(textOf("more") + textOf("{}") + textOf(""))
		began := time.Now()
		if first, _, err := c.frame(); err == nil {
			t.Errorf("got frame %#x", first)
		}
		if took := time.Since(began); took != leaveWait {
			t.Errorf("the socket closes after %v", took)
		}
		synctest.Wait()
		if got := b.up.messages(); !slices.Equal(got, []string{"connect 1"}) {
			t.Errorf("accepted %q", got)
		}
		if n := b.metric("dropped_total", "closing"); n != 4 {
			t.Errorf("%v lines are counted as dropped, want 4", n)
		}
	})
}

// In TestTenThousandGuestsThatSayNothingLeaveNothing, ten thousand guests send nothing. While they
// wait, a client of the chat must be admitted. Once they are closed, none of them may be counted,
// and another guest must be confirmed.
func TestTenThousandGuestsThatSayNothingLeaveNothing(t *testing.T) {
	const n = 10_000
	up := silentRelay()
	up.accept = nil
	inBubble(t, up, func(c *Config) { c.MaxSessions = n * guestShare }, func(t *testing.T, b *bubbled) {
		clients := make([]*rawClient, n)
		for i := range clients {
			clients[i] = b.connect()
		}
		if res, err := http.ReadResponse(b.request("/chat/user/1").r, nil); err != nil || res.StatusCode != 101 {
			t.Errorf("a client of the chat: %v %+v", err, res)
		}
		var gone sync.WaitGroup
		for _, c := range clients {
			gone.Go(func() {
				c.wantCode(3502)
				c.Close()
			})
		}
		gone.Wait()
		synctest.Wait()
		if guests := b.metric("guests", ""); guests != 0 || len(b.up.messages()) != 0 || b.server.Active() != 1 {
			t.Errorf("%v guests, %q accepted, %d active", guests, b.up.messages(), b.server.Active())
		}
		b.confirmed("1")
	})
	runtime.GC()
}

// In TestP8_WhatGuestsHaveSentIsBounded, guests of one source send many bytes. Their messages wait
// for the confirmation, or are begun and not finished. Beyond the bound the oldest of these guests
// must be closed. A guest of another source must stay. A confirmed session that has begun a message
// must stay too.
func TestP8_WhatGuestsHaveSentIsBounded(t *testing.T) {
	const room = 1 << 20 / guestBytesShare
	large := textOf("connect 1", strings.Repeat("x", 60<<10))
	for name, sent := range map[string]string{"waits": large, "begun": large[:len(large)-1]} {
		t.Run(name, func(t *testing.T) {
			up := &fakeUpstream{}
			up.accept = func(uint64, []byte) bool { return true }
			inBubble(t, up, func(c *Config) { c.Unfinished = 1 << 20 }, func(t *testing.T, b *bubbled) {
				user := b.connectFrom("192.0.2.1:1")
				user.send(textOf("connect 1"))
				synctest.Wait()
				b.hub.Confirmed(link.Confirmed{Session: 1, User: "1", Text: []byte("connected")}, true)
				user.wantFrame(textByte, "connected")
				half := textOf("half a line")
				user.send(half[:8])
				small := b.connectFrom("192.0.2.2:1")
				small.send(textOf("connect 2"))
				const most = room / (60 << 10)
				var flood []*rawClient
				for i := range 2 * most {
					c := b.connectFrom("192.0.2.3:1")
					c.send(sent)
					flood = append(flood, c)
					synctest.Wait()
					if bytes := b.metric("guest_bytes", ""); bytes > room || i < most/2 && bytes < float64(i*60<<10) {
						t.Errorf("%d guests, %v bytes", i+1, bytes)
					}
				}
				flood[0].wantCode(3004)
				time.Sleep(giveWayWait)
				synctest.Wait()
				if n := b.metric("sessions_ended_total", "guest_bytes"); n < most || n > 2*most {
					t.Errorf("%v guests gave way", n)
				}
				user.send(half[8:])
				synctest.Wait()
				if got := b.up.messages(); got[len(got)-1] != "half a line" {
					t.Errorf("accepted %.20q", got)
				}
				b.hub.Confirmed(link.Confirmed{Session: 2, User: "2", Text: []byte("connected")}, true)
				small.wantFrame(textByte, "connected")
				for _, c := range flood {
					c.Close()
				}
				time.Sleep(time.Minute)
				if bytes := b.metric("guest_bytes", ""); bytes != 0 {
					t.Errorf("%v bytes are left", bytes)
				}
			})
		})
	}
}

// TestNothingBehindAConnectIsForwardedInADrain closes a guest as a drain does, while its connect
// waits for the confirmation. The client may send until it answers the close frame. But the lines
// behind the connect must not be forwarded, since a relay closes a session that sends them before
// its confirmation.
func TestNothingBehindAConnectIsForwardedInADrain(t *testing.T) {
	inBubble(t, silentRelay(), nil, func(t *testing.T, b *bubbled) {
		c := b.connect()
		c.send(textOf("connect 1", "behind"))
		synctest.Wait()
		for _, s := range b.hub.living() {
			s.close(ReasonDraining, closeWait)
		}
		c.wantCode(3001)
		c.send(textOf("later"))
		synctest.Wait()
		if got := b.up.messages(); !slices.Equal(got, []string{"connect 1"}) {
			t.Errorf("accepted %q", got)
		}
		c.Close()
	})
}

// In TestP8_WhoIsClosedByTheRelayAndSendsOnIsCutOff, the relay closes a session whose client goes
// on sending. The client's socket must be closed after lingerMost bytes, or little more.
func TestP8_WhoIsClosedByTheRelayAndSendsOnIsCutOff(t *testing.T) {
	for _, path := range []string{protocol.SDKPath, "/chat/user/1"} {
		g := startSDK(t, nil, nil)
		c := g.raw(path, "")
		if path == protocol.SDKPath {
			c.send(textOf("connect 1"))
			c.wantFrame(textByte, "connected")
		}
		g.hub.Close(link.Close{Session: 1, Code: 3500, Reason: "invalid token"})
		c.wantCode(3500)
		c.SetWriteDeadline(time.Now().Add(patience))
		flood := []byte(strings.Repeat(textOf("x"), 1<<20/7))
		cut := false
		for range 8 * lingerMost >> 20 {
			if _, err := c.Write(flood); err != nil {
				cut = !errors.Is(err, os.ErrDeadlineExceeded)
				break
			}
		}
		if !cut {
			t.Errorf("%s: %d bytes are taken", path, 8*lingerMost)
		}
		g.endsWith(ReasonRelay)
	}
}

// TestP8_TheMessageOfAGuestThatIsBeingClosedCountsToo closes a guest, whose client then begins a
// message. The session no longer counts among the guests. So its message must be counted in
// Server.unfinished until the socket is closed.
func TestP8_TheMessageOfAGuestThatIsBeingClosedCountsToo(t *testing.T) {
	inBubble(t, nil, func(c *Config) { c.Unfinished, c.MaxSessions = 1<<20, guestShare }, func(t *testing.T, b *bubbled) {
		first := b.connect()
		b.connect()
		first.wantCode(3004)
		first.send(textOf("half a line")[:8])
		synctest.Wait()
		if bytes := b.metric("unfinished_bytes", ""); bytes < unfinishedCost {
			t.Errorf("%v bytes are counted", bytes)
		}
		time.Sleep(giveWayWait)
		synctest.Wait()
		if bytes := b.metric("unfinished_bytes", ""); bytes != 0 {
			t.Errorf("%v bytes are counted in the end", bytes)
		}
	})
}

// In TestP7_GuestsThatARelayHasRefusedGiveWay, a relay refuses guests whose clients do not close
// their sockets. Beyond the bound of guests these sockets must be closed after giveWayWait, and not
// after the longer time that a refused client has.
func TestP7_GuestsThatARelayHasRefusedGiveWay(t *testing.T) {
	const most = 4
	inBubble(t, silentRelay(), func(c *Config) { c.MaxSessions = most * guestShare }, func(t *testing.T, b *bubbled) {
		for i := range uint64(3 * most) {
			b.connect().send(textOf("connect"))
			synctest.Wait()
			refusal := link.Close{Session: i + 1} // no code, as after an answer with an error
			if i%2 == 1 {
				refusal.Code, refusal.Reason = 3500, "invalid token"
			}
			b.hub.Close(refusal)
		}
		time.Sleep(giveWayWait)
		synctest.Wait()
		if open := b.server.Active(); open != most {
			t.Errorf("%d sockets are open, want %d", open, most)
		}
	})
}

// In TestP8_AGuestThatGaveWayKeepsNoMessage, guests send large messages, which wait since the log
// has no room. If a guest gives way, its socket must be closed after giveWayWait, though the
// guest's connect may wait for confirmWait.
func TestP8_AGuestThatGaveWayKeepsNoMessage(t *testing.T) {
	up := silentRelay()
	up.accept = func(uint64, []byte) bool { return false }
	up.waitRoom = func(ctx context.Context, _ uint64, _ int) bool { <-ctx.Done(); return false }
	const most = 1 << 20
	inBubble(t, up, func(c *Config) { c.Unfinished = most }, func(t *testing.T, b *bubbled) {
		for range 40 {
			b.connect().send(textOf("connect", strings.Repeat("x", 60<<10)))
			synctest.Wait()
		}
		time.Sleep(giveWayWait)
		synctest.Wait()
		if guests := b.metric("guests", ""); guests == 0 || guests != float64(b.server.Active()) {
			t.Errorf("%v guests, and %d sockets are open", guests, b.server.Active())
		}
		if bytes := b.metric("guest_bytes", ""); bytes == 0 || bytes > most/guestBytesShare {
			t.Errorf("messages of %v bytes are kept", bytes)
		}
	})
}

// In TestP7_GuestsThatLingerGiveWay, guests break the protocol and keep their sockets open. The
// session of such a guest ends, but its socket stays open for a while. Beyond the bound of guests
// these sockets must be closed after giveWayWait.
func TestP7_GuestsThatLingerGiveWay(t *testing.T) {
	const most = 4
	inBubble(t, silentRelay(), func(c *Config) { c.MaxSessions = most * guestShare }, func(t *testing.T, b *bubbled) {
		for range 3 * most {
			b.connect().send(textOf(""))
			synctest.Wait()
		}
		time.Sleep(giveWayWait)
		synctest.Wait()
		if open, guests := b.server.Active(), b.metric("guests", ""); open != most || guests != most {
			t.Errorf("%d sockets are open, and %v guests counted, want %d", open, guests, most)
		}
		time.Sleep(closeWait)
		synctest.Wait()
		if open, guests := b.server.Active(), b.metric("guests", ""); open != 0 || guests != 0 {
			t.Errorf("%d sockets are open, and %v guests counted, want none", open, guests)
		}
	})
}
