package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

func TestP9_SessionsOfAKilledEdgeAreGoneFromTheRelay(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	r := c.StartRelay(nil)
	e, f := c.StartEdge(nil, r), c.StartEdge(nil, r)
	g := unique("g")
	for range 5 {
		channel(t, e, unique("gone")).join(t, unique("own"))
	}
	a := channel(t, e, unique("a"))
	a.join(t, g)
	b := channel(t, f, unique("b"))
	sessions := func() float64 { return r.Metrics().Sum(metricRelaySessions) }
	cluster.Eventually(t, "the relay knows seven sessions", func() bool { return sessions() == 7 })
	b.Send(cmdGroup(g, "anyone"))
	b.Expect(notIn(b.id, g))
	e.Kill()
	took := cluster.Within(t, 17*time.Second, "the killed edge's sessions are gone", func() bool { return sessions() == 1 })
	t.Logf("gone after %v", took.Round(100*time.Millisecond))
	untilNotExists(t, b, g)
	quiet(t, f, b)
}

// TestP9_AnEdgeRestartedUnderItsNodeIDInheritsNothing: its numbers and its sessions' begin anew, and neither they nor its clients are taken for those of the boot that was killed. That one's
// sessions are gone in time, though its node is there.
func TestP9_AnEdgeRestartedUnderItsNodeIDInheritsNothing(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	r := c.StartRelay(nil)
	e, f := c.StartEdge(cluster.Env{"EDGE_NODE_ID": "same"}, r), c.StartEdge(nil, r)
	g, own := unique("g"), unique("own")
	a, b := channel(t, e, unique("a")), channel(t, f, unique("b"))
	b.join(t, g)
	a.join(t, g)
	b.Expect(inGroup(g, a.id, joinText(a.id, g)))
	a.join(t, own)
	say := func(from *user, n int) {
		for i := range n {
			from.Send(cmdOne(b.id, fmt.Sprint(i)))
			from.Send(cmdGroup(g, fmt.Sprint(i)))
			b.ExpectAnyOrder(direct(from.id, fmt.Sprint(i)), inGroup(g, from.id, fmt.Sprint(i)))
		}
	}
	say(a, 20)
	e.Kill()
	e.Restart()
	cluster.Eventually(t, "the edge is linked again", e.IsReady)

	stranger, same := channel(t, e, unique("stranger")), channel(t, e, a.id)
	b.Send(cmdGroup(g, "to members"))
	b.Send(cmdOne(a.id, "to whoever is a now"))
	same.Expect(direct(b.id, "to whoever is a now"))
	for _, u := range []*user{stranger, same} { // the first sessions of this boot, as a was of the other
		u.Send(cmdGroup(g, "as a member"))
		u.Expect(notIn(u.id, g))
	}
	quiet(t, f, b, stranger, same)
	stranger.join(t, g)
	b.Expect(inGroup(g, stranger.id, joinText(stranger.id, g)))
	say(stranger, 10) // with numbers that the killed boot gave, too
	b.Send(cmdGroup(g, "welcome"))
	stranger.Expect(inGroup(g, b.id, "welcome"))

	took := cluster.Within(t, 17*time.Second, "the killed boot's session is gone", func() bool { return r.Metrics().Sum(metricRelaySessions) == 3 })
	t.Logf("gone after %v", took.Round(100*time.Millisecond))
	untilNotExists(t, b, own)
	quiet(t, f, b, stranger, same)
}

func TestP9_SessionsOfASilentEdgeAreGoneFromTheRelayAndComeBackWithIt(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	r := c.StartRelay(nil)
	e, f := c.StartEdge(nil, r), c.StartEdge(nil, r)
	g := unique("g")
	a, b := channel(t, e, unique("a")), channel(t, f, unique("b"))
	a.join(t, g)
	e.Links()[0].Freeze()
	cluster.Within(t, 17*time.Second, "the silent edge's session is gone", func() bool { return r.Metrics().Sum(metricRelaySessions) == 1 })
	untilNotExists(t, b, g)
	a.Send(cmdGroup(g, "still a member"))
	e.Links()[0].Reset()
	e.Links()[0].Thaw()
	b.join(t, g)
	cluster.Eventually(t, "the edge is back", func() bool { return r.Metrics().Sum(metricRelaySessions) == 2 })
	b.Send(cmdGroup(g, "welcome back"))
	cluster.Eventually(t, "the member hears of it", func() bool {
		frames := a.Frames()
		return len(frames) > 0 && frames[len(frames)-1].Text == inGroup(g, b.id, "welcome back")
	})
}

func TestP2_TwoLiveEdgesWithOneNodeIDAreBothServed(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, o cluster.Options) {
		c := cluster.New(t, o)
		r := c.StartRelay(nil)
		same := cluster.Env{"EDGE_NODE_ID": "same"}
		e, f := c.StartEdge(same, r), c.StartEdge(same, r)
		load := startTraffic(t, pace, e, f)
		load.flowing(20)
		if n, m := e.Links()[0].Dialled(), f.Links()[0].Dialled(); n != 1 || m != 1 {
			t.Errorf("the edges dialled %d and %d times: they push each other out", n, m)
		}
		load.finish(e)
	})
}
