package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
)

// FuzzLines compares cutLine with bytes.Split. A line that isPong accepts must begin with {}, after
// white space at most.
func FuzzLines(f *testing.F) {
	for _, seed := range []string{"", "\n", "a", "a\n", "a\nb", "a\n\n", "\na", "{}\n{}\n", " {} ", "{\"a\":1}\r\n{}"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		want := bytes.Split(bytes.TrimSuffix(message, []byte("\n")), []byte("\n"))
		rest := message
		for i, more := 0, true; more; i++ {
			var line []byte
			line, rest, more = cutLine(rest)
			if i >= len(want) || !bytes.Equal(line, want[i]) {
				t.Fatalf("line %d of %q is %q", i, message, line)
			}
			if more != (i+1 < len(want)) {
				t.Fatalf("more is %v after line %d of %q", more, i, message)
			}
			if isPong(line) && !strings.HasPrefix(strings.TrimLeft(string(line), " \t\r"), "{}") {
				t.Fatalf("%q is a pong", line)
			}
		}
	})
}

// TestAMessageIsTakenLineByLine sends a message after a connect. An empty line, or a pong that no
// ping asked for, must end the session with 3501. The lines before such a line must be accepted.
func TestAMessageIsTakenLineByLine(t *testing.T) {
	for _, test := range []struct {
		name, message string
		want          []string
		ends          bool
	}{
		{"one line", "a", []string{"a"}, false},
		{"two lines", "a\nb", []string{"a", "b"}, false},
		{"a line feed at the end", "a\nb\n", []string{"a", "b"}, false},
		{"two line feeds at the end", "a\n\n", []string{"a"}, true},
		{"an empty line between", "a\n\nb", []string{"a"}, true},
		{"an empty line in front", "\na", nil, true},
		{"an empty message", "", nil, true},
		{"a line feed alone", "\n", nil, true},
		{"a pong that nobody asked for", "a\n{}\nb", []string{"a"}, true},
		{"one with spaces around it", " \t{}\r", nil, true},
		{"an object with a space in it is for the relay", "{ }", []string{"{ }"}, false},
		{"spaces are for the relay", " \n\r", []string{" ", "\r"}, false},
		{"what the relay may make of it is not asked", "[\n{\n\"", []string{"[", "{", "\""}, false},
		{"zero bytes", "a\x00", []string{"a\x00"}, false},
	} {
		for _, opcode := range []byte{0x81, 0x82} {
			t.Run(fmt.Sprintf("%s %#x", test.name, opcode), func(t *testing.T) {
				g := startSDK(t, nil, nil)
				c := g.sdk("1")
				c.send(masked(opcode, test.message))
				if test.ends {
					c.wantCode(3501)
					c.Close()
					g.endsWith(ReasonBadRequest)
				}
				want := append([]string{"connect 1"}, test.want...)
				eventually(t, "the lines", func() bool { return len(g.up.messages()) >= len(want) })
				if got := g.up.messages(); !slices.Equal(got, want) {
					t.Errorf("accepted %q, want %q", got, want)
				}
			})
		}
	}
}

// In TestWhatIsNoLineEndsAGuestToo, the first line of a guest is an empty line or a pong. The guest
// must be closed with 3501 at once.
func TestWhatIsNoLineEndsAGuestToo(t *testing.T) {
	for _, message := range []string{"", "\n", "{}", strings.Repeat("\n", 1<<16), strings.Repeat("{}\n", 20_000)} {
		g := startSDK(t, nil, nil)
		c := g.raw("/connection/websocket", masked(0x81, message))
		c.wantCode(3501)
		c.Close()
		g.endsWith(ReasonBadRequest)
		if got := g.up.messages(); len(got) != 0 || len(g.up.ends()) != 0 {
			t.Errorf("%.10q: accepted %q", message, got)
		}
	}
}

// TestTheSizeOfAMessageIsThatOfAllItsLines checks that Config.MaxMessage bounds a whole WebSocket
// message, and not each of its lines.
func TestTheSizeOfAMessageIsThatOfAllItsLines(t *testing.T) {
	g := startSDK(t, nil, nil)
	line := strings.Repeat("x", 1<<15-1)
	c := g.sdk("1")
	c.send(textOf(line, line+"\n"))
	eventually(t, "65,536 bytes", func() bool { return len(g.up.messages()) == 3 })
	c.send(textOf(line, line+"\n\n"))
	c.wantCode(1009)
	c.Close()
	g.endsWith(ReasonTooBig)
}

// TestP7_EachLineIsChargedToItsUser checks that each line counts as a message in the rate of its
// user. A connect is charged to nobody.
func TestP7_EachLineIsChargedToItsUser(t *testing.T) {
	inBubble(t, nil, func(c *Config) { c.Rate = 5 }, func(t *testing.T, b *bubbled) {
		first, second := b.confirmed("1"), b.confirmed("1")
		other := b.confirmed("2")
		first.send(textOf(slices.Repeat([]string{"x"}, 28)...))
		synctest.Wait()
		second.send(textOf(slices.Repeat([]string{"y"}, 28)...))
		time.Sleep(100 * time.Millisecond)
		if n := len(b.up.messages()); n != 3+50 {
			t.Errorf("%d lines are accepted, want the 3 connects and a burst of 50", n)
		}
		other.send(textOf("z"))
		synctest.Wait()
		if n := len(b.up.messages()); n != 3+51 {
			t.Errorf("%d lines are accepted: another user waits too", n)
		}
		time.Sleep(10 * time.Second)
		if n := len(b.up.messages()); n != 3+57 {
			t.Errorf("%d lines are accepted in the end, want all", n)
		}
	})
}

// TestALineWithoutRoomEndsTheSession checks a line that finds no room upstream. The edge cannot
// answer an SDK's line. So it must close the session with 3004, after which the SDK comes back. The
// lines after the refused line must not be accepted.
func TestALineWithoutRoomEndsTheSession(t *testing.T) {
	up := &fakeUpstream{}
	up.waitRoom = func(ctx context.Context, _ uint64, _ int) bool {
		<-ctx.Done()
		return false
	}
	inBubble(t, up, nil, func(t *testing.T, b *bubbled) {
		c := b.confirmed("1")
		b.up.accept = func(_ uint64, line []byte) bool { return string(line) == "fits" }
		began := time.Now()
		c.send(textOf("fits", "too much", "fits"))
		c.wantCode(3004)
		if took := time.Since(began); took != lineWait {
			t.Errorf("closed after %v, want %v", took, lineWait)
		}
		c.Close()
		synctest.Wait()
		if got := b.up.messages(); !slices.Equal(got, []string{"connect 1", "fits"}) {
			t.Errorf("accepted %q", got)
		}
		if b.metric("dropped_total", "no_room") != 1 || b.metric("sessions_ended_total", "no_room") != 1 {
			t.Error("it is not counted")
		}
		// A guest whose connect finds no room is closed with 3004 too, and Upstream.End is called.
		guest := b.connect()
		guest.send(textOf("connect 2"))
		guest.wantCode(3004)
		guest.Close()
		synctest.Wait()
		if ends := b.up.ends(); len(ends) != 2 || len(b.hub.guests.places) != 0 {
			t.Errorf("ended %v, %d guests", ends, len(b.hub.guests.places))
		}
	})
}

// In TestSessionsThatCrowdAreClosed, rateWaiters sessions of one user wait for the user's
// allowance. A further session of an SDK must be closed with 3004, so that its SDK comes back.
func TestSessionsThatCrowdAreClosed(t *testing.T) {
	inBubble(t, nil, func(c *Config) { c.Rate = 0.001 }, func(t *testing.T, b *bubbled) {
		lines := slices.Repeat([]string{"x"}, 10)
		for range rateWaiters + 1 {
			b.confirmed("1").send(textOf(lines...))
			synctest.Wait()
		}
		c := b.confirmed("1")
		c.send(textOf("x"))
		c.wantCode(3004)
		synctest.Wait()
		if n := b.metric("dropped_total", "crowded"); n < 1 {
			t.Errorf("%v are counted as crowded", n)
		}
	})
}

// TestAConnectWith128SubscribesIsTakenAtOnce sends a connect and 128 subscribes in one message, as
// the SDK for browsers does. At the default rate, no line of five such clients of one user may
// wait.
func TestAConnectWith128SubscribesIsTakenAtOnce(t *testing.T) {
	inBubble(t, nil, func(c *Config) { c.Rate, c.FanOut = 100, 250 }, func(t *testing.T, b *bubbled) {
		lines := []string{"connect 1"}
		for i := range 128 {
			lines = append(lines, fmt.Sprintf(`{"subscribe":{"channel":"group:a-group-with-a-name-%d","flag":1},"id":%d}`, i, i+2))
		}
		for range 5 { // five tabs of one browser connect again
			c := b.connect()
			c.send(textOf(lines...))
			c.wantFrame(textByte, "connected")
		}
		began := time.Now()
		synctest.Wait()
		if n := len(b.up.messages()); n != 5*129 || time.Since(began) != 0 {
			t.Errorf("%d lines are taken after %v", n, time.Since(began))
		}
	})
}

// In TestP7_NoLineWaitsForLong, a client sends many more lines in one message than its user's rate
// permits. The session must end with 3004, after lineWait from the moment when the first line had
// to wait.
func TestP7_NoLineWaitsForLong(t *testing.T) {
	inBubble(t, nil, func(c *Config) { c.Rate = 10 }, func(t *testing.T, b *bubbled) {
		c, other := b.confirmed("1"), b.confirmed("2")
		began := time.Now()
		c.send(textOf(slices.Repeat([]string{"x"}, 130)...))
		c.wantCode(3004)
		if took := time.Since(began); took != lineWait {
			t.Errorf("closed after %v", took)
		}
		c.Close()
		synctest.Wait()
		if n := len(b.up.messages()); n != 2+115 {
			t.Errorf("%d lines are taken, want the 2 connects, a burst of 100, and 15 later", n)
		}
		if b.metric("sessions_ended_total", "rate") != 1 || b.metric("dropped_total", "late") != 1 {
			t.Error("it is not counted")
		}
		other.send(textOf("y"))
		synctest.Wait()
		if n := len(b.up.messages()); n != 2+116 {
			t.Error("another user waits")
		}
	})
}

// In TestP7_WhatWaitsInTheKernelWaitsToo, a client sends many messages of one line each. While one
// line waits, the edge does not read the others, so they wait in the kernel. No line waits long
// after it was read. Still the session must end with 3004.
func TestP7_WhatWaitsInTheKernelWaitsToo(t *testing.T) {
	g := startSDK(t, nil, func(c *Config) { c.Rate = 20 })
	c := g.sdk("1")
	began := time.Now()
	go io.WriteString(c.Conn, strings.Repeat(textOf("x"), 2000))
	c.wantCode(3004)
	if took := time.Since(began); took < lineWait {
		t.Errorf("closed after %v", took)
	}
	if n := len(g.up.messages()); n > 1+200+20*4 {
		t.Errorf("%d lines are taken, some of them late", n)
	}
	c.Close()
	g.endsWith(ReasonRate)
}

// In TestALagEndsWhenAllIsTaken, the lines of a client wait again and again, but never as long as
// lineWait. Between two such waits the edge has taken all of the client's lines. The session must
// go on.
func TestALagEndsWhenAllIsTaken(t *testing.T) {
	inBubble(t, nil, func(c *Config) { c.Rate = 10 }, func(t *testing.T, b *bubbled) {
		c := b.confirmed("1")
		c.send(textOf(slices.Repeat([]string{"x"}, 100)...))
		for range 20 {
			c.send(textOf(slices.Repeat([]string{"x"}, 10)...))
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if n := len(b.up.messages()); n != 1+100+200 {
			r, _ := b.only().Reason()
			t.Errorf("%d lines are taken, reason %v", n, r)
		}
	})
}

// In TestP7_WhatASessionSendsAtOnceGoesOnWhole, many clients of one user connect at once. Each
// client sends its connect and several subscribes in one message. Together the clients are far
// above the user's rate, so some are closed, and connect again a second later. Within a minute, all
// subscribes of each client must be accepted.
func TestP7_WhatASessionSendsAtOnceGoesOnWhole(t *testing.T) {
	const sessions, subscribes = 10, 20
	inBubble(t, nil, func(c *Config) { c.Rate = 10 }, func(t *testing.T, b *bubbled) {
		var all sync.WaitGroup
		lines := append([]string{"connect 1"}, slices.Repeat([]string{"x"}, subscribes)...)
		began := time.Now()
		for range sessions {
			all.Go(func() {
				for {
					c := b.connect()
					c.send(textOf(lines...))
					c.wantFrame(textByte, "connected")
					c.SetReadDeadline(time.Now().Add(2 * lineWait))
					if _, err := c.r.ReadByte(); errors.Is(err, os.ErrDeadlineExceeded) {
						return
					}
					c.Close()
					time.Sleep(time.Second)
				}
			})
		}
		all.Wait()
		if took := time.Since(began); took > time.Minute {
			t.Errorf("it took %v", took)
		}
	})
}

// In TestAMillionEmptyObjectsCostTheirUserOnly, a client sends very many lines "{ }". Such a line
// is no pong, because of the space in it, and counts in the user's rate. Lines of another user must
// not wait.
func TestAMillionEmptyObjectsCostTheirUserOnly(t *testing.T) {
	const burst = 1000
	inBubble(t, nil, func(c *Config) { c.Rate, c.MaxMessage = 100, 1<<20 }, func(t *testing.T, b *bubbled) {
		hostile, good := b.confirmed("1"), b.confirmed("2")
		go func() {
			message := masked(0x81, strings.Repeat("{ }\n", 1<<18))
			for range 4 {
				if _, err := hostile.Write([]byte(message)); err != nil {
					return // the test closes the session below
				}
			}
		}()
		time.Sleep(time.Second)
		good.send(textOf("good"))
		synctest.Wait()
		got := b.up.messages()
		if n := len(got); n > burst+200 || !slices.Contains(got, "good") {
			t.Errorf("%d lines are accepted within a second", n)
		}
		b.hub.Close(link.Close{Session: 1, Code: 3501, Reason: "bad request"})
		hostile.wantCode(3501)
		hostile.Close()
		synctest.Wait()
		if n := len(b.up.messages()); n > len(got)+1 {
			t.Errorf("%d lines are accepted after the close", n-len(got))
		}
	})
}

// TestP7_ChannelsOfConnectsAreChargedToTheirUser confirms connects of clients of one user, each
// with 128 channels. As many clients as a burst allows must be answered. Further clients must be
// closed, and must cost the user nothing. So a later client must be answered as soon as the burst
// allows it. Clients of another user must be answered.
func TestP7_ChannelsOfConnectsAreChargedToTheirUser(t *testing.T) {
	inBubble(t, silentRelay(), func(c *Config) { c.Rate, c.FanOut = 100, 250 }, func(t *testing.T, b *bubbled) {
		connect := func(user string, channels int) *rawClient {
			c := b.connect()
			c.send(textOf("connect"))
			synctest.Wait()
			n := link.Confirmed{Session: b.hub.last, User: user, Channels: make([]link.Channel, channels), Text: []byte("connected")}
			if err := b.hub.Confirmed(n, true); err != nil {
				t.Fatal(err)
			}
			return c
		}
		refused := func() {
			t.Helper()
			c := connect("1", link.MaxChannels)
			c.wantCode(3004)
			c.Close()
		}
		for range 7 {
			connect("1", link.MaxChannels).wantFrame(textByte, "connected")
		}
		for range 20 {
			refused()
		}
		connect("2", link.MaxChannels).wantFrame(textByte, "connected")
		time.Sleep(150 * time.Millisecond) // 8*127 is 16 above the burst, and so 160 ms are needed
		refused()
		connect("1", 1).wantFrame(textByte, "connected") // only the user's own channel
		time.Sleep(20 * time.Millisecond)
		connect("1", link.MaxChannels).wantFrame(textByte, "connected")
		b.hub.Cost(link.Cost{User: "1", Deliveries: 1 << 40})
		connect("1", 1).wantFrame(textByte, "connected") // even with the greatest debt
		refused()
		synctest.Wait()
		if n := b.metric("sessions_ended_total", "rate"); n != 22 {
			t.Errorf("%v sessions are counted", n)
		}
	})
}
