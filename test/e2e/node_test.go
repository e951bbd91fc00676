package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/test/e2e/chat"
	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

func TestP9_SessionsOfAKilledEdgeAreGoneFromTheRelay(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	r := c.StartRelay(nil)
	e, f := c.StartEdge(nil, r), c.StartEdge(nil, r)
	g := chat.Unique("g")
	for range 5 {
		channel(t, e, chat.Unique("gone")).join(t, chat.Unique("own"))
	}
	a := channel(t, e, chat.Unique("a"))
	a.join(t, g)
	b := channel(t, f, chat.Unique("b"))
	sessions := func() float64 { return r.Metrics().Sum(metricRelaySessions) }
	cluster.Eventually(t, "the relay knows seven sessions", func() bool { return sessions() == 7 })
	b.Send(chat.Group(g, "anyone"))
	b.Expect(chat.NotIn(b.id, g))
	e.Kill()
	took := cluster.Within(t, promised(17*time.Second), "the killed edge's sessions are gone", func() bool { return sessions() == 1 })
	t.Logf("gone after %v", took.Round(100*time.Millisecond))
	untilNotExists(t, b, g)
	quiet(t, f, b)
}

// TestP9_AnEdgeRestartedUnderItsNodeIDInheritsNothing kills an edge and starts it again. The new
// boot counts its frames and its sessions from 1. The relay must not take these frames and sessions
// for those of the killed boot. The relay must drop the sessions of the killed boot in time,
// although an edge of the same node is linked.
func TestP9_AnEdgeRestartedUnderItsNodeIDInheritsNothing(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	r := c.StartRelay(nil)
	e, f := c.StartEdge(cluster.Env{"EDGE_NODE_ID": "same"}, r), c.StartEdge(nil, r)
	g, own := chat.Unique("g"), chat.Unique("own")
	a, b := channel(t, e, chat.Unique("a")), channel(t, f, chat.Unique("b"))
	b.join(t, g)
	a.join(t, g)
	b.Expect(chat.InGroup(g, a.id, chat.Joined(a.id, g)))
	a.join(t, own)
	say := func(from *user, n int) {
		for i := range n {
			from.Send(chat.One(b.id, fmt.Sprint(i)))
			from.Send(chat.Group(g, fmt.Sprint(i)))
			b.ExpectAnyOrder(chat.Direct(from.id, fmt.Sprint(i)), chat.InGroup(g, from.id, fmt.Sprint(i)))
		}
	}
	say(a, 20)
	e.Kill()
	e.Restart()
	cluster.Eventually(t, "the edge is linked again", e.IsReady)

	stranger, same := channel(t, e, chat.Unique("stranger")), channel(t, e, a.id)
	b.Send(chat.Group(g, "to members"))
	b.Send(chat.One(a.id, "to whoever is a now"))
	same.Expect(chat.Direct(b.id, "to whoever is a now"))
	// Each of these two users has one of the first sessions of the new boot. The first session of
	// the killed boot was that of user a, who was a member. The new sessions must not be members.
	for _, u := range []*user{stranger, same} {
		u.Send(chat.Group(g, "as a member"))
		u.Expect(chat.NotIn(u.id, g))
	}
	quiet(t, f, b, stranger, same)
	stranger.join(t, g)
	b.Expect(chat.InGroup(g, stranger.id, chat.Joined(stranger.id, g)))
	say(stranger, 10) // the killed boot has used the numbers of these frames
	b.Send(chat.Group(g, "welcome"))
	stranger.Expect(chat.InGroup(g, b.id, "welcome"))

	took := cluster.Within(t, promised(17*time.Second), "the killed boot's session is gone", func() bool { return r.Metrics().Sum(metricRelaySessions) == 3 })
	t.Logf("gone after %v", took.Round(100*time.Millisecond))
	untilNotExists(t, b, own)
	quiet(t, f, b, stranger, same)
}

func TestP9_SessionsOfASilentEdgeAreGoneFromTheRelayAndComeBackWithIt(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	r := c.StartRelay(nil)
	e, f := c.StartEdge(nil, r), c.StartEdge(nil, r)
	g := chat.Unique("g")
	a, b := channel(t, e, chat.Unique("a")), channel(t, f, chat.Unique("b"))
	a.join(t, g)
	e.Links()[0].Freeze()
	cluster.Within(t, promised(17*time.Second), "the silent edge's session is gone", func() bool { return r.Metrics().Sum(metricRelaySessions) == 1 })
	untilNotExists(t, b, g)
	a.Send(chat.Group(g, "still a member"))
	e.Links()[0].Reset()
	e.Links()[0].Thaw()
	b.join(t, g)
	cluster.Eventually(t, "the edge is back", func() bool { return r.Metrics().Sum(metricRelaySessions) == 2 })
	b.Send(chat.Group(g, "welcome back"))
	cluster.Eventually(t, "the member hears of it", func() bool {
		frames := a.Messages()
		return len(frames) > 0 && frames[len(frames)-1].Text == chat.InGroup(g, b.id, "welcome back")
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
		for _, edge := range []*cluster.Edge{e, f} {
			if n := edge.Metrics().Sum(metricLinks); n != 1 {
				t.Errorf("%v links of %s came up: the edges push each other out", n, edge.Name)
			}
		}
		load.finish(e)
	})
}
