package gateway

import (
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/memnet"
)

// TestHowLongAPingIsHeld checks how often pingHeld returns true for a ping, by what is in front of
// the ping and by what becomes of it.
func TestHowLongAPingIsHeld(t *testing.T) {
	ping, small, long := textFrame("{}"), textFrame("x"), textFrame(string(textOfSize(link.LongAnswer+1)))
	held := func(q *queue) (times int) {
		for times < 2*heldMost && q.pingHeld() {
			times++
		}
		return times
	}
	pushLong := func(q *queue) { q.pushLong(long, func() {}) }
	write := func(q *queue) { q.take(q.take(nil)) }
	writeLong := func(q *queue) {
		pushLong(q)
		b := q.take(nil)
		q.progressed()
		q.take(b)
	}
	var first *batch
	for _, c := range []struct {
		name   string
		want   int
		before func(q *queue) // before the ping is pushed
		behind func(q *queue) // after that
	}{
		{"nothing is queued", 0, func(*queue) {}, func(*queue) {}},
		{"another frame waits", heldMost, func(q *queue) { q.push(small) }, func(*queue) {}},
		{"a long answer waits", heldMost, pushLong, func(*queue) {}},
		{"a long answer is being written", heldMost, func(q *queue) {
			pushLong(q)
			q.take(nil)
		}, func(*queue) {}},
		{"the frame is written", 1, func(q *queue) { q.push(small) }, write},
		{"the frame is written at once", 1, func(q *queue) {
			q.push(small)
			q.push(small)
		}, func(q *queue) { q.written(q.take(nil)) }},
		{"of two frames the first is written", heldMost, func(q *queue) {
			q.push(small)
			first = q.take(nil)
			q.push(small)
		}, func(q *queue) { q.take(first) }},
		{"the client takes some of a long answer", heldMost, pushLong, func(q *queue) {
			q.take(nil)
			q.pingHeld()
			q.pingHeld()
			q.progressed()
		}},
		{"the client has taken none for too long", 0, pushLong, func(q *queue) { held(q) }},
		{"the kernel may have much of a long answer", heldMost, writeLong, func(*queue) {}},
		{"a ping has used up all the time for that", 0, func(q *queue) {
			writeLong(q)
			q.pushPing(ping)
			held(q)
			write(q)
		}, func(*queue) {}},
		{"a ping waited behind a frame before", 0, func(q *queue) {
			q.push(small)
			q.pushPing(ping)
			write(q)
		}, func(*queue) {}},
		{"a long answer was written long before the frame", 1, func(q *queue) {
			writeLong(q)
			q.push(small)
		}, write},
		{"the earlier ping waits too", 0, func(q *queue) {
			q.push(small)
			q.pushPing(ping)
			held(q)
		}, func(*queue) {}},
	} {
		q := &queue{limit: 1000}
		c.before(q)
		q.pushPing(ping)
		c.behind(q)
		if got := held(q); got != c.want {
			t.Errorf("%s: held %d times, want %d", c.name, got, c.want)
		}
	}
}

// TestAPingBehindTheLastPieceHasItsTime sends a long answer to a client that reads slowly, so that
// the client's ping comes when the kernel has all of the answer that the client has not taken. The
// client needs longer for that than it may take to answer a ping. Its session must go on.
func TestAPingBehindTheLastPieceHasItsTime(t *testing.T) {
	inBubble(t, nil, nil, func(t *testing.T, b *bubbled) {
		const rate = memnet.Buffer / 20 // the client needs 20 s for what the kernel may have
		c := b.confirmed("1")
		b.hub.Topic(link.TopicNumber{ID: 1, Topic: "all"})
		c.Conn.(*memnet.Conn).SetReadRate(rate)
		due := time.Duration(b.only().sdk.ping.Load())
		time.Sleep(due - b.server.now() - 5*time.Second)
		b.hub.Bound(link.Bound{Session: 1, Topic: 1, Text: textOfSize(memnet.Buffer + 2*rate)}, true)
		if first, p, err := c.frame(); err != nil || first != textByte || len(p) != memnet.Buffer+2*rate {
			t.Fatalf("frame %#x of %d bytes, error %v", first, len(p), err)
		}
		if late := b.server.now() - due; late < sdkPongWait {
			t.Fatalf("the client has taken all %v behind its ping", late)
		}
		c.wantFrame(textByte, "{}")
		if living := b.hub.living(); len(living) != 1 {
			t.Fatal("its session has ended")
		}
		c.send(textOf("{}"))
		if _, code := c.lives(3*sdkPing, time.Now()); code != 0 {
			t.Errorf("it ends with %d", code)
		}
	})
}
