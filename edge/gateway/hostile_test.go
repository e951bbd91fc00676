package gateway

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/edgerelay/edgerelay/shared/link"
)

func TestBrokenProtocolEndsTheSessionAlone(t *testing.T) {
	for _, test := range []struct {
		name, sent string
		reason     Reason
	}{
		{"unmasked", "\x81\x01x", ReasonProtocol},
		{"unknown opcode", masked(0x83, ""), ReasonProtocol},
		{"reserved bit", masked(0xc1, "x"), ReasonProtocol},
		{"continuation of nothing", masked(0x80, "x"), ReasonProtocol},
		{"message inside a message", masked(0x01, "x") + masked(0x81, "y"), ReasonProtocol},
		{"fragmented ping", masked(0x09, "x"), ReasonProtocol},
		{"long ping", masked(0x89, strings.Repeat("x", 126)), ReasonProtocol},
		{"close with an illegal code", masked(0x88, "\x03\xed"), ReasonProtocol},
		{"close with half a code", masked(0x88, "\x03"), ReasonProtocol},
		{"negative length", "\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00", ReasonProtocol},
		{"UTF-8 broken over fragments", masked(0x01, "a\xc3") + masked(0x80, "\x28"), ReasonUTF8},
		{"half a rune at the end", masked(0x01, "a") + masked(0x80, "\xe2\x82"), ReasonUTF8},
		{"too big in fragments", masked(0x01, strings.Repeat("x", 1<<16)) + masked(0x80, "x"), ReasonTooBig},
		{"too big, more than is read", masked(0x81, strings.Repeat("x", 1<<20)), ReasonTooBig},
		{"announced too big", "\x81\xff\x00\x00\x00\xff\x00\x00\x00\x00\x00\x00\x00\x00" + strings.Repeat("x", 1<<17), ReasonTooBig},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := start(t, nil, nil)
			other := g.raw("/chat/user/2", "")
			c := g.raw("/chat/user/1", "")
			c.send(test.sent)
			c.wantCloseFrame(test.reason)
			if _, err := c.r.ReadByte(); err != io.EOF {
				t.Errorf("after the close frame: %v, want EOF, not a reset", err)
			}
			c.Close()
			g.endsWith(test.reason)
			if len(g.up.messages()) != 0 {
				t.Errorf("accepted %.20q", g.up.messages())
			}
			g.publish("user:2", "x")
			other.wantFrame(textByte, "x")
		})
	}
}

func TestARuneOverTwoFragmentsIsFine(t *testing.T) {
	g := start(t, nil, nil)
	c := g.raw("/chat/user/1", "")
	c.send(masked(0x01, "a\xc3") + masked(0x80, "\xa9"))
	eventually(t, "accepted", func() bool { return slices.Equal(g.up.messages(), []string{"aé"}) })
}

func TestOneThatNeverReadsCostsOnlyItself(t *testing.T) {
	g := start(t, nil, func(c *Config) { c.Queue = 64 << 10 })
	slow := g.raw("/chat/all/slow", "")
	good := g.dial("/chat/all/good", nil)
	text := strings.Repeat("x", 16<<10)
	n := 0
	for ; g.metric("dropped_total", "slow_reader") == 0; n++ {
		if n > 10000 {
			t.Fatal("the slow reader is never shed")
		}
		g.publish("all", text)
		if got := receive(t, good); got != text {
			t.Fatalf("message %d: %.20q", n, got)
		}
	}
	// Each message that the client gets must be whole. A close frame must follow the last message.
	for {
		first, p, err := slow.frame()
		if err != nil {
			t.Fatal(err)
		}
		if first == closeByte {
			if p != string(payload(closeFrames[ReasonSlow])) {
				t.Errorf("close frame %q", p)
			}
			break
		}
		if p != text {
			t.Fatalf("a message is broken: %.20q", p)
		}
	}
	slow.Close()
	g.endsWith(ReasonSlow)
}

func TestTheSlowOnesSocketIsClosedThoughItNeverReads(t *testing.T) {
	t.Parallel()
	g := start(t, nil, func(c *Config) { c.Queue = 64 << 10 })
	g.raw("/chat/all/slow", "")
	text := strings.Repeat("x", 32<<10)
	for g.metric("dropped_total", "slow_reader") == 0 {
		g.publish("all", text)
		runtime.Gosched()
	}
	eventually(t, "the end", func() bool { return g.server.Active() == 0 })
	g.endsWith(ReasonSlow)
}

func TestSilenceIsPingedAndThenEnds(t *testing.T) {
	g := start(t, nil, nil)
	c := g.raw("/chat/user/1", masked(0x81, "half a frame follows")+"\x81")
	eventually(t, "the message", func() bool { return len(g.up.messages()) == 1 })
	now := g.server.now()
	g.server.tick(now + 49*time.Second)
	if got := g.metric("pings_total", ""); got != 0 {
		t.Fatalf("%v pings after 49 s", got)
	}
	now = g.server.now() + 51*time.Second
	g.server.tick(now)
	c.wantFrame(pingFrame[0], "")
	g.server.tick(now + 9*time.Second)
	g.server.tick(now + pongWait + time.Second)
	c.wantCloseFrame(ReasonSilent)
	c.Close()
	g.endsWith(ReasonSilent)
}

func TestASignOfLifeKeepsASession(t *testing.T) {
	g := start(t, nil, nil)
	c := g.raw("/chat/user/1", masked(0x81, "the reader runs"))
	eventually(t, "the message", func() bool { return len(g.up.messages()) == 1 })
	s := g.hub.living()[0].conn.Load()
	at := g.server.now()
	for range 5 {
		at += 52 * time.Second
		g.server.tick(at)
		c.wantFrame(pingFrame[0], "")
		s.seen.Store(int64(at + time.Second)) // as if a byte came at that time
		g.server.tick(at + pongWait + time.Second)
	}
	if got := g.metric("pings_total", ""); got != 5 {
		t.Errorf("%v pings, want 5", got)
	}
	if _, ended := g.hub.living()[0].Reason(); ended {
		t.Error("the session ended")
	}
	s.seen.Store(0)
	c.send(masked(0x8a, ""))
	eventually(t, "the pong is a sign of life", func() bool { return s.seen.Load() > 0 })
}

// TestW3_OfTooManyPingsTheNewestIsAnswered checks that the first ten pings in a second are answered
// as they come. Of the further pings in that second, only the newest is answered, when the second
// is over.
func TestW3_OfTooManyPingsTheNewestIsAnswered(t *testing.T) {
	const sent = 500
	g := start(t, nil, nil)
	pings := ""
	for i := range sent {
		pings += masked(0x89, fmt.Sprint(i))
	}
	c := g.raw("/chat/user/1", pings+masked(0x81, "done"))
	eventually(t, "the message behind the pings", func() bool { return len(g.up.messages()) == 1 })
	g.server.tick(g.server.now() + time.Second + 2*wheelTick)
	withheld := int(g.metric("pongs_withheld_total", ""))
	if withheld < sent-3*pongsPerSecond {
		t.Errorf("%d of %d pongs withheld", withheld, sent)
	}
	last := -1
	for range sent - withheld {
		first, p, err := c.frame()
		n, _ := strconv.Atoi(p)
		if first != pongByte || err != nil || n <= last {
			t.Fatalf("frame %#x %q, error %v, behind pong %d", first, p, err, last)
		}
		last = n
	}
	if last != sent-1 {
		t.Errorf("the last pong is of ping %d", last)
	}
	g.server.tick(g.server.now() + 10*time.Second)
	c.send(masked(0x88, ""))
	c.wantFrame(closeByte, "") // no pong was sent twice
}

// TestW3_ALaterPongReplacesTheDeferredOne checks a ping that is answered at once while an older
// pong is deferred. The older pong must be dropped and counted.
func TestW3_ALaterPongReplacesTheDeferredOne(t *testing.T) {
	g := start(t, nil, nil)
	c := g.raw("/chat/user/1", "")
	s := g.hub.living()[0]
	eventually(t, "the conn is known", func() bool { return s.conn.Load() != nil })
	r := newReader(s.conn.Load(), nil)
	r.conn.deferred.Store(&deferredPong{[]byte("deferred"), time.Hour})
	r.pong([]byte{pongByte, 1, 'x'})
	if r.deferred.Load() != nil || g.metric("pongs_withheld_total", "") != 1 {
		t.Error("the older pong is still deferred, or not counted")
	}
	c.wantFrame(pongByte, "x")
}

func TestHowAClientLeaves(t *testing.T) {
	t.Run("close frame", func(t *testing.T) {
		g := start(t, nil, nil)
		c := g.raw("/chat/user/1", "")
		c.send(masked(0x81, "last") + masked(0x88, "\x0f\xa0bye"))
		c.wantFrame(closeByte, "\x0f\xa0")
		if _, err := c.r.ReadByte(); err != io.EOF {
			t.Errorf("after the close frame: %v, want EOF", err)
		}
		g.endsWith(ReasonClient)
		if !slices.Equal(g.up.messages(), []string{"last"}) || !slices.Equal(g.up.ends(), []uint64{1}) {
			t.Errorf("accepted %q, ended %v", g.up.messages(), g.up.ends())
		}
	})
	t.Run("close frame without code", func(t *testing.T) {
		g := start(t, nil, nil)
		c := g.raw("/chat/user/1", masked(0x88, ""))
		c.wantFrame(closeByte, "")
		g.endsWith(ReasonClient)
	})
	t.Run("just gone", func(t *testing.T) {
		g := start(t, nil, nil)
		g.raw("/chat/user/1", "").Close()
		g.endsWith(ReasonGone)
	})
	t.Run("what was queued before its close is written", func(t *testing.T) {
		g := start(t, nil, nil)
		c := g.raw("/chat/user/1", "")
		for i := range 100 {
			g.publish("user:1", fmt.Sprint(i))
		}
		c.send(masked(0x88, ""))
		for i := range 100 {
			c.wantFrame(textByte, fmt.Sprint(i))
		}
		c.wantFrame(closeByte, "")
	})
}

func TestAnEndedSessionsIDGetsNothing(t *testing.T) {
	g := start(t, nil, nil)
	old := g.raw("/chat/user/1", masked(0x88, ""))
	eventually(t, "its end", func() bool { return len(g.up.ends()) == 1 })
	c := g.dial("/chat/user/1", nil)
	g.hub.Answer(link.Answer{Session: 1, Text: []byte("for the old one")})
	g.publish("user:1", "for the new one")
	if got := receive(t, c); got != "for the new one" {
		t.Errorf("got %q", got)
	}
	old.wantFrame(closeByte, "")
	if _, err := old.r.ReadByte(); err != io.EOF {
		t.Errorf("the old one: %v, want EOF", err)
	}
}

func TestDeliveriesOfAllSizesArriveWholeAmongPongs(t *testing.T) {
	g := start(t, nil, func(c *Config) { c.Queue = 32 << 20 })
	c := g.raw("/chat/user/1", "")
	var want []string
	for i := range 400 {
		text := fmt.Sprint(i, strings.Repeat("x", i*i%70000))
		want = append(want, text)
		g.publish("user:1", text)
		if i%50 == 0 {
			c.send(masked(0x89, "p"))
		}
	}
	for i := 0; i < len(want); {
		first, p, err := c.frame()
		switch {
		case err != nil:
			t.Fatal(err)
		case first == pongByte:
		case first != textByte || p != want[i]:
			t.Fatalf("message %d: frame %#x %.20q", i, first, p)
		default:
			i++
		}
	}
}

// settled returns the result of f once it has stayed the same for about a tenth of a second.
func settled(f func() int) int {
	last, same := f(), 0
	soon(func() bool {
		if now := f(); now != last {
			last, same = now, 0
		}
		same++
		return same == 100
	})
	return last
}

func TestASilentSessionHasOneGoroutineAtMostAndNoBatch(t *testing.T) {
	g := start(t, nil, nil)
	before := settled(runtime.NumGoroutine)
	const n = 100
	for i := range n {
		c := g.raw(fmt.Sprint("/chat/channel/", i), "")
		c.send(masked(0x81, "hello") + masked(0x89, ""))
		c.wantFrame(pongByte, "")
		g.publish("all", "x")
		c.wantFrame(textByte, "x")
	}
	// Each conn that is not idle has one goroutine. All idle conns share the poller's goroutine.
	if got := settled(runtime.NumGoroutine) - before; got > n+1 {
		t.Errorf("%d goroutines more, want %d", got, n+1)
	}
	for _, s := range g.hub.living() {
		s.queue.mu.Lock()
		if s.queue.pending != nil {
			t.Errorf("session %d holds a batch", s.info.ID)
		}
		s.queue.mu.Unlock()
	}
}

func TestFanOutReachesEveryone(t *testing.T) {
	g := start(t, nil, nil)
	var clients []*websocket.Conn
	for i := range 20 {
		clients = append(clients, g.dial(fmt.Sprint("/chat/all/", i), nil))
	}
	for i := range 100 {
		g.publish("all", fmt.Sprint(i))
	}
	for _, c := range clients {
		for i := range 100 {
			if got := receive(t, c); got != fmt.Sprint(i) {
				t.Fatalf("got %q, want %d", got, i)
			}
		}
	}
}
