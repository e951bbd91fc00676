package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

// TestP7_AnEdgeOnASlowLinkIsBehindAndCostsNobodyElse: a link that carries 10 KB a second falls behind what its topic brings. The clients of other edges wait for nothing, the relay keeps
// no more for it than its bound, the link stays, and once it is quicker its clients get everything in order.
func TestP7_AnEdgeOnASlowLinkIsBehindAndCostsNobodyElse(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, o cluster.Options) {
		c := cluster.New(t, o)
		r := c.StartRelay(cluster.Env{"RELAY_HISTORY_SIZE": "5000"})
		quick, slow := c.StartEdge(nil, r), c.StartEdge(cluster.Env{"EDGE_QUEUE": "64MiB"}, r)
		g := unique("g")
		a, b, z := channel(t, quick, unique("a")), channel(t, quick, unique("b")), channel(t, slow, unique("z"))
		for i, u := range []*user{a, b, z} {
			u.join(t, g)
			for _, other := range []*user{a, b}[:min(i, 2)] {
				other.Expect(inGroup(g, u.id, joinText(u.id, g)))
			}
		}
		slow.Links()[0].Throttle(10 << 10)
		text := func(i int) string { return fmt.Sprintf("%d %s", i, strings.Repeat("x", 16<<10)) }
		n := 0 // 4 MB may wait for an edge, and the kernels between hold some more
		for ; n < 2500 && (n%100 > 0 || r.Metrics().Sum(metricBehind) == 0); n++ {
			a.Send(cmdGroup(g, text(n)))
			b.Expect(inGroup(g, a.id, text(n)))
		}
		if behind := r.Metrics().Sum(metricBehind); behind == 0 {
			t.Errorf("no follower is behind after %d messages of 16 KB", n)
		}
		if links := slow.Metrics().Sum(metricLinks); links != 1 {
			t.Errorf("%v links, want the first one", links)
		}
		slow.Links()[0].Throttle(0)
		for i := range n {
			z.Expect(inGroup(g, a.id, text(i)))
		}
		if links := slow.Metrics().Sum(metricLinks); links != 1 {
			t.Errorf("%v links in the end, want the first one", links)
		}
		quiet(t, quick, a, b, z)
	})
}
