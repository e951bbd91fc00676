package router

import (
	"strings"
	"testing"
	"time"
)

// In TestP6_JoinOfATopicLeftWhileBehind, a join waits until its edge's follower of the group has
// caught up. Meanwhile the edge's only session in the group ends. The waiting join and a later one
// must be answered.
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
	e.join(2, "g") // the notice of this join is heard while the edge is behind
	w.settle()
	e.end(1)
	w.settle()
	e.join(3, "g") // because session 1 has ended, the edge is no longer behind
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

// TestP4_NewLinkAfterFullOne begins a step in which a relay samples how much is queued on an edge's
// full link. In the same step the edge links anew. The relay must not use this sample for the new
// link.
func TestP4_NewLinkAfterFullOne(t *testing.T) {
	w := newWorld(t, 1)
	rl := w.relays[0]
	e, other := w.edge("e"), w.edge("other")
	e.linkTo(rl)
	other.linkTo(rl)
	e.channel(1, "a")
	other.channel(1, "o")
	w.settle()
	e.conn.queued = func() int { return 8 << 20 }
	other.one(1, "a", "1")
	// The message is published in this step. The next step takes its echo, and then the edge's new
	// link.
	rl.step()
	rl.inputs = append(rl.inputs, eventsOf(rl)...)
	e.linkTo(rl)
	w.settle()
	w.wait(time.Second)
	e.saw(1, "user o send:1")
}

// TestP4_FullLinkDrainedWithinAStep empties a link's buffer right after a step has sampled the
// buffer's length. The sample is just below half of Config.Outgoing, so the router finds no room
// for the last of three messages. The real buffer never gets half full, so no Writable comes.
// Nevertheless, all three messages must be delivered.
func TestP4_FullLinkDrainedWithinAStep(t *testing.T) {
	w := newWorld(t, 1)
	rl := w.relays[0]
	e, other := w.edge("e"), w.edge("other")
	e.linkTo(rl)
	other.linkTo(rl)
	e.channel(1, "a")
	other.channel(1, "o")
	w.settle()
	asked := 0
	e.conn.queued = func() int {
		if asked++; asked == 1 {
			return 2<<20 - 1 // just below half of Config.Outgoing
		}
		return 0
	}
	big := strings.Repeat("x", 900_000)
	for range 3 {
		other.one(1, "a", big)
	}
	w.settle()
	w.wait(time.Second)
	if n := len(e.received[1]); n != 3 {
		t.Errorf("%d of 3 messages were delivered", n)
	}
}

func eventsOf(rl *testRelay) (inputs []Input) {
	for _, ev := range rl.broker.Take() {
		inputs = append(inputs, FromBroker{ev})
	}
	return inputs
}
