package downlink

import (
	"context"
	"net/http"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/memnet"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

func TestWhoOnlyAsksIsNoLink(t *testing.T) {
	f := listen(t, 0)
	live, _ := f.link(t, 7, nil)
	for range 3 {
		asking, err := f.dial(t, 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		ended(t, recv(t, "end", asking.end), link.CodeNormal, true)
	}
	f.awaitSeries(t, 3, "edgerelay_relay_link_asked_total")
	select {
	case l := <-f.handler.up:
		t.Errorf("the handler was told of %v", l)
	case err := <-live.end:
		t.Errorf("the live link ended: %v", err)
	default:
	}
}

// TestALinkCountsFromItsFirstFrameOn dials a link and sends no frame after the handshake. An edge
// does this if it does not need the link. The handler must hear nothing of the link, and AwaitMoved
// must not wait for it.
func TestALinkCountsFromItsFirstFrameOn(t *testing.T) {
	f := listen(t, 0)
	able := f.able(t, 1)
	idle, err := f.dial(t, 2, nil)
	if err != nil {
		t.Fatal(err)
	}
	f.awaitRegistered(t, 2) // the server would cut a link that it takes after Refuse
	f.server.Refuse()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	able.conn.Bye(link.CodeNormal, "moved")
	if left := f.server.AwaitMoved(ctx); left != 0 {
		t.Errorf("the relay waits for %d links", left)
	}
	idle.conn.Bye(link.CodeNormal, "not needed")
	ended(t, recv(t, "end", idle.end), link.CodeNormal, false)
	recv(t, "end", f.handler.down) // the end of able's link
	if err := f.server.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(f.handler.up) > 0 || len(f.handler.down) > 0 {
		t.Error("the handler was told of a link that brought no frame")
	}
}

// awaitRegistered waits until the server has count links, begun or not. An edge may have read
// Welcome before the server has registered its link.
func (f *fixture) awaitRegistered(t *testing.T, count int) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; runtime.Gosched() {
		f.server.mu.Lock()
		got := len(f.server.links)
		f.server.mu.Unlock()
		if got == count {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d links, want %d", got, count)
		}
	}
}

func TestP8_ALinkWithoutAFrameIsEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fixture{handler: newRecorder(), metrics: prometheus.NewRegistry()}
		f.server = NewServer(Config{Keys: testKeys(t), Instance: protocol.Instance{9}}, f.handler)
		l := memnet.Listen()
		server := &http.Server{Handler: f.server}
		go server.Serve(l)
		defer server.Close()
		conn, _, err := link.Dial(t.Context(), link.DialConfig{URL: "ws://relay", Keys: testKeys(t), NetDial: l.DialContext,
			Hello: link.Hello{Generation: 1, Instance: protocol.Instance{1}}})
		if err != nil {
			t.Fatal(err)
		}
		e := &edge{conn: conn}
		began := time.Now()
		ended(t, conn.Run(context.Background(), e, e), link.CodeLimit, true)
		if took := time.Since(began); took < beginWait || took > beginWait+time.Second {
			t.Errorf("ended after %v", took)
		}
	})
}

func TestRefuseLeavesTheLinksThatThereAre(t *testing.T) {
	f := listen(t, 0)
	e, l := f.link(t, 1, nil)
	f.server.Refuse()
	if _, err := f.dial(t, 2, nil); err == nil {
		t.Error("a new link was taken")
	}
	l.Append(link.Ack{Through: 0}.Append(nil))
	recv(t, "a frame", e.in)
}

func TestAwaitMovedWaitsForThoseWhoCanMove(t *testing.T) {
	f := listen(t, 0)
	f.link(t, 1, nil) // an edge that cannot move
	able := f.able(t, 2)
	f.server.Refuse()
	soon, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if left := f.server.AwaitMoved(soon); left != 1 {
		t.Errorf("%d left, want 1", left)
	}
	able.conn.Bye(link.CodeNormal, "moved")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if left := f.server.AwaitMoved(ctx); left != 0 || ctx.Err() != nil {
		t.Errorf("%d left, %v", left, ctx.Err())
	}
}

// able makes a link whose edge can be asked to move, and waits until the link
// has begun.
func (f *fixture) able(t *testing.T, generation uint64) *edge {
	t.Helper()
	conn, _, err := link.Dial(t.Context(), link.DialConfig{URL: f.url, Keys: testKeys(t), Hello: link.Hello{
		Features: link.FeatureMove, Generation: generation, Instance: protocol.Instance{byte(generation)},
	}})
	if err != nil {
		t.Fatal(err)
	}
	e := &edge{conn: conn, end: make(chan error, 1), in: make(chan []byte, 16), out: make(chan []byte, 16)}
	go func() { e.end <- conn.Run(context.Background(), e, e) }()
	t.Cleanup(conn.CloseNow)
	e.send(link.Moved{}.Append(nil))
	if l := f.begun(t); !l.Moves() {
		t.Error("its link does not say that it moves")
	}
	return e
}
