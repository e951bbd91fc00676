package e2e

import (
	"fmt"
	"testing"

	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

func TestP2_ReplayedCommandsAreAnsweredOnceAndInOrder(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	r := c.StartRelay(nil)
	e := c.StartEdge(nil, r)
	const clients, rounds = 5, 40
	users := make([]*user, clients)
	for i := range users {
		users[i] = channel(t, e, unique("a"))
	}
	group := func(u *user, round int) string { return fmt.Sprint(u.id, "-", round) }
	p := e.Links()[0]
	for i := range rounds {
		dialled := p.Dialled()
		if i%4 == 0 {
			p.CutAfter(int64(400 + 171*i)) // somewhere between these commands and their acknowledgements
		}
		for _, u := range users {
			g := group(u, i)
			for _, frame := range []string{cmdGroup(g+"-none", "x"), cmdJoin(g), `{"Method":"x"}`, cmdGroup(g, "nobody hears it"), cmdLeave(g)} {
				u.Send(frame)
			}
		}
		if i%4 == 0 {
			cluster.Eventually(t, "cut and linked again", func() bool { return p.Dialled() > dialled && p.Live() > 0 })
		}
	}
	for _, u := range users {
		for i := range rounds {
			g := group(u, i)
			u.Expect(notExists(g+"-none"), joinText(u.id, g), `error: unknown method "x"`, leaveText(u.id, g))
		}
	}
	if n := e.Metrics().Sum("edgerelay_edge_replayed_total"); n == 0 {
		t.Error("nothing was replayed: the case shows nothing")
	}
	quiet(t, e, users...)
}

func TestP2_LinkResetTwentyTimesUnderLoad(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	r := c.StartRelay(nil)
	e, f := c.StartEdge(nil, r), c.StartEdge(nil, r)
	load := startTraffic(t, pace, e, f)
	for i := range 20 {
		p := []*cluster.Edge{e, f}[i%2].Links()[0]
		dialled := p.Dialled()
		p.Reset()
		cluster.Eventually(t, "linked again", func() bool { return p.Dialled() > dialled && p.Live() > 0 })
		load.flowing(1)
	}
	load.finish(e)
}

func TestP2_LinkCutInTheMiddleOfFramesUnderLoad(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	r := c.StartRelay(nil)
	e, f := c.StartEdge(nil, r), c.StartEdge(nil, r)
	load := startTraffic(t, pace, e, f)
	for i := range 16 {
		p := []*cluster.Edge{e, f}[i%2].Links()[0]
		dialled := p.Dialled()
		p.CutAfter(int64(700 + 613*i))
		if i%4 == 3 {
			p.CutAfter(int64(100 + 37*i)) // in the handshake of the link after, or the tables
		}
		cluster.Eventually(t, "linked again", func() bool { return p.Dialled() > dialled && p.Live() > 0 })
		if i%2 == 1 {
			load.flowing(1)
		}
	}
	load.flowing(5)
	load.finish(e)
}

// TestP2_OfTwoLinksOfOneBootTheLaterStays: the relay still believes in the older one when the later comes, and what was on its way on the older comes to it after that. It is served on the later one
// at once, and no frame counts twice.
func TestP2_OfTwoLinksOfOneBootTheLaterStays(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	r := c.StartRelay(nil)
	e, f := c.StartEdge(nil, r, r), c.StartEdge(nil, r) // two ways to one relay
	load := startTraffic(t, pace, e, f)
	load.flowing(3)
	old := e.Link()
	old.Freeze()
	load.sendOn(5) // these are on their way,
	old.Strand()
	cluster.Eventually(t, "linked by the other way", func() bool { return e.Metrics().Sum(metricLinks) == 2 })
	load.flowing(1) // come by the other one in a replay,
	old.Thaw()      // and by the old one now
	cluster.Eventually(t, "the relay has ended the older link", func() bool {
		return r.Metrics().Sum(metricRelayLinkEnds, `code="superseded"`, `by="relay"`) == 1
	})
	load.flowing(1)
	m := r.Metrics()
	if ends := m.Sum(metricRelayLinkEnds); ends != 1 {
		t.Errorf("%v links have ended, want the older one only", ends)
	}
	if edges, sessions := m.Sum(metricRelayEdges), m.Sum(metricRelaySessions); edges != 2 || sessions != 4 {
		t.Errorf("the relay knows %v edges with %v sessions, want 2 with 4", edges, sessions)
	}
	load.finish(e)
}
