package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

// TestP9_ASuspendedEdgeIsTakenBack: an edge is stopped for a minute; its relay drops its sessions meanwhile and takes them back, and its clients have what they missed.
func TestP9_ASuspendedEdgeIsTakenBack(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onFreezable(t))
	r := c.StartRelay(nil)
	e, f := c.StartEdge(nil, r), c.StartEdge(nil, r)
	g := unique("g")
	sleepers := []*user{channel(t, e, unique("a")), channel(t, e, unique("b"))}
	speaker := channel(t, f, unique("s"))
	speaker.join(t, g)
	for i, u := range sleepers {
		u.join(t, g)
		for _, other := range append([]*user{speaker}, sleepers[:i]...) {
			other.Expect(inGroup(g, u.id, joinText(u.id, g)))
		}
	}
	e.Freeze()
	resume := time.After(time.Minute)
	cluster.Eventually(t, "the relay drops its sessions", func() bool { return r.Metrics().Sum(metricRelaySessions) == 1 })
	var group, all []string
	ones := make([][]string, len(sleepers))
	for i := range 20 {
		n := fmt.Sprint(i)
		speaker.Send(cmdGroup(g, n))
		speaker.Send(cmdAll(n))
		group, all = append(group, inGroup(g, speaker.id, n)), append(all, toAll(speaker.id, n))
		for k, u := range sleepers {
			speaker.Send(cmdOne(u.id, n))
			ones[k] = append(ones[k], direct(speaker.id, n))
		}
	}
	<-resume
	e.Thaw()
	for k, u := range sleepers {
		expectStreams(t, u, group, ones[k], all)
	}
	sleepers[0].Send(cmdGroup(g, "good morning"))
	for _, u := range []*user{speaker, sleepers[1]} {
		u.Expect(inGroup(g, sleepers[0].id, "good morning"))
	}
	quiet(t, f, append(sleepers, speaker)...)
	if n := e.Metrics().Sum(metricEnded); n != 0 {
		t.Errorf("%v sessions ended", n)
	}
	if n := e.Metrics().Sum(metricSuspensions); n != 1 {
		t.Errorf("%v suspensions counted, want 1", n)
	}
}

// TestP2_ARelayThatWasFrozenIsAZombie: what it held was published by another, and what it believes in does no harm.
func TestP2_ARelayThatWasFrozenIsAZombie(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onFreezable(t))
	relays := []*cluster.Relay{c.StartRelay(nil), c.StartRelay(nil)}
	e, f := c.StartEdge(nil, relays...), c.StartEdge(nil, relays...)
	load := startTraffic(t, pace, e, f)
	load.flowing(3)
	old := inUse(e, relays)
	old.Freeze()
	load.flowing(3) // by the other
	old.Thaw()
	cluster.Eventually(t, "the old relay has noticed", func() bool { return old.Metrics().Sum(metricRelaySessions) == 0 })
	load.flowing(3)
	load.finish(e)
}

// onFreezable is for what needs servers that can be stopped and go on.
func onFreezable(t *testing.T) cluster.Options {
	t.Helper()
	if kind(t) == cluster.InProcess {
		t.Skip("a server in the test's process cannot be frozen: E2E_KIND=process go test ./test/e2e/...")
	}
	return onRedis(t)
}
