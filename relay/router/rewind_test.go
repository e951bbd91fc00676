package router

import (
	"testing"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// rewound has an edge of the second relay, and the first one's, follow user n when Redis loses a message to n: the second relay has it in its tail.
func rewound(t *testing.T) (w *world, slow *testEdge) {
	w = newWorld(t, 2)
	slow = w.edge("slow")
	slow.linkTo(w.relays[1])
	slow.channel(1, "n")
	slow.channel(2, "o")
	w.settle()
	slow.one(2, "n", "kept")
	w.settle()
	slow.saw(1, "user o send:kept")
	saved := w.store.Save()
	slow.stuck = 8 << 20
	slow.one(2, "n", "lost")
	w.settle()
	w.store.Load(saved)
	for _, rl := range w.relays {
		rl.deafen()
	}
	w.settle()
	return w, slow
}

func (w *world) undeafen() {
	for _, rl := range w.relays {
		rl.undeafen()
	}
	w.settle()
}

// TestP6_WhoCameAfterALossIsNotGivenWhatWasLost: the relay that it moves to has it from before, but Redis and so the relay that it came to do not.
func TestP6_WhoCameAfterALossIsNotGivenWhatWasLost(t *testing.T) {
	for _, deaf := range []bool{false, true} {
		w, _ := rewound(t)
		e := w.edge("e")
		e.linkTo(w.relays[0])
		w.relays[0].undeafen()
		w.settle()
		if !deaf {
			w.undeafen()
		}
		e.channel(1, "n")
		w.settle()
		if !e.confirmed[1] {
			t.Fatal("not confirmed")
		}
		if deaf { // the second relay does not know yet, but no longer that Redis is away
			w.relays[1].broker.held = append(w.relays[1].broker.held, broker.State{})
			w.settle()
		}
		e.cut()
		e.linkTo(w.relays[1])
		w.settle()
		if deaf {
			w.undeafen()
		}
		e.saw(1, protocol.LostText("user:n"))
	}
}

// TestP4_WhoWasBehindAtALossGetsWhatTheRelayHas.
func TestP4_WhoWasBehindAtALossGetsWhatTheRelayHas(t *testing.T) {
	w, slow := rewound(t)
	w.undeafen()
	slow.stuck = 0
	w.relays[1].inputs = append(w.relays[1].inputs, Writable{slow.conn})
	w.settle()
	slow.saw(1, "user o send:lost")
}
