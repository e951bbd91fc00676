package gateway

import (
	"bytes"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

func TestP8_AQueueIsBoundedInBytesAndTakesOneFrameOfAnySize(t *testing.T) {
	q := queue{limit: 100}
	big := textFrame(strings.Repeat("x", 1000))
	if got := q.push(big); got != pushOK {
		t.Fatalf("first frame: %v", got)
	}
	if got := q.push(pingFrame); got != pushFull {
		t.Fatalf("second frame: %v, want full", got)
	}
	b := q.take(nil)
	if got := q.push(pingFrame); got != pushFull {
		t.Fatalf("while the first is being written: %v, want full", got)
	}
	if q.take(b) != nil {
		t.Fatal("there is something left")
	}
	small := textFrame("12345")
	for i := range 3 {
		if got := q.push(small); got != pushOK {
			t.Fatalf("small frame %d: %v", i, got)
		}
	}
	if got := q.push(small); got != pushFull {
		t.Fatalf("small frame 3: %v, want full: %d of %d bytes", got, q.size, q.limit)
	}
}

func TestSealKeepsOrDiscardsWhatIsQueued(t *testing.T) {
	for _, test := range []struct {
		discard bool
		frames  int
		lost    int
	}{{false, 3, 0}, {true, 1, 1}} {
		q := queue{limit: 1000}
		q.push(textFrame("a"))
		q.push(pingFrame)
		q.seal(closeFrames[ReasonSlow], test.discard)
		q.seal(closeFrames[ReasonGone], true)
		if got := q.push(pingFrame); got != pushSealed {
			t.Errorf("push after seal: %v", got)
		}
		b := q.take(nil)
		if len(b.frames) != test.frames || !bytes.Equal(b.frames[len(b.frames)-1], closeFrames[ReasonSlow]) {
			t.Errorf("discard %v: frames %q", test.discard, b.frames)
		}
		q.take(b)
		if q.size != 0 {
			t.Errorf("discard %v: %d bytes counted in an empty queue", test.discard, q.size)
		}
		if got := q.end(); got != test.lost {
			t.Errorf("discard %v: lost %d messages, want %d", test.discard, got, test.lost)
		}
	}
}

// pipeConn records writes. Each write blocks until the test sends an error or nil to the channel
// gate. The write returns that value.
type pipeConn struct {
	net.Conn
	mu     sync.Mutex
	writes [][]byte
	gate   chan error
}

func (p *pipeConn) Write(b []byte) (int, error) {
	p.mu.Lock()
	p.writes = append(p.writes, bytes.Clone(b))
	p.mu.Unlock()
	return len(b), <-p.gate
}

// writeTo gives q a writer that writes to the given socket, in the way of the goroutine of
// conn.patiently.
func writeTo(q *queue, conn net.Conn) {
	q.attach(func() {
		go func() {
			for b := q.take(nil); b != nil; b = q.take(b) {
				if err := b.writeTo(conn); err != nil {
					q.fail(b)
					return
				}
			}
		}()
	})
}

func TestTheWriterTakesEverythingQueuedInOneWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &queue{limit: 1 << 20}
		conn := &pipeConn{gate: make(chan error)}
		q.push(textFrame("queued before there is a writer"))
		writeTo(q, conn)
		synctest.Wait()
		var want []byte
		for _, text := range []string{"a", "b", "c"} {
			f := textFrame(text)
			q.push(f)
			want = append(want, f...)
		}
		conn.gate <- nil
		conn.gate <- nil
		<-q.stopped()
		if len(conn.writes) != 2 || !bytes.Equal(conn.writes[1], want) {
			t.Errorf("writes %q, want the second to have all three", conn.writes)
		}
		if q.pending != nil || q.size != 0 || q.writing {
			t.Errorf("an empty queue holds on: %+v", q)
		}
		q.push(textFrame("again"))
		conn.gate <- nil
		<-q.stopped()
		if len(conn.writes) != 3 {
			t.Errorf("%d writes, want 3", len(conn.writes))
		}
	})
}

func TestAFailedWriteEndsTheQueueAndCountsWhatIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &queue{limit: 1 << 20}
		conn := &pipeConn{gate: make(chan error)}
		q.push(textFrame("a"))
		writeTo(q, conn)
		synctest.Wait()
		q.push(textFrame("b"))
		q.push(textFrame("c"))
		conn.gate <- errors.New("broken")
		<-q.stopped()
		if got := q.push(pingFrame); got != pushSealed {
			t.Errorf("push: %v, want sealed", got)
		}
		if got := q.end(); got != 3 || q.size != 0 {
			t.Errorf("lost %d messages, %d bytes counted; want 3, 0", got, q.size)
		}
	})
}
