package gateway

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestP7_FramesThatBringNoMessageAreBounded: a client that sends them on and on is closed, and what it sent before that counts.
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
			go c.Write([]byte(flood)) // fails when it is cut off
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
	c.SetWriteDeadline(time.Now().Add(5 * time.Second))
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

// TestMessagesAreNoExtras: neither many small ones nor a large one in fragments is taken for a flood, and pings beside them are not.
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
	for range 10 { // as much as may be, in a second
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
