package gateway

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

func TestMessagesAreAcceptedAsTheyAreAndInOrder(t *testing.T) {
	g := start(t, nil, nil)
	c := g.dial("/chat/user/1", nil)
	var want []string
	for i := range 200 {
		message := fmt.Sprint(i, strings.Repeat("é", i*150))
		send(t, c, websocket.MessageText, message)
		want = append(want, message)
	}
	send(t, c, websocket.MessageText, "")
	send(t, c, websocket.MessageText, "nul stays\x00")
	send(t, c, websocket.MessageBinary, "binary\x00inside\x00\x00")
	want = append(want, "", "nul stays\x00", "binary\x00inside")
	eventually(t, "all accepted", func() bool { return len(g.up.messages()) == len(want) })
	if got := g.up.messages(); !slices.Equal(got, want) {
		t.Errorf("accepted %d messages, but not those that were sent", len(got))
	}
}

func TestAMessageOfTheGreatestSizeIsAcceptedAndOneByteMoreIsNot(t *testing.T) {
	g := start(t, nil, func(c *Config) { c.MaxMessage = 1000 })
	c := g.dial("/chat/user/1", nil)
	send(t, c, websocket.MessageText, strings.Repeat("x", 1000))
	eventually(t, "accepted", func() bool { return len(g.up.messages()) == 1 })
	send(t, c, websocket.MessageText, strings.Repeat("x", 1001))
	wantClose(t, c, 1009)
	g.endsWith(ReasonTooBig)
	if len(g.up.messages()) != 1 {
		t.Error("the message was accepted")
	}
}

func TestNotUTF8EndsTheSession(t *testing.T) {
	for _, kind := range []websocket.MessageType{websocket.MessageText, websocket.MessageBinary} {
		g := start(t, nil, nil)
		c := g.dial("/chat/user/1", nil)
		send(t, c, kind, "a\xff")
		wantClose(t, c, 1007)
		g.endsWith(ReasonUTF8)
		if len(g.up.messages()) != 0 {
			t.Error("the message was accepted")
		}
	}
}

func TestAFastSessionIsReadMoreSlowly(t *testing.T) {
	t.Parallel()
	g := start(t, nil, func(c *Config) { c.Rate = 20 })
	c := g.dial("/chat/user/1", nil)
	began := time.Now()
	const burst, more = 200, 8
	for i := range burst + more {
		send(t, c, websocket.MessageText, fmt.Sprint(i))
	}
	eventually(t, "all accepted", func() bool { return len(g.up.messages()) == burst+more })
	if d := time.Since(began); d < (more-2)*time.Second/20 {
		t.Errorf("%d messages beyond the burst were read within %v", more, d)
	}
}

func TestWithoutRoomMessagesAreAnsweredUntilThereIsRoom(t *testing.T) {
	room := make(chan bool, 10)
	waits := 0
	g := start(t, &fakeUpstream{
		accept:   func(uint64, []byte) bool { return <-room },
		waitRoom: func(context.Context, uint64, int) bool { waits++; return false },
	}, nil)
	c := g.dial("/chat/user/1", nil)
	for _, step := range []struct {
		room  bool
		waits int
	}{{true, 0}, {false, 1}, {false, 1}, {true, 1}, {false, 2}} {
		room <- step.room
		send(t, c, websocket.MessageText, "m")
		if !step.room {
			if got := receive(t, c); got != protocol.NotDelivered {
				t.Fatalf("answer %q", got)
			}
			if waits != step.waits {
				t.Errorf("waited %d times, want %d", waits, step.waits)
			}
		}
	}
	if got := g.metric("dropped_total", "no_room"); got != 3 {
		t.Errorf("counted %v, want 3", got)
	}
	if got := len(g.up.messages()); got != 2 {
		t.Errorf("%d accepted, want 2", got)
	}
}

func TestASessionWaitsForRoomBeforeItIsTold(t *testing.T) {
	full := make(chan struct{})
	g := start(t, &fakeUpstream{
		accept: func(uint64, []byte) bool {
			select {
			case <-full:
				return true
			default:
				return false
			}
		},
		waitRoom: func(ctx context.Context, _ uint64, size int) bool {
			if d, ok := ctx.Deadline(); !ok || time.Until(d) > roomWait || size != 1 {
				t.Errorf("deadline %v, size %d", d, size)
			}
			close(full)
			return true
		},
	}, nil)
	c := g.dial("/chat/user/1", nil)
	send(t, c, websocket.MessageText, "m")
	eventually(t, "accepted", func() bool { return len(g.up.messages()) == 1 })
}

func TestControlFramesBetweenFragmentsAndFramesInOneSegment(t *testing.T) {
	g := start(t, nil, nil)
	early := masked(0x81, "with the request") + masked(0x01, "frag")
	c := g.raw("/chat/user/1", early)
	c.send(masked(0x89, "ping"))
	c.wantFrame(pongByte, "ping")
	c.send(masked(0x00, "men") + masked(0x8a, "") + masked(0x80, "ts") + masked(0x81, "next") + masked(0x89, "2"))
	c.wantFrame(pongByte, "2")
	c.send(masked(0x89, "3")) // this ping comes after a wait between frames
	c.wantFrame(pongByte, "3")
	for _, b := range []byte(masked(0x81, "byte by byte")) {
		c.send(string([]byte{b}))
	}
	want := []string{"with the request", "fragments", "next", "byte by byte"}
	eventually(t, "all accepted", func() bool { return len(g.up.messages()) == len(want) })
	if got := g.up.messages(); !slices.Equal(got, want) {
		t.Errorf("accepted %q, want %q", got, want)
	}
}

// TestAMessageThatIsCutOffIsNotAccepted ends connections in the middle of a message: between its
// fragments, within a fragment, and within a control frame. No part of the message may be accepted.
func TestAMessageThatIsCutOffIsNotAccepted(t *testing.T) {
	for name, sent := range map[string]string{
		"between fragments":        masked(0x01, "beginning"),
		"behind a header":          masked(0x81, "beginning")[:6],
		"in the middle":            masked(0x81, "beginning")[:10],
		"behind a second header":   masked(0x01, "begin") + masked(0x80, "ning")[:6],
		"behind control frames":    masked(0x01, "begin") + masked(0x89, "x"),
		"in the middle of a ping":  masked(0x01, "begin") + masked(0x89, "xyz")[:8],
		"in the middle of a close": masked(0x01, "begin") + masked(0x88, "\x03\xe8")[:6],
	} {
		t.Run(name, func(t *testing.T) {
			g := start(t, nil, nil)
			c := g.raw("/chat/user/1", "")
			c.send(sent)
			c.Conn.(*net.TCPConn).CloseWrite()
			eventually(t, "the end", func() bool { return g.server.Active() == 0 })
			if got := g.up.messages(); len(got) != 0 {
				t.Errorf("accepted %q", got)
			}
		})
	}
}

// TestWhoIsCutOffCostsNobodyElse checks connections that end in the middle of a message. Nothing of
// that message may reach a later connection.
func TestWhoIsCutOffCostsNobodyElse(t *testing.T) {
	g := start(t, nil, nil)
	for _, sent := range []string{masked(0x01, "beginning"), masked(0x81, "beginning")[:6], masked(0x81, "beginning")[:8]} {
		for range 20 {
			c := g.raw("/chat/user/1", "")
			c.send(sent)
			c.Conn.(*net.TCPConn).CloseWrite()
			eventually(t, "the end", func() bool { return g.server.Active() == 0 })
			other := g.raw("/chat/user/2", masked(0x89, "ping"))
			other.wantFrame(pongByte, "ping")
			other.send(masked(0x81, "message") + masked(0x89, "2"))
			other.wantFrame(pongByte, "2")
			other.Close()
			eventually(t, "the end", func() bool { return g.server.Active() == 0 })
		}
	}
	for _, m := range g.up.messages() {
		if m != "message" {
			t.Errorf("accepted %q", m)
		}
	}
}

// TestP7_FramesThatBringNoMessageAreBounded checks that a client is closed if it sends many frames
// that complete no message. A message that the client sent earlier is accepted.
func TestP7_FramesThatBringNoMessageAreBounded(t *testing.T) {
	for _, test := range []struct{ name, begin, frame string }{
		{"pings", "", masked(0x89, "")},
		{"pings with a payload", "", masked(0x89, strings.Repeat("x", 125))},
		{"pongs", "", masked(0x8a, "")},
		{"empty fragments", masked(0x01, "{"), masked(0x00, "")},
		{"fragments of one byte", masked(0x01, "{"), masked(0x00, "x")},
		{"empty fragments and pings", masked(0x01, "{"), masked(0x00, "") + masked(0x8a, "")},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := start(t, nil, nil)
			other := g.raw("/chat/user/2", "")
			c := g.raw("/chat/user/1", masked(0x81, "before"))
			flood := test.begin + strings.Repeat(test.frame, 3*extraPerSecond/6)
			go c.Write([]byte(flood)) // fails when the client is cut off
			for {
				first, p, err := c.frame()
				if err != nil {
					t.Fatal(err)
				}
				if first != pongByte {
					if first != closeByte || p != string(payload(closeFrames[ReasonLimit])) {
						t.Errorf("got frame %#x %q", first, p)
					}
					break
				}
			}
			c.Close()
			g.endsWith(ReasonLimit)
			if got := fmt.Sprint(g.up.messages()); got != "[before]" {
				t.Errorf("accepted %s", got)
			}
			g.publish("user:2", "x")
			other.wantFrame(textByte, "x")
		})
	}
}

func TestP7_WhoIsClosedAndSendsOnIsCutOff(t *testing.T) {
	g := start(t, nil, nil)
	c := g.raw("/chat/user/1", "")
	c.SetWriteDeadline(time.Now().Add(patience))
	flood := []byte(strings.Repeat(masked(0x8a, ""), 1<<20/6))
	for n := range 16 * lingerMost >> 20 {
		if _, err := c.Write(flood); err != nil {
			g.endsWith(ReasonLimit)
			return
		}
		if n == 0 {
			c.wantCloseFrame(ReasonLimit)
		}
	}
	t.Errorf("%d bytes are taken", 16*lingerMost)
}

// TestMessagesAreNoExtras checks that many small messages are not taken for a flood. Large messages
// in many fragments, with a pong after each message, must not be taken for a flood either.
func TestMessagesAreNoExtras(t *testing.T) {
	g := start(t, nil, nil)
	c := g.raw("/chat/user/1", "")
	n := 0
	for _, message := range []string{"", "x", strings.Repeat("x", 15), strings.Repeat("x", 130)} {
		c.send(strings.Repeat(masked(0x81, message), 4*extraPerSecond/messageExtra))
		n += 4 * extraPerSecond / messageExtra
	}
	large := masked(0x01, "") + strings.Repeat(masked(0x00, strings.Repeat("x", 256)), 255) + masked(0x80, "")
	for range 5 {
		c.send(large + masked(0x8a, ""))
		n++
	}
	eventually(t, "all are accepted", func() bool { return len(g.up.messages()) == n })
	c.send(masked(0x88, ""))
	c.wantFrame(closeByte, "")
	g.endsWith(ReasonClient)
}

func TestExtrasAreCountedBySeconds(t *testing.T) {
	var e extras
	now := time.Duration(0)
	clock := func() time.Duration { return now }
	for range 10 { // the bound is reached each time, but not within a second
		now += time.Second
		e.bytes += extraPerSecond
		if e.tooMany(clock) {
			t.Fatal("too many")
		}
	}
	e.bytes += extraPerSecond - 1
	if e.tooMany(clock) {
		t.Error("too many, before the bound")
	}
	now += time.Second - 1
	e.bytes++
	if !e.tooMany(clock) {
		t.Error("not too many")
	}
}
