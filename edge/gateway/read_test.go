package gateway

import (
	"context"
	"fmt"
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
	c.send(masked(0x89, "3")) // after a wait between frames
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
