package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/test/e2e/chat"
	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

// TestP9_ASuspendedEdgeIsTakenBack freezes an edge for a minute. The relay must drop the edge's
// sessions meanwhile, and must take them back afterwards. The edge's clients must then get the
// messages that they missed, and no session may end.
func TestP9_ASuspendedEdgeIsTakenBack(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onFreezable(t))
	r := c.StartRelay(nil)
	e, f := c.StartEdge(nil, r), c.StartEdge(nil, r)
	g := chat.Unique("g")
	sleepers := []*user{channel(t, e, chat.Unique("a")), channel(t, e, chat.Unique("b"))}
	speaker := channel(t, f, chat.Unique("s"))
	speaker.join(t, g)
	for i, u := range sleepers {
		u.join(t, g)
		for _, other := range append([]*user{speaker}, sleepers[:i]...) {
			other.Expect(chat.InGroup(g, u.id, chat.Joined(u.id, g)))
		}
	}
	e.Freeze()
	resume := time.After(time.Minute)
	cluster.Eventually(t, "the relay drops its sessions", func() bool { return r.Metrics().Sum(metricRelaySessions) == 1 })
	var group, all []string
	ones := make([][]string, len(sleepers))
	for i := range 20 {
		n := fmt.Sprint(i)
		speaker.Send(chat.Group(g, n))
		speaker.Send(chat.All(n))
		group, all = append(group, chat.InGroup(g, speaker.id, n)), append(all, chat.ToAll(speaker.id, n))
		for k, u := range sleepers {
			speaker.Send(chat.One(u.id, n))
			ones[k] = append(ones[k], chat.Direct(speaker.id, n))
		}
	}
	<-resume
	e.Thaw()
	for k, u := range sleepers {
		expectStreams(t, u, group, ones[k], all)
	}
	sleepers[0].Send(chat.Group(g, "good morning"))
	for _, u := range []*user{speaker, sleepers[1]} {
		u.Expect(chat.InGroup(g, sleepers[0].id, "good morning"))
	}
	quiet(t, f, append(sleepers, speaker)...)
	if n := e.Metrics().Sum(metricEnded); n != 0 {
		t.Errorf("%v sessions ended", n)
	}
	if n := e.Metrics().Sum(metricSuspensions); n != 1 {
		t.Errorf("%v suspensions counted, want 1", n)
	}
}

// TestP2_ARelayThatWasFrozenIsAZombie freezes a relay and thaws it. While the relay is frozen, its
// edges use the other relay. The thawed relay still has old sessions and frames in memory, which
// must do no harm. No message may be lost, doubled or out of order.
func TestP2_ARelayThatWasFrozenIsAZombie(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onFreezable(t))
	relays := []*cluster.Relay{c.StartRelay(nil), c.StartRelay(nil)}
	e, f := c.StartEdge(nil, relays...), c.StartEdge(nil, relays...)
	load := startTraffic(t, pace, e, f)
	load.flowing(3)
	old := inUse(e, relays)
	old.Freeze()
	load.flowing(3) // messages flow through the other relay
	old.Thaw()
	cluster.Eventually(t, "the old relay has noticed", func() bool { return old.Metrics().Sum(metricRelaySessions) == 0 })
	load.flowing(3)
	load.finish(e)
}

// onFreezable returns options for tests that freeze servers. It skips such a test where servers run
// in the test's process.
func onFreezable(t *testing.T) cluster.Options {
	t.Helper()
	if kind(t) == cluster.InProcess {
		t.Skip("a server in the test's process cannot be frozen: E2E_KIND=process go test ./test/e2e/...")
	}
	return onRedis(t)
}
