package gateway

import (
	"fmt"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// TestAUserHasOnlySoManySessions checks Config.PerUser. Chat sessions and sessions of SDKs count
// together. A session of an SDK counts from its confirmation on.
func TestAUserHasOnlySoManySessions(t *testing.T) {
	g := startSDK(t, nil, func(c *Config) { c.PerUser = 2 })
	g.raw("/chat/user/1", "")
	first := g.sdk("1")
	second := g.raw(protocol.SDKPath+"?user=1", "") // a guest does not count
	second.send(textOf("connect 1"))
	second.wantCode(3013)
	second.Close()
	g.endsWith(ReasonUserLimit)
	g.sdk("2")
	id := g.hub.sessions[2].info.ID
	first.Close()
	eventually(t, "its End", func() bool { return slices.Contains(g.up.ends(), id) })
	g.hub.Forget(id)
	eventually(t, "there is room for the user", func() bool {
		g.server.users.mu.Lock()
		defer g.server.users.mu.Unlock()
		return g.server.users.sessions["1"] == 1
	})
	g.sdk("1")
}

// In TestARelayClosesWithACodeOfItsOwn, a relay closes a session. The client must first get what
// was queued before the Close. Messages that the client still sends must not be accepted.
func TestARelayClosesWithACodeOfItsOwn(t *testing.T) {
	for _, path := range []string{protocol.SDKPath, "/chat/user/1"} {
		g := startSDK(t, nil, nil)
		c := g.raw(path, "")
		if path == protocol.SDKPath {
			c.send(textOf("connect 1"))
			c.wantFrame(textByte, "connected")
		}
		before := len(g.up.messages())
		g.hub.Answer(link.Answer{Session: 1, Text: []byte("before")})
		g.hub.Close(link.Close{Session: 1, Code: 3500, Reason: "invalid token"})
		g.hub.Answer(link.Answer{Session: 1, Text: []byte("behind")})
		c.wantFrame(textByte, "before")
		c.wantFrame(closeByte, "\x0d\xacinvalid token")
		c.send(textOf("late") + masked(0x88, "\x0d\xac"))
		g.endsWith(ReasonRelay)
		if got := g.up.messages(); len(got) != before {
			t.Errorf("%s: accepted %q", path, got)
		}
		if !slices.Equal(g.up.ends(), []uint64{1}) {
			t.Errorf("%s: ended %v", path, g.up.ends())
		}
	}
}

// In TestAClientThatTheRelayLetsGoHasFiveSeconds, a relay closes a session with the code 0. The
// client must get no close frame, and its socket must be closed after leaveWait.
func TestAClientThatTheRelayLetsGoHasFiveSeconds(t *testing.T) {
	inBubble(t, nil, nil, func(t *testing.T, b *bubbled) {
		c := b.confirmed("1")
		b.hub.Answer(link.Answer{Session: 1, Text: []byte("before")})
		b.hub.Close(link.Close{Session: 1})
		b.hub.Answer(link.Answer{Session: 1, Text: []byte("behind")})
		b.hub.Close(link.Close{Session: 1, Code: 3500, Reason: "too late"})
		c.wantFrame(textByte, "before")
		began := time.Now()
		if first, p, err := c.frame(); err != io.EOF && err != io.ErrUnexpectedEOF {
			t.Errorf("got frame %#x %q, error %v", first, p, err)
		}
		if took := time.Since(began); took != leaveWait {
			t.Errorf("the socket closes after %v", took)
		}
		synctest.Wait()
		if n := b.metric("sessions_ended_total", "closed_by_relay"); n != 1 || !slices.Equal(b.up.ends(), []uint64{1}) {
			t.Errorf("%v are counted, ended %v", n, b.up.ends())
		}
	})
}

// In TestARelayClosesManyWithinSomeTime, a relay asks the edge to close many sessions, each at a
// random moment of the next 5 s. Each session must go on until its moment, and end then.
func TestARelayClosesManyWithinSomeTime(t *testing.T) {
	inBubble(t, nil, nil, func(t *testing.T, b *bubbled) {
		const most = 5 * time.Second
		var clients []*rawClient
		for id := range uint64(8) {
			clients = append(clients, b.confirmed(fmt.Sprint(id+1)))
		}
		began := time.Now()
		for id := range uint64(8) {
			b.hub.Close(link.Close{Session: id + 1, Code: 3010, Reason: "insufficient state", Within: uint64(most.Milliseconds())})
		}
		b.hub.Answer(link.Answer{Session: 1, Text: []byte("behind")})
		clients[0].wantFrame(textByte, "behind")
		ended, moments := 0.0, 0
		for time.Since(began) < most+closeWait+2*wheelTick {
			time.Sleep(wheelTick)
			synctest.Wait()
			if n := b.metric("sessions_ended_total", "closed_by_relay"); n > ended {
				ended = n
				moments++
			}
		}
		if ended != 8 || moments < 2 {
			t.Errorf("%v sessions have ended, at %d moments", ended, moments)
		}
		for _, c := range clients {
			if _, code := c.lives(time.Minute, began); code != 3010 {
				t.Errorf("a session ends with %d", code)
			}
			c.Close()
		}
		synctest.Wait()
		if n := b.metric("sessions_ended_total", "closed_by_relay"); n != 8 {
			t.Errorf("%v are counted", n)
		}
	})
}
