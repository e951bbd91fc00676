package gateway

import (
	"errors"
	"fmt"
	"net/http"
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

func TestGuestsAreASixteenthOfTheSessions(t *testing.T) {
	g := startSDK(t, nil, func(c *Config) { c.MaxSessions = 47 })
	first, second := g.raw(protocol.SDKPath, ""), g.raw(protocol.SDKPath, "")
	if res, _ := g.upgradeWith("", nil); res.StatusCode != 503 || res.Header.Get("Retry-After") == "" || g.metric("refused_total", "guests") != 1 {
		t.Fatalf("%d with two guests", res.StatusCode)
	}
	first.send(textOf("connect 1"))
	first.wantFrame(textByte, "connected")
	third := g.raw(protocol.SDKPath, "") // takes the place of the guest that was confirmed
	if res, _ := g.upgradeWith("", nil); res.StatusCode != 503 {
		t.Fatalf("%d with two guests", res.StatusCode)
	}
	second.Close()
	third.Close()
	eventually(t, "the guests are gone", func() bool { return g.metric("guests", "") == 0 })
	g.raw(protocol.SDKPath, "")
	g.raw(protocol.SDKPath, "")
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
	if _, ok := h.enterGuest(newGuest("", 1<<10), 3, 1); !ok {
		t.Error("a guest is refused while there is room")
	}
	if _, ok := h.open(channel("1"), up, 3); ok {
		t.Error("a session takes the guest's place")
	}
	if why, ok := h.enterGuest(newGuest("", 1<<10), 3, 5); ok || why != refuseFull {
		t.Errorf("%v %v: a guest beyond the sessions", why, ok)
	}
}

// TestAGuestThatSaysNothingIsClosedAsStale has a guest send nothing. It must be closed with 3502
// after 10 s, and no relay must be told of it.
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
		if all, dead := b.hub.Len(); all+dead+len(b.up.ends())+len(b.hub.guests)+b.hub.strangers != 0 {
			t.Errorf("%d sessions, %d dead, %d ends, %d guests, %d strangers", all, dead, len(b.up.ends()), len(b.hub.guests), b.hub.strangers)
		}
		if n := b.metric("sessions_ended_total", "stale"); n != 1 {
			t.Errorf("%v are counted as stale", n)
		}
	})
}

// TestAConnectThatNobodyConfirmsComesBack has a relay that does not answer a connect. The guest
// must be closed with 3004, after which its SDK connects again. No outage may end a client for
// good.
func TestAConnectThatNobodyConfirmsComesBack(t *testing.T) {
	inBubble(t, silentRelay(), nil, func(t *testing.T, b *bubbled) {
		c := b.connect()
		time.Sleep(9 * time.Second)
		c.send(textOf("connect 1", "behind"))
		began := time.Now()
		c.wantCode(3004)
		if took := time.Since(began); took < guestWait || took > guestWait+2*wheelTick {
			t.Errorf("closed after %v", took)
		}
		c.Close()
		synctest.Wait()
		if got := b.up.messages(); !slices.Equal(got, []string{"connect 1"}) || !slices.Equal(b.up.ends(), []uint64{1}) {
			t.Errorf("accepted %q, ended %v", got, b.up.ends())
		}
		if n := b.metric("sessions_ended_total", "unconfirmed"); n != 1 {
			t.Errorf("%v are counted as unconfirmed", n)
		}
	})
}

// TestAGuestsLineWaitsForARelayThatKnowsSDKs has a guest send its connect while no relay can take
// guests. Meanwhile the guest must not be in the tables, and its line must not be in the log. If no
// such relay comes, the guest must be closed with 3004.
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
				time.Sleep(guestWait - time.Second)
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

// TestNothingBehindAConnectIsNumberedBeforeItIsConfirmed has a guest send lines after its connect,
// in the same message and in later ones. None may be accepted before the connect is confirmed. Then
// all must be, in order.
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

// TestAGuestWhoseConnectIsRefusedIsNotReadOn has a relay answer a connect with an error, and send a
// Close after it. Lines that the client sends after its connect must be dropped.
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

// TestTenThousandGuestsThatSayNothingLeaveNothing has ten thousand guests send nothing. Meanwhile a
// client of the chat must be admitted. Once the guests are closed, other guests must find their
// places free.
func TestTenThousandGuestsThatSayNothingLeaveNothing(t *testing.T) {
	const n = 10_000
	up := silentRelay()
	up.accept = nil
	inBubble(t, up, func(c *Config) { c.MaxSessions = n * guestShare }, func(t *testing.T, b *bubbled) {
		clients := make([]*rawClient, n)
		for i := range clients {
			clients[i] = b.connect()
		}
		if res, err := http.ReadResponse(b.request(protocol.SDKPath).r, nil); err != nil || res.StatusCode != 503 {
			t.Errorf("one more guest: %v %+v", err, res)
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

// TestP7_UnfinishedMessagesOfGuestsCountAsThoseOfOneUser has many guests begin messages. All guests
// together have one user's share, so they must not push out the unfinished message of a user.
func TestP7_UnfinishedMessagesOfGuestsCountAsThoseOfOneUser(t *testing.T) {
	const fit = 1 << 20 / unfinishedShare / (unfinishedCost + 512)
	change := func(c *Config) { c.Unfinished, c.Auth.Open = 1<<20, false }
	inBubble(t, nil, change, func(t *testing.T, b *bubbled) {
		user := b.confirmed("1")
		half := textOf("half a line")[:8]
		user.send(half)
		guests := make([]*rawClient, fit+1)
		for i := range guests {
			guests[i] = b.connect()
			guests[i].send(half)
			synctest.Wait()
		}
		guests[0].wantCode(1008)
		user.send(textOf("half a line")[8:])
		synctest.Wait()
		if got := b.up.messages(); !slices.Equal(got, []string{"connect 1", "half a line"}) {
			t.Errorf("accepted %q", got)
		}
		if n := b.metric("sessions_ended_total", "unfinished_bytes"); n > 1 {
			t.Errorf("%v guests gave way", n)
		}
	})
}

// TestNothingBehindAConnectIsForwardedInADrain drains the server while a connect waits for its
// confirmation. The client may send until it answers the close frame. But the lines behind the
// connect must not be forwarded, since a relay closes a session that sends them before its
// confirmation.
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

// TestP8_WhoIsClosedByTheRelayAndSendsOnIsCutOff has the relay close a session whose client goes on
// sending. The client's socket must be closed after lingerMost bytes, or little more.
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
