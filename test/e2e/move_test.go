package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/test/e2e/chat"
	"github.com/edgerelay/edgerelay/test/e2e/cluster"
	"github.com/edgerelay/edgerelay/test/e2e/seedpeer"
)

// TestP3_RelaysReplacedOneByOneUnderLoad stops a relay four times. Each time it stops the relay
// that the first edge uses. The edges of that relay must move to the other relay. No edge may lose
// a link.
func TestP3_RelaysReplacedOneByOneUnderLoad(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, o cluster.Options) {
		c := cluster.New(t, o)
		relays := []*cluster.Relay{c.StartRelay(nil), c.StartRelay(nil)}
		edges := []*cluster.Edge{c.StartEdge(nil, relays...), c.StartEdge(nil, relays...), c.StartEdge(nil, relays...)}
		load := startTraffic(t, pace, edges...)
		for range 4 {
			load.flowing(3)
			old := inUse(edges[0], relays)
			began, before := time.Now(), load.frames()
			old.Terminate()
			if status := old.Exited(); status != 0 {
				t.Errorf("%s: exit status %d, want 0", old.Name, status)
			}
			load.flowing(1)
			t.Logf("%s stopped; the longest time that a client heard nothing was %v", old.Name, load.silence(before, began).Round(time.Millisecond))
			for _, e := range edges {
				if used := inUse(e, relays); used == nil || used == old {
					t.Errorf("%s has not moved", e.Name)
				}
			}
			old.Restart()
			cluster.Eventually(t, old.Name+" is back", old.Live)
		}
		load.finish(edges[0])
		for _, e := range edges {
			m := e.Metrics()
			if m.Sum(metricMoves) == m.Sum(metricMoves, `outcome="stayed"`) {
				t.Errorf("%s never moved", e.Name)
			}
			if lost := m.Sum(metricLinkEnds) - m.Sum(metricLinkEnds, `reason="normal"`); lost != 0 {
				t.Errorf("%s lost %v links; each should have been let go of in order", e.Name, lost)
			}
		}
	})
}

// traffic.frames returns, by user, the number of frames that the user has got.
func (f *traffic) frames() (counts []int) {
	for _, u := range f.users {
		counts = append(counts, len(u.Messages()))
	}
	return counts
}

// traffic.silence returns the longest time for which any user waited for a frame, from the given
// moment on. The list has, for each user, the number of frames that came earlier. Those frames do
// not count.
func (f *traffic) silence(before []int, from time.Time) (longest time.Duration) {
	for i, u := range f.users {
		last := from
		for _, frame := range u.Messages()[before[i]:] {
			longest = max(longest, frame.At.Sub(last))
			last = frame.At
		}
	}
	return longest
}

// TestP4_MessagesWithoutAPositionAreNotDoubledByAMove moves an edge from relay to relay. Meanwhile
// a Peer publishes as an original server does. The Peer's messages have no position. For a moment
// the edge may have two links, and both may bring such a message. Each user must get each message
// once.
func TestP4_MessagesWithoutAPositionAreNotDoubledByAMove(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onRedis(t))
	relays := []*cluster.Relay{c.StartRelay(nil), c.StartRelay(nil)}
	e := c.StartEdge(nil, relays...)
	g := chat.Unique("g")
	users := []*user{onlyGroup(t, e, g, chat.Unique("a")), onlyGroup(t, e, g, chat.Unique("b"))}
	peer := seedpeer.New(t, c.RedisURL())

	stop := make(chan struct{})
	var sending sync.WaitGroup
	// The map counts messages by text. Until the sending goroutine ends, only that goroutine uses
	// the map.
	sent := map[string]int{}
	sending.Go(func() {
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			text := fmt.Sprint("number ", i)
			peer.Publish("group:"+g, seedpeer.Envelope{FromId: "old", ToId: g, Msg: text})
			sent[text]++
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	})
	for range 3 {
		old := inUse(e, relays)
		old.Terminate()
		old.Exited()
		cluster.Eventually(t, "moved", func() bool { used := inUse(e, relays); return used != nil && used != old })
		old.Restart()
		cluster.Eventually(t, old.Name+" is back", old.Live)
	}
	close(stop)
	sending.Wait()
	peer.Publish("group:"+g, seedpeer.Envelope{FromId: "old", ToId: g, Msg: "end"})
	for _, u := range users {
		got := map[string]int{}
		for _, text := range until(t, u, chat.InGroup(g, "old", "end")) {
			got[strings.TrimPrefix(text, chat.InGroup(g, "old", ""))]++
		}
		if !maps.Equal(got, sent) {
			t.Errorf("%s: of %d different messages it got %d; not once: %s", u.Name, len(sent), len(got), differing(sent, got))
		}
	}
}

func differing(sent, got map[string]int) string {
	var lines []string
	for text, n := range sent {
		if got[text] != n {
			lines = append(lines, fmt.Sprintf("%q %d times", text, got[text]))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines[:min(len(lines), 10)], ", ")
}

// TestP4_CatchUpComesFromTheRelaysMemoryWhereItCan moves an edge to a relay that already follows
// the edge's topics. The relay must not read publications from history.
func TestP4_CatchUpComesFromTheRelaysMemoryWhereItCan(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	one, two := c.StartRelay(nil), c.StartRelay(nil)
	moving, staying := c.StartEdge(nil, one), c.StartEdge(nil, two)
	const groups = 20
	var heard, speaking []*user
	for i := range groups {
		g := chat.Unique("g")
		heard = append(heard, onlyGroup(t, moving, g, chat.Unique("m")))
		speaking = append(speaking, onlyGroup(t, staying, g, chat.Unique("s")))
		speaking[i].Send("before")
		heard[i].Expect(chat.InGroup(g, speaking[i].id, "before"))
		heard[i].groups[g], speaking[i].groups[g] = true, true
	}
	moving.Links()[0].Refuse()
	before := two.Metrics().Sum(metricPublishes, `outcome="done"`)
	for _, u := range speaking {
		u.Send("during")
	}
	cluster.Eventually(t, "all is published", func() bool { return two.Metrics().Sum(metricPublishes, `outcome="done"`) >= before+groups })
	moving.Links()[0].SetTarget(two.Addr())
	moving.Links()[0].Allow()
	for i, u := range heard {
		u.Expect(chat.InGroup(only(speaking[i].groups), speaking[i].id, "during"))
	}
	if read := two.Metrics().Sum(metricFromHistory); read != 0 {
		t.Errorf("%v publications were read from history; the relay had them in memory", read)
	}
}

func only(set map[string]bool) string {
	for name := range set {
		return name
	}
	return ""
}
