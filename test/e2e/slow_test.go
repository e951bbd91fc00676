package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/edgerelay/edgerelay/test/e2e/chat"
	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

// TestP7_AnEdgeOnASlowLinkIsBehindAndCostsNobodyElse limits a link to 64 KiB a second, so that its
// edge falls behind the topic. Clients of another edge must not wait for the slow edge, and the
// slow link must stay up. Once the link is fast again, the client of the slow edge must get the
// messages in order.
func TestP7_AnEdgeOnASlowLinkIsBehindAndCostsNobodyElse(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, o cluster.Options) {
		c := cluster.New(t, o)
		r := c.StartRelay(cluster.Env{"RELAY_HISTORY_SIZE": "5000"})
		quick, slow := c.StartEdge(nil, r), c.StartEdge(cluster.Env{"EDGE_QUEUE": "64MiB"}, r)
		g := chat.Unique("g")
		a, b, z := channel(t, quick, chat.Unique("a")), channel(t, quick, chat.Unique("b")), channel(t, slow, chat.Unique("z"))
		for i, u := range []*user{a, b, z} {
			u.join(t, g)
			for _, other := range []*user{a, b}[:min(i, 2)] {
				other.Expect(chat.InGroup(g, u.id, chat.Joined(u.id, g)))
			}
		}
		slow.Links()[0].Throttle(64 << 10)
		text := func(i int) string { return fmt.Sprintf("%d %s", i, strings.Repeat("x", 16<<10)) }
		// The slow edge falls behind when the sockets on the way are full, and the relay's buffer
		// of 4 MiB for this edge is full too.
		n := 0
		for ; n < 2500 && (n%100 > 0 || r.Metrics().Sum(metricBehind) == 0); n++ {
			a.Send(chat.Group(g, text(n)))
			b.Expect(chat.InGroup(g, a.id, text(n)))
		}
		if behind := r.Metrics().Sum(metricBehind); behind == 0 {
			t.Errorf("no follower is behind after %d messages of 16 KB", n)
		}
		if links := slow.Metrics().Sum(metricLinks); links != 1 {
			t.Errorf("%v links, want the first one", links)
		}
		slow.Links()[0].Throttle(0)
		for i := range n {
			z.Expect(chat.InGroup(g, a.id, text(i)))
		}
		if links := slow.Metrics().Sum(metricLinks); links != 1 {
			t.Errorf("%v links in the end, want the first one", links)
		}
		quiet(t, quick, a, b, z)
	})
}
