package router

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/broker/brokertest"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// rewound returns a world of two relays, in which Redis has lost a message to user n. It also
// returns an edge that is linked to the second relay and has a session of n. The second relay has
// the message in its tail, but the edge was behind and did not get it. Both relays are deaf, and
// were told that Redis is away.
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
	w.loses(saved)
	return w, slow
}

// loses makes Redis go back to a saved state. All relays are then deaf, and were told that Redis is
// away.
func (w *world) loses(saved brokertest.Saved) {
	w.store.Load(saved)
	for _, rl := range w.relays {
		rl.deafen()
	}
	w.settle()
}

func (w *world) undeafen() {
	for _, rl := range w.relays {
		rl.undeafen()
	}
	w.settle()
}

// TestP6_WhoCameAfterALossIsNotGivenWhatWasLost links an edge to a relay that still has the lost
// message. The edge's client came after the loss, at a relay that does not have the message. The
// client must be told of a loss, and must not be given the message.
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
		// If deaf is true, the second relay knows that Redis is back, but not yet that Redis has
		// lost a message.
		if deaf {
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

// In TestP6_WhoCameBetweenTwoLossesIsNotGivenWhatWasLost, Redis loses messages twice, and a client
// comes in between. The client's relay does not have the messages of the first loss, and becomes
// deaf once the client has come. Then the client's edge links to a relay that has all lost messages
// in its tail. If apart is true, messages that Redis keeps lie between the two losses.
func TestP6_WhoCameBetweenTwoLossesIsNotGivenWhatWasLost(t *testing.T) {
	for _, apart := range []bool{false, true} {
		t.Run(fmt.Sprint("apart ", apart), func(t *testing.T) {
			w := newWorld(t, 2)
			a, b := w.edge("a"), w.edge("b")
			a.linkTo(w.relays[1])
			a.channel(1, "n")
			a.channel(2, "o")
			b.linkTo(w.relays[0])
			w.settle()
			say := func(text string) {
				a.one(2, "n", text)
				w.settle()
			}
			empty := w.store.Save()
			say("first")
			saved := w.store.Save()
			say("second")
			w.loses(empty)
			w.undeafen()
			b.channel(1, "n")
			w.settle()
			w.relays[0].deafen()
			w.settle()
			if apart {
				say("third")
				saved = w.store.Save()
				say("fourth")
			}
			w.loses(saved)
			w.relays[1].undeafen()
			w.settle()
			b.cut()
			b.linkTo(w.relays[1])
			w.settle()
			if apart {
				b.saw(1, protocol.LostText("user:n"), "user o send:third", "user o send:fourth")
			} else {
				b.saw(1, protocol.LostText("user:n"))
			}
		})
	}
}

// In TestP4_WhoWasBehindAtALossGetsWhatTheRelayHas, a follower was behind when Redis lost a
// message. The relay must send the follower this message from its tail.
func TestP4_WhoWasBehindAtALossGetsWhatTheRelayHas(t *testing.T) {
	w, slow := rewound(t)
	w.undeafen()
	slow.stuck = 0
	w.relays[1].inputs = append(w.relays[1].inputs, Writable{slow.conn})
	w.settle()
	slow.saw(1, "user o send:lost")
}

// TestP4_ALossAtTheEndOfAnEpochIsTold publishes five messages to a history with room for two, while
// an edge has no link. If aged is true, all five expire after that. Otherwise the last two stay.
// Then Redis restarts with all that it keeps, so the next publication begins an epoch. If two
// messages stayed, this publication displaces the older one. When the edge links again, the relay
// must tell the edge the loss, and give it the publications in the history.
func TestP4_ALossAtTheEndOfAnEpochIsTold(t *testing.T) {
	for _, aged := range []bool{false, true} {
		t.Run(fmt.Sprint("by age ", aged), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{t: t, now: time.Now(), store: brokertest.NewMemory(brokertest.MemoryConfig{HistorySize: 2})}
				w.addRelay(Config{TailLength: 1})
				w.addRelay(Config{TailLength: 1})
				a, b := pair(w, w.relays[0], w.relays[1])
				b.cut()
				w.settle()
				for i := range 5 {
					a.group(1, "g", fmt.Sprint(i))
				}
				w.settle()
				if aged {
					time.Sleep(3 * time.Minute) // the broker's clock
					w.wait(3 * time.Minute)     // the relays' clock
				}
				w.store.Load(w.store.Save())
				a.group(1, "g", "new")
				w.settle()
				b.linkTo(w.relays[1])
				w.settle()
				if aged {
					b.saw(2, protocol.LostText("group:g"), inGroupG("1", "new"))
				} else {
					b.saw(2, protocol.LostText("group:g"), inGroupG("1", "4"), inGroupG("1", "new"))
				}
				b.cut()
				w.settle()
				a.group(1, "g", "newer")
				w.settle()
				b.linkTo(w.relays[1])
				w.settle()
				b.saw(2, inGroupG("1", "newer"))
			})
		})
	}
}

func TestMissed(t *testing.T) {
	at := func(epoch, offset uint64) protocol.Position { return protocol.Position{Epoch: epoch, Offset: offset} }
	for _, c := range []struct {
		before, position, previous protocol.Position
		lost                       uint64
	}{
		{at(1, 4), at(1, 5), at(0, 0), 0},
		{at(1, 4), at(1, 7), at(0, 0), 2},
		{at(1, 4), at(2, 1), at(0, 0), 0}, // nobody knows how many publications epoch 1 had after 4
		{at(1, 4), at(2, 1), at(1, 4), 0},
		{at(1, 4), at(2, 1), at(1, 3), 0}, // the back end lost publication 4; the follower has it
		{at(1, 4), at(2, 1), at(1, 9), 5},
		{at(1, 4), at(3, 1), at(2, 9), 9}, // 9 at least: the end of epoch 1 is not known
		{at(0, 0), at(2, 1), at(1, 9), 9},
		{at(1, 4), at(2, 3), at(0, 0), 2},
	} {
		lost, hole := missed(c.before, broker.Publication{Position: c.position, Previous: c.previous})
		if lost != c.lost || hole != (c.lost > 0) {
			t.Errorf("%v after %v, behind %v: %d, %v", c.position, c.before, c.previous, lost, hole)
		}
	}
}
