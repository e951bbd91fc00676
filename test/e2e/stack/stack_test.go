package stack

import (
	"testing"

	"github.com/edgerelay/edgerelay/test/e2e/cluster"
	"github.com/edgerelay/edgerelay/test/long"
)

// TestStack starts the services of compose.yaml once and runs all cases on them. Before each case
// it waits until the stack is whole (see Stack.whole).
func TestStack(t *testing.T) {
	long.Only(t, "it starts seven containers")
	s := Start(t, "")
	for _, c := range []struct {
		name string
		run  func(t *testing.T, s *Stack)
	}{
		{"containers are as compose.yaml says", testContainers},
		{"the page, and the origins of pages", testPage},
		{"chat through nginx, round robin over all edges", testChat},
		{"P3: a relay is killed", testKilledRelay},
		{"P3: every relay and every edge is replaced, one by one, under load", testRolling},
		{"original servers beside ours, then ours alone", testOriginal},
		{"P4: an edge is cut off from the relays, and a relay from Redis", testCutNetworks},
		{"P2: a relay is paused until its edges have left it, and goes on", testPausedRelay},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.For(t).whole()
			c.run(t, s.For(t))
		})
	}
}

// Stack.whole waits until every edge and every relay is healthy and lists nothing as degraded, and
// until there is one link for each edge.
func (s *Stack) whole() {
	s.t.Helper()
	for _, name := range append(s.Of("edge"), s.Of("relay")...) {
		s.AwaitHealthy(name)
		cluster.Eventually(s.t, name+" is ready and nothing is degraded", func() bool { return s.well(name) })
	}
	cluster.Eventually(s.t, "every edge has one link", func() bool { return s.links() == len(s.Of("edge")) })
}
