package router

import (
	"fmt"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// TestP5_AnEdgeStaysWholeThoughItsTakingWasCut ends an edge's link during an outage, while the
// edge's tables are taken. Then the edge links again. Its clients must still reach each other.
func TestP5_AnEdgeStaysWholeThoughItsTakingWasCut(t *testing.T) {
	for _, pieces := range []int{512, 1} {
		w := newWorld(t, 0)
		rl := w.addRelay(Config{Pieces: pieces})
		e := w.edge("e")
		for id := uint64(1); id <= 10; id++ {
			e.channel(id, "u"+string(rune('a'+id)))
		}
		e.linkTo(rl)
		w.settle()
		rl.leave(false)
		w.settle()
		e.one(1, "uc", "first")
		e.say(1, "{") // the answer of the relay finishes this frame
		e.one(1, "uc", "second")
		w.settle()
		e.cut()
		e.linkTo(rl)
		rl.step()
		rl.step()
		e.cut()
		e.linkTo(rl)
		w.settle()
		e.one(1, "uc", "third")
		w.settle()
		w.wait(time.Second)
		known := rl.router.directory.edges[e.instance]
		if got := e.received[2]; len(got) != 3 {
			t.Errorf("%d pieces: whole %v, got %q", pieces, known.inbox.whole, got)
		}
	}
}

// In TestP5_HearingOutIsRepeatedDuringATaking, the broker answers the first Flush of a link with
// Heard false. The second Flush is due while the relay takes the edge's tables. The edge must
// become whole.
func TestP5_HearingOutIsRepeatedDuringATaking(t *testing.T) {
	for _, pieces := range []int{512, 1} {
		w := newWorld(t, 0)
		first, rl := w.addRelay(Config{}), w.addRelay(Config{Pieces: pieces})
		e := w.edge("e")
		for id := uint64(1); id <= 10; id++ {
			e.channel(id, "u"+string(rune('a'+id)))
		}
		e.linkTo(first)
		w.settle()
		e.one(1, "x", "a number that another relay has finished")
		w.settle()
		e.cut()
		unheard := 1
		rl.broker.onEvent = func(ev broker.Event) bool {
			if f, ok := ev.(broker.Flushed); ok && unheard > 0 {
				unheard--
				rl.broker.held = append(rl.broker.held, broker.Flushed{Token: f.Token})
				return false
			}
			return true
		}
		e.linkTo(rl)
		for range 5 {
			rl.step()
		}
		w.now = w.now.Add(300 * time.Millisecond)
		w.settle()
		w.wait(time.Minute)
		known := rl.router.directory.edges[e.instance]
		if !known.inbox.whole {
			t.Errorf("%d pieces: not whole after a minute, hearing %d", pieces, known.inbox.hearing)
		}
	}
}

// In TestP4_ALossThatIsFoundBetweenThePiecesIsTold, Redis loses a message. In one case the relay
// learns of the loss while it takes an edge's tables. The edge is then ready, and the follower has
// no number yet. In the other case the relay learns of the loss after the taking. The client must
// be told the loss in both cases.
func TestP4_ALossThatIsFoundBetweenThePiecesIsTold(t *testing.T) {
	for _, between := range []bool{false, true} {
		w, _ := rewound(t)
		e := w.edge("e")
		e.linkTo(w.relays[0])
		w.relays[0].undeafen()
		w.settle()
		e.channel(1, "n")
		w.settle()
		if !e.confirmed[1] {
			t.Fatal("not confirmed")
		}
		rl := w.relays[1]
		rl.broker.held = append(rl.broker.held, broker.State{})
		w.settle()
		e.cut()
		w.settle()
		rl.router.cfg.Pieces = 1
		e.linkTo(rl)
		rl.step()
		known := rl.router.directory.edges[e.instance]
		if between {
			for known.tables.taking.phase < takeResume {
				rl.step()
			}
		} else {
			w.settle()
		}
		rl.undeafen()
		w.settle()
		e.saw(1, protocol.LostText("user:n"))
	}
}

// In TestP6_AnUnplacedGroupIsNotToldAtTheBeginning, an edge tells that the members of a group are
// unplaced. The topic is subscribed before its follower's turn, and the link is lost while the
// members' place is looked for. The members must not be given messages from before they came.
func TestP6_AnUnplacedGroupIsNotToldAtTheBeginning(t *testing.T) {
	for _, pieces := range []int{512, 1} {
		w := newWorld(t, 0)
		first, rl := w.addRelay(Config{}), w.addRelay(Config{Pieces: pieces})
		speaker := w.edge("speaker")
		speaker.channel(1, "speaker")
		speaker.linkTo(first)
		w.settle()
		speaker.join(1, "g")
		w.settle()
		for i := range 3 {
			speaker.group(1, "g", fmt.Sprint("old ", i))
		}
		w.settle()
		e := w.edge("e")
		for id := uint64(1); id <= 3; id++ {
			user := fmt.Sprint("u", id)
			e.sessions[id] = link.Session{ID: id, Endpoint: protocol.EndpointUser, User: user}
			e.topics[protocol.UserTopic(user)] = &heldTopic{position: protocol.Unplaced(0), members: []uint64{id}}
		}
		e.topics["group:g"] = &heldTopic{position: protocol.Unplaced(0), members: []uint64{1}}
		e.linkTo(rl)
		for range 60 {
			rl.step()
			if e.topics["group:g"].position.IsZero() {
				break
			}
		}
		e.cut()
		e.linkTo(first)
		w.settle()
		speaker.group(1, "g", "new")
		w.settle()
		e.saw(1, inGroupG("speaker", "new"))
	}
}

// In TestP6_AnUnplacedMemberGetsWhatComesBeforeItsTurn, an edge tells that the member of a group is
// unplaced. The relay already follows the group for another edge. A message is published after
// Synced and before the turn of the member's follower. The member must get the message.
func TestP6_AnUnplacedMemberGetsWhatComesBeforeItsTurn(t *testing.T) {
	for _, pieces := range []int{512, 1} {
		w := newWorld(t, 0)
		rl := w.addRelay(Config{Pieces: pieces})
		speaker := w.edge("speaker")
		speaker.channel(1, "speaker")
		speaker.linkTo(rl)
		w.settle()
		speaker.join(1, "g")
		w.settle()
		e := w.edge("e")
		for id := uint64(1); id <= 3; id++ {
			user := fmt.Sprint("u", id)
			e.sessions[id] = link.Session{ID: id, Endpoint: protocol.EndpointUser, User: user}
			e.topics[protocol.UserTopic(user)] = &heldTopic{position: protocol.Unplaced(0), members: []uint64{id}}
		}
		e.topics["group:g"] = &heldTopic{position: protocol.Unplaced(0), members: []uint64{1}}
		e.linkTo(rl)
		for range 4 { // these steps take Synced, and a page of history if one was asked for
			rl.step()
		}
		speaker.group(1, "g", "behind Synced")
		w.settle()
		e.saw(1, inGroupG("speaker", "behind Synced"))
	}
}

// In TestP5_ABrokerThatIsBackDuringATakingIsAsked, the broker comes back while the relay takes an
// edge's tables. In the next outage the edge's clients must reach each other.
func TestP5_ABrokerThatIsBackDuringATakingIsAsked(t *testing.T) {
	for _, pieces := range []int{1, 512} {
		w := newWorld(t, 0)
		first, rl := w.addRelay(Config{}), w.addRelay(Config{Pieces: pieces})
		e := w.edge("e")
		for id := uint64(1); id <= 10; id++ {
			e.channel(id, "u"+string(rune('a'+id)))
		}
		e.linkTo(first)
		w.settle()
		e.one(1, "x", "a number that another relay has finished")
		w.settle()
		e.quiet()
		e.cut()
		rl.leave(false)
		w.settle()
		e.linkTo(rl)
		rl.step()
		rl.step() // Flushed comes, with Heard false
		rl.comeBack()
		rl.step()
		rl.step()
		w.settle()
		w.wait(time.Second)
		w.wait(3 * time.Second)
		rl.leave(false)
		w.settle()
		clear(e.received)
		e.one(1, "ub", "in the next outage") // to session 1's own user
		e.one(1, "uc", "in the next outage")
		w.settle()
		w.wait(time.Second)
		if got := e.received[2]; len(got) != 1 {
			t.Errorf("%d pieces: session 2 got %q in the next outage", pieces, got)
		}
	}
}

// TestP6_AnEdgeStaysStrayedThoughItsTakingWasCut checks an edge that links to another relay and
// comes back. The edge's link is cut while its tables are taken. When the edge links again, the
// relay must still assume that members may have come while the edge was at the other relay.
func TestP6_AnEdgeStaysStrayedThoughItsTakingWasCut(t *testing.T) {
	w := newWorld(t, 0)
	rl, other := w.addRelay(Config{Pieces: 1}), w.addRelay(Config{})
	e := w.edge("e")
	for id := uint64(1); id <= 5; id++ {
		e.channel(id, "u"+string(rune('a'+id)))
	}
	e.linkTo(rl)
	w.settle()
	e.cut()
	e.linkTo(other)
	w.settle()
	e.cut()
	e.linkTo(rl) // the relay sets tables.strayed
	rl.step()
	rl.step()
	known := rl.router.directory.edges[e.instance]
	e.cut()
	e.linkTo(rl)
	w.settle()
	for _, f := range known.followers {
		if f.since != 0 {
			t.Errorf("%s: since %d, want 0: its members may have come at the other relay", f.topic.name, f.since)
		}
	}
}

// In TestP6_AnUnplacedUserGetsWhatComesBeforeItsTurn, an edge tells that a user's session is
// unplaced. The relay already follows the user's topic for another edge. A message to the user is
// published after Synced and before the turn of the session's follower. The session must get the
// message.
func TestP6_AnUnplacedUserGetsWhatComesBeforeItsTurn(t *testing.T) {
	for _, pieces := range []int{512, 1} {
		w := newWorld(t, 0)
		rl := w.addRelay(Config{Pieces: pieces})
		speaker := w.edge("speaker")
		speaker.channel(1, "speaker")
		speaker.channel(2, "u3") // the same user has a connection at another edge
		speaker.linkTo(rl)
		w.settle()
		e := w.edge("e")
		for id, user := range []string{1: "u1", 2: "u2", 3: "u3"} {
			if user != "" {
				e.sessions[uint64(id)] = link.Session{ID: uint64(id), Endpoint: protocol.EndpointChannel, User: user}
				e.topics[protocol.UserTopic(user)] = &heldTopic{position: protocol.Unplaced(0), members: []uint64{uint64(id)}}
				e.topics["all"] = nil
			}
		}
		delete(e.topics, "all")
		e.linkTo(rl)
		rl.step()
		rl.step()
		speaker.one(1, "u3", "behind Synced")
		w.settle()
		w.wait(time.Second)
		if len(e.received[3]) != 1 {
			t.Errorf("%d pieces: u3 at e got %q", pieces, e.received[3])
		}
	}
}
