package gateway

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
)

// FuzzLines compares cutLine with strings.Split.
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
// ping asked for, ends the session with 3501. The lines before it are accepted.
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

// TestWhatIsNoLineEndsAGuestToo has a guest begin with an empty line, or with a pong. It must be
// closed with 3501 at once.
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
	inBubble(t, nil, func(c *Config) { c.Rate = 1 }, func(t *testing.T, b *bubbled) {
		first, second := b.confirmed("1"), b.confirmed("1")
		other := b.confirmed("2")
		first.send(textOf(slices.Repeat([]string{"x"}, 8)...))
		synctest.Wait()
		second.send(textOf(slices.Repeat([]string{"y"}, 8)...))
		time.Sleep(100 * time.Millisecond)
		if n := len(b.up.messages()); n != 3+10 {
			t.Errorf("%d lines are accepted, want the 3 connects and a burst of 10", n)
		}
		other.send(textOf("z"))
		synctest.Wait()
		if n := len(b.up.messages()); n != 3+11 {
			t.Errorf("%d lines are accepted: another user waits too", n)
		}
		time.Sleep(10 * time.Second)
		if n := len(b.up.messages()); n != 3+17 {
			t.Errorf("%d lines are accepted in the end, want all", n)
		}
	})
}

// TestALineWithoutRoomEndsTheSession has a line find no room upstream. The edge cannot answer an
// SDK's line, so the session must be closed with 3004: the SDK then comes back. The lines after it
// must not be accepted.
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
		if took := time.Since(began); took != roomWait {
			t.Errorf("closed after %v, want %v", took, roomWait)
		}
		c.Close()
		synctest.Wait()
		if got := b.up.messages(); !slices.Equal(got, []string{"connect 1", "fits"}) {
			t.Errorf("accepted %q", got)
		}
		if b.metric("dropped_total", "no_room") != 1 || b.metric("sessions_ended_total", "no_room") != 1 {
			t.Error("it is not counted")
		}
		// A guest whose connect finds no room is closed likewise, and its End is told upstream.
		guest := b.connect()
		guest.send(textOf("connect 2"))
		guest.wantCode(3004)
		guest.Close()
		synctest.Wait()
		if ends := b.up.ends(); len(ends) != 2 || len(b.hub.guests) != 0 {
			t.Errorf("ended %v, %d guests", ends, len(b.hub.guests))
		}
	})
}

// TestSessionsThatCrowdAreClosed has more than rateWaiters sessions of one user wait for its rate.
// A further session of an SDK must be closed with 3004, so that its SDK comes back.
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
		if n := b.metric("dropped_total", "crowded"); n < 1 {
			t.Errorf("%v are counted as crowded", n)
		}
	})
}

// TestAMillionEmptyObjectsCostTheirUserOnly has a client send very many lines "{ }". Such a line is
// no pong, because of the space in it, and counts in the user's rate. Lines of another user must
// not wait.
func TestAMillionEmptyObjectsCostTheirUserOnly(t *testing.T) {
	const burst = 1000
	inBubble(t, nil, func(c *Config) { c.Rate, c.MaxMessage = 100, 1<<20 }, func(t *testing.T, b *bubbled) {
		hostile, good := b.confirmed("1"), b.confirmed("2")
		go func() {
			message := masked(0x81, strings.Repeat("{ }\n", 1<<18))
			for range 4 {
				if _, err := hostile.Write([]byte(message)); err != nil {
					return // closed below
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
