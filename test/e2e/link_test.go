package e2e

import (
	"fmt"
	"testing"

	"github.com/edgerelay/edgerelay/test/e2e/chat"
	"github.com/edgerelay/edgerelay/test/e2e/cluster"
	"github.com/edgerelay/edgerelay/test/long"
)

func TestP2_ReplayedCommandsAreAnsweredOnceAndInOrder(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	r := c.StartRelay(nil)
	e := c.StartEdge(nil, r)
	const clients, rounds = 5, 40
	users := make([]*user, clients)
	for i := range users {
		users[i] = channel(t, e, chat.Unique("a"))
	}
	group := func(u *user, round int) string { return fmt.Sprint(u.id, "-", round) }
	p := e.Links()[0]
	for i := range rounds {
		dialled := p.Dialled()
		if i%4 == 0 {
			// The cuts are meant to come between commands and their acknowledgements. After a cut
			// there, the edge replays frames. At its end the test checks that some frames were
			// replayed.
			p.CutAfter(int64(400 + 171*i))
		}
		for _, u := range users {
			g := group(u, i)
			for _, frame := range []string{chat.Group(g+"-none", "x"), chat.Join(g), `{"Method":"x"}`, chat.Group(g, "nobody hears it"), chat.Leave(g)} {
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
			u.Expect(chat.NotExists(g+"-none"), chat.Joined(u.id, g), `error: unknown method "x"`, chat.Left(u.id, g))
		}
	}
	if n := e.Metrics().Sum("edgerelay_edge_replayed_total"); n == 0 {
		t.Error("nothing was replayed: the case shows nothing")
	}
	quiet(t, e, users...)
}

func TestP2_LinkResetTwentyTimesUnderLoad(t *testing.T) {
	long.Only(t, "twenty dials take half a minute")
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
			p.CutAfter(int64(100 + 37*i)) // this replaces the cut above by a cut that comes sooner
		}
		cluster.Eventually(t, "linked again", func() bool { return p.Dialled() > dialled && p.Live() > 0 })
		if i%2 == 1 {
			load.flowing(1)
		}
	}
	load.flowing(5)
	load.finish(e)
}

// TestP2_OfTwoLinksOfOneBootTheLaterStays opens a second link while the first one still seems alive
// to the relay. Frames of the first link reach the relay after the second link is up. The relay
// must serve the edge on the second link and end the first. No message may be lost or doubled.
func TestP2_OfTwoLinksOfOneBootTheLaterStays(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	r := c.StartRelay(nil)
	e, f := c.StartEdge(nil, r, r), c.StartEdge(nil, r) // e has two proxies to one relay
	load := startTraffic(t, pace, e, f)
	load.flowing(3)
	old := e.Link()
	old.Freeze()
	load.sendOn(5) // the messages of e's users are under way on the old link
	old.Strand()
	cluster.Eventually(t, "linked by the other way", func() bool { return e.Metrics().Sum(metricLinks) == 2 })
	load.flowing(1) // on the new link, the edge replays the messages that were under way
	old.Thaw()      // now some of these messages may come on the old link too
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
