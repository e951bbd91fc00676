package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/edgerelay/edgerelay/shared/memnet"
)

func TestFramesArrive(t *testing.T) {
	bubble(t, func(t *testing.T, e, r *peer, _ *memnet.Conn) {
		sizes := []int{0, 1, 100, 5_000, 70_000, 6 << 20, 10}
		for i, size := range sizes {
			m := message(i+1, size)
			e.send(m.Append(nil))
			r.send(Answer{Number: m.Number, Session: 1, Text: m.Payload}.Append(nil))
		}
		up, down := r.await(t, len(sizes)), e.await(t, len(sizes))
		for i, size := range sizes {
			m := message(i+1, size)
			if !reflect.DeepEqual(up[i], m) {
				t.Errorf("message %d of %d bytes differs", i+1, size)
			}
			if !reflect.DeepEqual(down[i], Answer{Number: m.Number, Session: 1, Text: m.Payload}) {
				t.Errorf("answer %d of %d bytes differs", i+1, size)
			}
		}
		r.conn.Bye(CodeNormal, "done")
		if end := e.wait(t); !end.Remote || end.Code != CodeNormal || end.Text != "done" {
			t.Errorf("edge: %v", end)
		}
		if end := r.wait(t); end.Remote || end.Code != CodeNormal || end.Text != "done" {
			t.Errorf("relay: %v", end)
		}
	})
}

// TestByeComesLast calls Bye when frames are queued. The frames must arrive before Bye, and both
// ends must return without waiting for a timeout.
func TestByeComesLast(t *testing.T) {
	bubble(t, func(t *testing.T, e, r *peer, _ *memnet.Conn) {
		begun := time.Now()
		for i := range 50 {
			e.send(message(i, 10_000).Append(nil))
		}
		e.conn.Bye(CodeSuperseded, "later link")
		e.conn.Bye(CodeProtocol, "the first reason counts")
		if end := r.wait(t); !end.Remote || end.Code != CodeSuperseded || len(r.frames) != 50 {
			t.Errorf("%v after %d frames", end, len(r.frames))
		}
		if end := e.wait(t); end.Remote || end.Code != CodeSuperseded || time.Since(begun) != 0 {
			t.Errorf("%v after %v", end, time.Since(begun))
		}
	})
}

func TestByeOfBoth(t *testing.T) {
	bubble(t, func(t *testing.T, e, r *peer, _ *memnet.Conn) {
		begun := time.Now()
		e.conn.Bye(CodeNormal, "")
		r.conn.Bye(CodeSuperseded, "")
		if a, b := e.wait(t), r.wait(t); a.Code == CodeLost || b.Code == CodeLost || time.Since(begun) >= time.Second {
			t.Errorf("%v and %v after %v", a, b, time.Since(begun))
		}
	})
}

// TestByeUnheard says Bye on a frozen connection. The link must end when leaveFor is over, or at
// most WatchEvery later.
func TestByeUnheard(t *testing.T) {
	bubble(t, func(t *testing.T, e, r *peer, wire *memnet.Conn) {
		wire.Freeze()
		begun := time.Now()
		e.conn.Bye(CodeNormal, "")
		if end := e.wait(t); end.Code != CodeNormal || time.Since(begun) < leaveFor || time.Since(begun) > leaveFor+WatchEvery {
			t.Errorf("%v after %v", end, time.Since(begun))
		}
		wire.Cut()
		r.wait(t)
	})
}

// TestByeBounded says Bye while the Source has more frames than can be sent within drainFor. The
// relay must get Bye, and the edge's link must end within leaveFor.
func TestByeBounded(t *testing.T) {
	bubble(t, func(t *testing.T, e, r *peer, wire *memnet.Conn) {
		wire.SetRate(2_000_000)
		for i := range 100 {
			e.send(message(i, 60_000).Append(nil)) // these take three seconds to send
		}
		begun := time.Now()
		e.conn.Bye(CodeNormal, "")
		if end := r.wait(t); !end.Remote || end.Code != CodeNormal || len(r.frames) == 100 {
			t.Errorf("relay: %v after %d frames", end, len(r.frames))
		}
		if end := e.wait(t); end.Code != CodeNormal || time.Since(begun) < drainFor || time.Since(begun) > leaveFor {
			t.Errorf("edge: %v after %v", end, time.Since(begun))
		}
	})
}

// TestSilence checks that edge and relay each end a silent link within 17 s of the last byte. The
// edge must not end it before 15 s.
func TestSilence(t *testing.T) {
	bubble(t, func(t *testing.T, e, r *peer, wire *memnet.Conn) {
		time.Sleep(time.Minute) // an idle link must stay alive
		synctest.Wait()
		wire.Freeze()
		for name, p := range map[string]*peer{"edge": e, "relay": r} {
			end := p.wait(t)
			silence := time.Since(p.conn.LastReceived())
			if end.Code != CodeSilent || end.Remote {
				t.Errorf("%s: %v", name, end)
			}
			if name == "edge" && silence < silentAfter {
				t.Errorf("%s: dead after %v of silence", name, silence)
			}
			if silence >= 17*time.Second {
				t.Errorf("%s: noticed after %v", name, silence)
			}
		}
	})
}

// An idle link may cost 50 bytes a second, in both directions together. This test allows 45, since
// the relay's Digest is not counted here. A Digest of some 30 bytes comes every 10 s.
func TestP12_AnIdleLinkCostsFewBytes(t *testing.T) {
	bubble(t, func(t *testing.T, e, r *peer, _ *memnet.Conn) {
		const idle = 10 * time.Minute
		time.Sleep(time.Minute)
		before := e.conn.Stats().SentBytes + r.conn.Stats().SentBytes
		time.Sleep(idle)
		after := e.conn.Stats().SentBytes + r.conn.Stats().SentBytes
		each := float64(after-before) / idle.Seconds()
		t.Logf("%.1f bytes a second", each)
		if each > 45 {
			t.Errorf("%.1f bytes a second, want 45 at most", each)
		}
		e.conn.Bye(CodeNormal, "")
		e.wait(t)
		r.wait(t)
	})
}

// swallow is a connection. Once swallow.on is true, it drops all that is written to it.
type swallow struct {
	net.Conn
	on atomic.Bool
}

func (s *swallow) Write(p []byte) (int, error) {
	if s.on.Load() {
		return len(p), nil
	}
	return s.Conn.Write(p)
}

// TestHalfOpen checks that a link ends when one direction is dead, although frames come in the
// other direction.
func TestHalfOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := keysOf(t, ringA)
		l, results := serve(t, AcceptConfig{Keys: keys})
		half := &swallow{}
		edge, _, err := Dial(t.Context(), DialConfig{URL: "ws://relay", Keys: keys, Hello: testHello,
			NetDial: func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := l.DialContext(ctx, network, addr)
				half.Conn = conn
				return half, err
			}})
		if err != nil {
			t.Fatal(err)
		}
		e, r := start2(t, edge, (<-results).conn)
		half.on.Store(true)
		begun := time.Now()
		for range 10 {
			r.send(Answer{Number: 1, Session: 1}.Append(nil))
			time.Sleep(time.Second)
		}
		end := r.wait(t)
		if took := time.Since(begun); end.Code != CodeSilent || took < silentAfter || took > 16*time.Second {
			t.Errorf("relay: %v after %v", end, took)
		}
		if end := e.wait(t); end.Code != CodeLost {
			t.Errorf("edge: %v", end)
		}
	})
}

// TestSlowLinkLives sends 1 MiB to the relay at 10 KB/s, which takes more than 90 s. The link is
// slow, not dead, and must live.
func TestSlowLinkLives(t *testing.T) {
	for _, size := range []int{1_000, 1 << 20} { // many frames, or one frame
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				keys := keysOf(t, ringA)
				l, results := serve(t, AcceptConfig{Keys: keys})
				edge, _, err := dialTo(t.Context(), l, keys)
				if err != nil {
					t.Fatal(err)
				}
				l.Conns()[0].SetRate(10_000)
				e, r := start2(t, edge, (<-results).conn)
				n := 1 << 20 / size
				begun := time.Now()
				for i := range n {
					e.send(message(i, size).Append(nil))
				}
				r.await(t, n)
				if took := time.Since(begun); took < 90*time.Second {
					t.Errorf("it took %v: the network is not slow", took)
				}
				if rtt := e.conn.Stats().RTT; size == 1_000 && rtt < time.Second {
					t.Errorf("round trip %v", rtt)
				}
				e.conn.Bye(CodeNormal, "")
				e.wait(t)
				r.wait(t)
			})
		})
	}
}

// TestStuck makes a relay stop reading. The edge must notice the lack of write progress, and end
// the link. The relay must not end it first.
func TestStuck(t *testing.T) {
	bubble(t, func(t *testing.T, e, r *peer, _ *memnet.Conn) {
		release := make(chan struct{})
		r.handle = func(Type) error { <-release; return nil }
		begun := time.Now()
		for i := range 100 {
			e.send(message(i, 60_000).Append(nil))
		}
		end := e.wait(t)
		if took := time.Since(begun); end.Code != CodeStuck || took < stuckAfter || took > stuckAfter+time.Second {
			t.Errorf("edge: %v after %v", end, took)
		}
		close(release)
		if end := r.wait(t); end.Code != CodeLost {
			t.Errorf("relay: %v", end)
		}
	})
}

// TestBusySink checks that a minute inside the Sink does not count as the peer's silence.
func TestBusySink(t *testing.T) {
	bubble(t, func(t *testing.T, e, r *peer, _ *memnet.Conn) {
		r.handle = func(Type) error { time.Sleep(time.Minute); return nil }
		e.send(message(1, 10).Append(nil))
		r.await(t, 1)
		e.conn.Bye(CodeNormal, "")
		if end := r.wait(t); !end.Remote {
			t.Errorf("relay: %v", end)
		}
		e.wait(t)
	})
}

func TestSinkErrors(t *testing.T) {
	for _, tt := range []struct {
		name  string
		err   error
		frame []byte
		want  Code
	}{
		{"error", errors.New("unexpected"), message(1, 1).Append(nil), CodeProtocol},
		{"code", &CloseError{Code: CodeTables, Text: "differ"}, message(1, 1).Append(nil), CodeTables},
		{"unknown frame", nil, []byte{0x7f, 0}, CodeProtocol},
		{"hello again", nil, testHello.Append(nil), CodeProtocol},
		{"frame cut short", nil, []byte{byte(TypeMessage), 100, 1}, CodeProtocol},
		{"ping with a tail", nil, []byte{byte(TypePing), 2, 1, 1}, CodeProtocol},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, e, r *peer, _ *memnet.Conn) {
				r.handle = func(Type) error { return tt.err }
				e.send(tt.frame)
				if end := e.wait(t); end.Code != tt.want || !end.Remote {
					t.Errorf("edge: %v", end)
				}
				if end := r.wait(t); end.Code != tt.want || end.Remote {
					t.Errorf("relay: %v", end)
				}
			})
		})
	}
}

func TestIgnorable(t *testing.T) {
	bubble(t, func(t *testing.T, e, r *peer, _ *memnet.Conn) {
		e.send([]byte{0x80, 3, 1, 2, 3}, message(1, 1).Append(nil))
		if got := r.await(t, 1); !reflect.DeepEqual(got[0], message(1, 1)) {
			t.Errorf("got %v", got)
		}
		e.conn.Bye(CodeNormal, "")
		e.wait(t)
		r.wait(t)
	})
}

func TestLost(t *testing.T) {
	bubble(t, func(t *testing.T, e, r *peer, wire *memnet.Conn) {
		wire.CutAfter(5000)
		e.send(message(1, 10_000).Append(nil))
		if a, b := e.wait(t), r.wait(t); a.Code != CodeLost || b.Code != CodeLost {
			t.Errorf("%v and %v", a, b)
		}
		if len(r.frames) != 0 {
			t.Error("half a batch was handled")
		}
	})
}

func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		edge, relay, _ := join(t)
		ctx, cancel := context.WithCancelCause(t.Context())
		e, r := start(ctx, edge), start(t.Context(), relay)
		why := errors.New("drained")
		cancel(why)
		if end := e.wait(t); end.Code != CodeNormal || !errors.Is(end, why) {
			t.Errorf("edge: %v", end)
		}
		if end := r.wait(t); end.Code != CodeLost {
			t.Errorf("relay: %v", end)
		}
	})
}

func TestTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		edge, relay, _ := join(t)
		r := start(t.Context(), relay)
		go edge.ws.Write(t.Context(), websocket.MessageBinary, make([]byte, maxBatch+1))
		if end := r.wait(t); end.Code != CodeLimit {
			t.Errorf("relay: %v", end)
		}
		edge.CloseNow()
	})
}

// TestWebSocketPing checks that a WebSocket ping gets no answer and does no harm.
func TestWebSocketPing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		edge, relay, _ := join(t)
		e, r := start2(t, edge, relay)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := edge.ws.Ping(ctx); err == nil {
			t.Error("the ping was answered")
		}
		e.send(message(1, 1).Append(nil))
		r.await(t, 1)
		e.conn.Bye(CodeNormal, "")
		e.wait(t)
		r.wait(t)
	})
}

// counted is a connection that counts the writes to it.
type counted struct {
	net.Conn
	writes atomic.Int64
}

func (c *counted) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// TestCork checks that a batch goes to the network in pieces of writePiece bytes, on both sides. A
// batch that is not larger than such a piece must go in one write. The clock of the bubble stands
// still meanwhile, so neither side sends a Ping, which would be a write too.
func TestCork(t *testing.T) {
	for _, tt := range []struct{ size, most int }{{100, 1}, {5_000, 1}, {16_000, 1}, {65_000, 4}, {1 << 20, 65}} {
		synctest.Test(t, func(t *testing.T) { cork(t, tt.size, tt.most) })
	}
}

// The function cork sends one message of the given size in each direction of a link. It fails the
// test if a side needs more than the given number of writes.
func cork(t *testing.T, size, most int) {
	keys := keysOf(t, ringA)
	l, results := serve(t, AcceptConfig{Keys: keys})
	wire := &counted{}
	edge, _, err := Dial(t.Context(), DialConfig{URL: "ws://relay", Keys: keys, Hello: testHello,
		NetDial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := l.DialContext(ctx, network, addr)
			wire.Conn = conn
			return wire, err
		}})
	if err != nil {
		t.Fatal(err)
	}
	relay := (<-results).conn
	relayWire := &counted{Conn: relay.socket.Conn}
	relay.socket.Conn = relayWire
	before := wire.writes.Load()
	e, r := start2(t, edge, relay)
	e.send(message(1, size).Append(nil))
	r.send(message(1, size).Append(nil))
	r.await(t, 1)
	e.await(t, 1)
	if n := int(wire.writes.Load() - before); n > most {
		t.Errorf("edge: %d bytes in %d writes, want %d", size, n, most)
	}
	if n := int(relayWire.writes.Load()); n > most {
		t.Errorf("relay: %d bytes in %d writes, want %d", size, n, most)
	}
	edge.Bye(CodeNormal, "")
	e.wait(t)
	r.wait(t)
}
