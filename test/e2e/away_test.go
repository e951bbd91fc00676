package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

// outages are ways in which Redis is away, and comes back.
var outages = []struct {
	name        string
	begin, over func(t *testing.T, c *cluster.Cluster)
}{
	{"killed", func(t *testing.T, c *cluster.Cluster) { c.Redis().Kill() }, func(t *testing.T, c *cluster.Cluster) { c.Redis().Restart() }},
	{"frozen", func(t *testing.T, c *cluster.Cluster) { c.Redis().Pause() }, func(t *testing.T, c *cluster.Cluster) { c.Redis().Continue() }},
	{"out of memory", func(t *testing.T, c *cluster.Cluster) { config(t, c, "maxmemory", "1") }, func(t *testing.T, c *cluster.Cluster) { config(t, c, "maxmemory", "0") }},
	{"read-only", func(t *testing.T, c *cluster.Cluster) { config(t, c, "min-replicas-to-write", "3") }, func(t *testing.T, c *cluster.Cluster) { config(t, c, "min-replicas-to-write", "0") }},
}

func config(t *testing.T, c *cluster.Cluster, name, value string) {
	t.Helper()
	if err := c.Redis().Client().ConfigSet(t.Context(), name, value).Err(); err != nil {
		t.Fatal(err)
	}
}

// TestP5_EdgesOfOneRelayTalkWhileRedisIsAway: they talk, join, leave and connect; the other relay's clients get all of it once when Redis is back, and nobody is given
// anything twice.
func TestP5_EdgesOfOneRelayTalkWhileRedisIsAway(t *testing.T) {
	for _, outage := range outages {
		t.Run(outage.name, func(t *testing.T) {
			t.Parallel()
			c := cluster.New(t, onRedis(t))
			one, two := c.StartRelay(nil), c.StartRelay(nil)
			e, f, far := c.StartEdge(nil, one), c.StartEdge(nil, one), c.StartEdge(nil, two)
			g := unique("g")
			a, b, z := channel(t, e, unique("a")), channel(t, f, unique("b")), channel(t, far, unique("z"))
			a.join(t, g)
			b.join(t, g)
			a.Expect(inGroup(g, b.id, joinText(b.id, g)))
			z.join(t, g)
			for _, u := range []*user{a, b} {
				u.Expect(inGroup(g, z.id, joinText(z.id, g)))
			}

			begin := time.Now()
			outage.begin(t, c)
			a.Send(cmdGroup(g, "is anybody there?")) // nobody knows yet; a client of the other relay may get it before it is away too
			cluster.Eventually(t, "both relays say that Redis is away", func() bool { return len(degraded(t, one)) > 0 && len(degraded(t, two)) > 0 })
			t.Logf("%s: said after %v", outage.name, time.Since(begin).Round(10*time.Millisecond))
			b.Expect(inGroup(g, a.id, "is anybody there?"))

			var group, all []string
			for i := range 20 {
				n := fmt.Sprint(i)
				a.Send(cmdGroup(g, n))
				a.Send(cmdAll(n))
				a.Send(cmdOne(b.id, n))
				b.Expect(inGroup(g, a.id, n))
				b.Expect(toAll(a.id, n))
				b.Expect(direct(a.id, n))
				group, all = append(group, inGroup(g, a.id, n)), append(all, toAll(a.id, n))
			}
			late := channel(t, f, unique("late"))
			h := unique("h")
			late.join(t, g)
			for _, u := range []*user{a, b} {
				u.Expect(inGroup(g, late.id, joinText(late.id, g)))
			}
			a.join(t, h)
			late.join(t, h)
			a.Expect(inGroup(h, late.id, joinText(late.id, h)))
			late.Send(cmdGroup(h, "new group"))
			a.Expect(inGroup(h, late.id, "new group"))
			a.Send(cmdOne(late.id, "direct"))
			late.Expect(direct(a.id, "direct"))
			late.leave(t, g)
			for _, u := range []*user{a, b} {
				u.Expect(inGroup(g, late.id, leaveText(late.id, g)))
			}

			outage.over(t, c)
			group = append([]string{inGroup(g, a.id, "is anybody there?")}, group...)
			notices := []string{inGroup(g, late.id, joinText(late.id, g)), inGroup(g, late.id, leaveText(late.id, g))}
			expectStreams(t, z, group, all, notices)
			cluster.Eventually(t, "nothing is degraded", func() bool { return len(degraded(t, e)) == 0 && len(degraded(t, far)) == 0 })
			for _, s := range []*cluster.Edge{e, f, far} {
				if n := s.Metrics().Sum(metricEnded); n != 0 {
					t.Errorf("%v sessions ended", n)
				}
			}
			quiet(t, e, a, b, z, late)
		})
	}
}

// TestP5_ARelayDiesWhileRedisIsAway: its edges are on another one, messages wait or are given there, and what was given before is not given again.
func TestP5_ARelayDiesWhileRedisIsAway(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onRedis(t))
	relays := []*cluster.Relay{c.StartRelay(nil), c.StartRelay(nil)}
	e, f := c.StartEdge(nil, relays[0], relays[1]), c.StartEdge(nil, relays[0], relays[1])
	g := unique("g")
	a, b := channel(t, e, unique("a")), channel(t, f, unique("b"))
	a.join(t, g)
	b.join(t, g)
	a.Expect(inGroup(g, b.id, joinText(b.id, g)))
	c.Redis().Pause()
	for _, r := range relays {
		cluster.Eventually(t, "the relay says that Redis is away", func() bool { return len(degraded(t, r)) > 0 })
	}
	var want []string
	say := func(first, last int) {
		for i := first; i < last; i++ {
			a.Send(cmdGroup(g, fmt.Sprint(i)))
			want = append(want, inGroup(g, a.id, fmt.Sprint(i)))
		}
	}
	say(0, 10)
	inUse(e, relays).Kill()
	cluster.Eventually(t, "the edges are on the other relay", func() bool {
		return e.Metrics().Sum(metricLinkUp) == 1 && f.Metrics().Sum(metricLinkUp) == 1
	})
	say(10, 20)
	c.Redis().Continue()
	expectStreams(t, b, want)
	quiet(t, e, a, b)
}
