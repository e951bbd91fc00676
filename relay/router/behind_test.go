package router

import (
	"strings"
	"testing"
	"time"
)

// TestP6_JoinOfATopicLeftWhileBehind: a join that waits for its edge to catch up is answered though the members that were behind have left.
func TestP6_JoinOfATopicLeftWhileBehind(t *testing.T) {
	w := newWorld(t, 1)
	e, other := w.edge("e"), w.edge("other")
	e.linkTo(w.relays[0])
	other.linkTo(w.relays[0])
	e.channel(1, "a")
	e.channel(2, "b")
	e.channel(3, "c")
	other.channel(1, "o")
	e.join(1, "g")
	other.join(1, "g")
	w.settle()
	e.stuck = 8 << 20
	other.group(1, "g", "held up")
	w.settle()
	e.join(2, "g") // heard while behind
	w.settle()
	e.end(1)
	w.settle()
	e.join(3, "g") // the first member of an edge that is not behind any more
	w.settle()
	e.stuck = 0
	w.relays[0].inputs = append(w.relays[0].inputs, Writable{e.conn})
	w.settle()
	w.wait(time.Second)
	e.quiet()
	for id := uint64(2); id <= 3; id++ {
		if got := strings.Join(e.received[id], "\n"); !strings.Contains(got, "add to group 【g】") {
			t.Errorf("session %d was not answered: %q", id, got)
		}
	}
}
