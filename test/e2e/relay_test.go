package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/test/e2e/chat"
	"github.com/edgerelay/edgerelay/test/e2e/client"
	"github.com/edgerelay/edgerelay/test/e2e/cluster"
	"github.com/edgerelay/edgerelay/test/long"
)

// pace is the usual pause between two rounds of a user's messages in tests that break links or
// servers. At this pace four users send some 250 messages a second.
const pace = 50 * time.Millisecond

func TestP3_RelayKillClosesNoSocketAndNothingIsLostDoubledOrReordered(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	r := c.StartRelay(nil)
	e, f := c.StartEdge(nil, r), c.StartEdge(nil, r)
	load := startTraffic(t, pace/2, e, f)
	for range 5 {
		load.flowing(5)
		r.Kill()
		load.sendOn(10) // no relay runs meanwhile
		r.Restart()
	}
	load.flowing(5)
	load.finish(e)
}

func TestP3_RelayStopClosesNoSocketAndNothingIsLostDoubledOrReordered(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	r := c.StartRelay(nil)
	e, f := c.StartEdge(nil, r), c.StartEdge(nil, r)
	load := startTraffic(t, pace, e, f)
	load.flowing(5)
	r.Terminate()
	if status := r.Exited(); status != 0 {
		t.Errorf("the relay's exit status is %d, want 0", status)
	}
	load.sendOn(10)
	r.Restart()
	load.flowing(5)
	load.finish(e)
}

func TestP3_OfTwoRelaysTheOneInUseIsKilled(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	relays := []*cluster.Relay{c.StartRelay(nil), c.StartRelay(nil)}
	e, f := c.StartEdge(nil, relays...), c.StartEdge(nil, relays...)
	load := startTraffic(t, pace, e, f)
	for range 2 {
		load.flowing(5)
		used := inUse(e, relays)
		used.Kill()
		cluster.Within(t, promised(5*time.Second), "linked to the other relay", func() bool { return inUse(e, relays) != used && e.Linked() && f.Linked() })
		load.flowing(5)
		used.Restart()
		cluster.Eventually(t, "the relay is back", used.Live)
	}
	load.finish(e)
}

func TestP2_TwoRelaysHoldOneEdgesFramesForAMoment(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	relays := []*cluster.Relay{c.StartRelay(nil), c.StartRelay(nil)}
	e, f := c.StartEdge(nil, relays...), c.StartEdge(nil, relays...)
	load := startTraffic(t, pace, e, f)
	load.flowing(3)
	old := inUse(e, relays)
	p := e.Link()
	p.Freeze()
	load.sendOn(10) // the messages of e's users are under way to the old relay
	p.Strand()
	cluster.Eventually(t, "linked to the other relay", func() bool { return e.Linked() && inUse(e, relays) != old })
	load.flowing(3) // the edge replays these messages to the new relay
	before := old.Metrics().Sum(metricPublishes, `outcome="duplicate"`)
	p.Thaw() // now some of these messages reach the old relay too
	cluster.Eventually(t, "the old relay was refused what the new one had published", func() bool {
		return old.Metrics().Sum(metricPublishes, `outcome="duplicate"`) > before
	})
	load.flowing(3)
	load.finish(e)
}

// TestP3_ARelayRestartsUnderManyEdges makes all edges lose their relay at one moment. When the
// relay is back, each edge tells the relay of its sessions, and sends the messages that its clients
// sent meanwhile. Every client must get these messages.
func TestP3_ARelayRestartsUnderManyEdges(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	r := c.StartRelay(nil)
	edges := make([]*cluster.Edge, 30)
	if c.Kind() != cluster.InProcess {
		edges = edges[:6]
	}
	for i := range edges {
		edges[i] = c.LaunchEdge(nil, r)
	}
	g := chat.Unique("g")
	var users []*user
	for _, e := range edges {
		cluster.Eventually(t, e.Name+" is linked", e.IsReady)
		users = append(users, onlyGroup(t, e, g, chat.Unique("u")))
	}
	for range 2 {
		users[0].Send("all well")
		for _, u := range users[1:] {
			u.Expect(chat.InGroup(g, users[0].id, "all well"))
		}
		r.Kill()
		for _, u := range users {
			u.Send("first")
			u.Send("second")
		}
		r.Restart()
		for _, u := range users {
			var streams [][]string
			for _, from := range users {
				if from != u {
					streams = append(streams, []string{chat.InGroup(g, from.id, "first"), chat.InGroup(g, from.id, "second")})
				}
			}
			expectStreams(t, u, streams...)
		}
	}
	if n := r.Metrics().Sum(metricRelaySessions); n != float64(len(users)) {
		t.Errorf("the relay knows %v sessions, want %d", n, len(users))
	}
	quiet(t, edges[0], users...)
}

// inUse returns the relay behind the proxy that Edge.Link returns. If Edge.Link returns nil, inUse
// returns nil too. The relays must be those that the edge was started with, in the same order.
func inUse(e *cluster.Edge, relays []*cluster.Relay) *cluster.Relay {
	used := e.Link()
	for i, p := range e.Links() {
		if p == used {
			return relays[i]
		}
	}
	return nil
}

func TestP3_PingingClientThroughARelayOutage(t *testing.T) {
	t.Parallel()
	outage := 5 * time.Second
	if long.Wanted() && kind(t) != cluster.InProcess {
		outage = time.Minute
	}
	c := cluster.New(t, onBest(t))
	r := c.StartRelay(nil)
	e := c.StartEdge(nil, r)
	a, b := channel(t, e, chat.Unique("a")), channel(t, e, chat.Unique("b"))
	r.Kill()
	a.Send(chat.One(b.id, "meanwhile"))
	ping(t, outage, a.Client, b.Client)
	fresh := channel(t, e, chat.Unique("c")) // even without a relay, an edge lets clients connect
	fresh.Send(chat.One(a.id, "fresh"))
	r.Restart()
	b.Expect(chat.Direct(a.id, "meanwhile"))
	a.Expect(chat.Direct(fresh.id, "fresh"))
	a.Send(chat.One(fresh.id, "welcome"))
	fresh.Expect(chat.Direct(a.id, "welcome"))
	quiet(t, e, a, b, fresh)
}

// The function ping makes the clients send pings for the time d. Each ping must be answered within
// two seconds. A usual run allows more time (see promised).
func ping(t *testing.T, d time.Duration, clients ...*client.Client) {
	t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(d); time.Now().Before(end); <-tick.C {
		for _, c := range clients {
			ctx, cancel := context.WithTimeout(t.Context(), promised(2*time.Second))
			err := c.Ping(ctx)
			cancel()
			if err != nil {
				t.Fatalf("%s: ping: %v", c.Name, err)
			}
		}
	}
}
