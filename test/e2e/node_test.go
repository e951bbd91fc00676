package e2e

import (
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
