package uplink

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// moving is an edge that has linked to a second relay, because its first relay asked it to move. At
// first the hub's list of recorded calls is empty.
type moving struct {
	*edge
	left, right *fakeRelay // the relay that the edge leaves, and the other
	old, next   *fakeLink
}

// startMoving makes an edge with session 1 and three accepted messages. None of the messages is
// acknowledged. Then the edge's relay asks the edge to move, and startMoving waits for the link to
// the other relay.
func startMoving(t *testing.T, n *network) *moving {
	t.Helper()
	m := &moving{left: n.start(t, "r1:1"), right: n.start(t, "r2:1")}
	for i, r := range []*fakeRelay{m.left, m.right} {
		r.mu.Lock()
		r.welcome = link.Welcome{Features: link.FeatureMove, Instance: protocol.Instance{byte(i + 1)}, Broker: "b"}
		r.mu.Unlock()
	}
	m.edge = n.run(t, Config{URLs: []string{"ws://r1:1", "ws://r2:1"}}, withSession)
	m.hub.naming = true
	m.accept(1, "a", "b", "c")
	synctest.Wait()
	if len(m.left.links()) == 0 {
		m.left, m.right = m.right, m.left
	}
	m.old = m.left.last(1)
	m.left.refuse(true) // as a stopping relay does
	m.old.send(link.Drain{Window: 100})
	time.Sleep(time.Second)
	m.next = m.right.last(1)
	m.hub.took()
	return m
}

func (m *moving) outcome(what string) {
	m.t.Helper()
	same(m.t, "moves "+what, testutil.ToFloat64(m.metrics.moves.WithLabelValues("drain", what)), 1)
}

func TestMoveWithBothLinksUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		m := startMoving(t, &n)
		same(t, "the hub was told", m.hub.tookSides(), "1 begins, 1 leaving, 2 begins")
		same(t, "told and replayed", render(m.next.received()), "session 1|synced 1-3 1 0|1: 1 a|2: 1 b|3: 1 c")
		before := len(m.old.received())

		// The edge is leaving the old link. Of the frames below it must take only the Publication
		// and the Gap.
		m.old.send(
			link.Publication{Topic: 7, Payload: []byte("old")},
			link.Gap{Topic: 7, Lost: 3},
			link.Joined{Number: 1, Session: 1},
			link.Left{Number: 2, Session: 1},
			link.Answer{Number: 3, Session: 1, Text: []byte("error")},
			link.Opened{Session: 1},
			link.Ahead{Topic: 7, ID: 1, Payload: []byte("ahead")},
			link.Granted{First: 99, Last: 99},
			link.Ack{Through: 3},
			link.Status{Degraded: []string{"broker"}},
			link.Digest{Sessions: 99})
		synctest.Wait()
		m.next.send(link.Publication{Topic: 9, Payload: []byte("new")}, link.Answer{Number: 3, Session: 1, Text: []byte("error")})
		m.open(2)
		m.accept(1, "d")
		synctest.Wait()
		if got, want := m.hub.took(), []string{"publication 7 old", "gap 7 3", "2: publication 9 new", "answer 1 error"}; !slices.Equal(got, want) {
			t.Errorf("the handler got %q, want %q", got, want)
		}
		same(t, "degraded", len(m.State().Degraded), 0)
		same(t, "frames on the old link", len(m.old.received()), before)
		same(t, "in the log", m.log.Messages(), 3) // a, b, d
		same(t, "frames of the new link", render(m.next.received()), "session 1|synced 1-3 1 0|1: 1 a|2: 1 b|3: 1 c|session 2|4: 1 d")

		m.next.send(link.Live{})
		synctest.Wait()
		if got := m.old.received()[before:]; !slices.Equal(got, []any{link.Moved{}}) {
			t.Errorf("the old relay got %v, want Moved", got)
		}
		m.old.send(link.Publication{Topic: 7, Payload: []byte("on its way")})
		synctest.Wait()
		if m.old.ended() != nil {
			t.Fatal("the edge did not wait for what was on its way")
		}
		if got, want := m.hub.took(), []string{"publication 7 on its way"}; !slices.Equal(got, want) {
			t.Errorf("the handler got %q, want %q", got, want)
		}
		m.old.conn.Bye(link.CodeNormal, "all has been sent")
		synctest.Wait()
		if got, want := m.hub.took(), []string{"down"}; !slices.Equal(got, want) {
			t.Errorf("the handler got %q, want %q", got, want)
		}
		m.next.send(link.Ack{Through: 4})
		synctest.Wait()
		same(t, "in the log", m.log.Messages(), 0)
		m.outcome("moved")
		same(t, "links", testutil.ToFloat64(m.metrics.links), 2)
	})
}

func TestMoveLetsGoOfTheOldLinkThoughTheNewRelayHasNotCaughtUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		m := startMoving(t, &n)
		time.Sleep(liveWait - 2*time.Second)
		if m.old.ended() != nil {
			t.Fatal("the old link ended early")
		}
		time.Sleep(2*time.Second + leaveWait)
		synctest.Wait()
		if m.old.ended() == nil {
			t.Fatal("the old link is there for ever")
		}
		m.outcome("moved_early")
	})
}

func TestMoveWaitsForTheOldRelayNotLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		m := startMoving(t, &n)
		m.next.send(link.Live{})
		time.Sleep(leaveWait + time.Millisecond)
		synctest.Wait()
		if end := m.old.ended(); end == nil || end.Code != link.CodeNormal || !end.Remote {
			t.Errorf("the old link ended with %v, want the edge's Bye", end)
		}
		m.outcome("moved")
	})
}

func TestMoveGoesOnWhenTheOldLinkIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		m := startMoving(t, &n)
		m.left.cut()
		synctest.Wait()
		m.outcome("old_lost")
		m.next.send(link.Ack{Through: 3})
		synctest.Wait()
		same(t, "in the log", m.log.Messages(), 0)
		same(t, "links", testutil.ToFloat64(m.metrics.links), 2)
	})
}

func TestMoveDialsAnewWhenTheNewLinkIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		m := startMoving(t, &n)
		m.right.cut()
		time.Sleep(time.Second)
		m.outcome("new_lost")
		if m.old.ended() == nil {
			t.Error("the old link, which has told the edge what it no longer believes, goes on")
		}
		same(t, "told and replayed again", render(m.right.last(2).received()), "session 1|synced 1-3 1 0|1: 1 a|2: 1 b|3: 1 c")
	})
}

func TestMoveStaysWhereThereIsNoOtherRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		r := n.start(t, "r1:1")
		r.mu.Lock()
		r.welcome = link.Welcome{Features: link.FeatureMove, Instance: protocol.Instance{1}}
		r.mu.Unlock()
		e := n.run(t, Config{URLs: []string{"ws://r1:1", "ws://nobody:1"}})
		l := r.last(1)
		synctest.Wait() // now the tables are told
		e.open(1)
		l.send(link.Drain{Window: 100})
		// Meanwhile the edge dials the same relay again and again, and must keep the link that it
		// has.
		time.Sleep(3 * time.Second)
		e.accept(1, "a")
		synctest.Wait()
		same(t, "frames", render(l.received()), "synced 1-0 0 0|session 1|1: 1 a")
		if now, _ := e.Linked(); !now || l.ended() != nil {
			t.Error("the link did not last")
		}
		l.conn.Bye(link.CodeNormal, "relay stops")
		time.Sleep(time.Second)
		links := r.links()
		same(t, "replayed", render(links[len(links)-1].received()), "session 1|synced 1-1 1 0|1: 1 a")
	})
}

func TestStopDuringAMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		m := startMoving(t, &n)
		m.stop()
		synctest.Wait()
		for _, l := range []*fakeLink{m.old, m.next} {
			if end := l.ended(); end == nil || end.Code != link.CodeNormal || !end.Remote {
				t.Errorf("a link ended with %v, want the edge's Bye", end)
			}
		}
	})
}

// TestNoMovedBeforeSynced makes a relay ask its edge to move, before the edge has told that relay
// all tables. The edge must not send Moved if it has not sent Synced.
func TestNoMovedBeforeSynced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		left, right := n.start(t, "r1:1"), n.start(t, "r2:1")
		for i, r := range []*fakeRelay{left, right} {
			r.mu.Lock()
			r.welcome = link.Welcome{Features: link.FeatureMove, Instance: protocol.Instance{byte(i + 1)}, Broker: "b"}
			r.mu.Unlock()
		}
		right.refuse(true)
		release := make(chan struct{})
		left.handle = func(*fakeLink, any) { <-release }
		n.run(t, Config{URLs: []string{"ws://r1:1", "ws://r2:1"}}, func(e *edge) {
			for id := range uint64(200_000) {
				e.hub.sessions[id+1] = link.Session{ID: id + 1, Endpoint: protocol.EndpointChannel, User: "uuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu"}
			}
		})
		time.Sleep(time.Second)
		old := left.last(1)
		right.refuse(false)
		left.refuse(true)
		old.send(link.Drain{Window: 100})
		time.Sleep(time.Second)
		next := right.last(1)
		next.send(link.Live{})
		synctest.Wait()
		close(release)
		time.Sleep(100 * time.Millisecond)
		synced, moved := 0, 0
		for _, f := range old.received() {
			switch f.(type) {
			case link.Synced:
				synced++
			case link.Moved:
				moved++
			}
		}
		if moved > 0 && synced == 0 {
			t.Error("Moved without Synced")
		}
	})
}

// TestNewLinkLostWhileLeaving cuts the new link while the edge waits for the old relay's Bye. The
// edge must dial again within 0.5 s.
func TestNewLinkLostWhileLeaving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		m := startMoving(t, &n)
		m.next.send(link.Live{})
		synctest.Wait()
		before := n.dialCount()
		at := time.Now()
		m.right.cut()
		for n.dialCount() == before && time.Since(at) < 10*time.Second {
			time.Sleep(10 * time.Millisecond)
		}
		if time.Since(at) > 500*time.Millisecond {
			t.Error("dialled again after", time.Since(at))
		}
	})
}

// TestSuspensionWhileLeaving calls renew while the edge waits for the old relay's Bye. The edge
// must dial again within 0.5 s.
func TestSuspensionWhileLeaving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		m := startMoving(t, &n)
		m.next.send(link.Live{})
		synctest.Wait()
		before := n.dialCount()
		at := time.Now()
		m.renew(time.Minute)
		for n.dialCount() == before && time.Since(at) < 10*time.Second {
			time.Sleep(10 * time.Millisecond)
		}
		if time.Since(at) > 500*time.Millisecond {
			t.Error("dialled again after", time.Since(at))
		}
	})
}
