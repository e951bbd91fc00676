package router

import (
	"testing"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// In TestP2_WhoLeavesAndComesBackIsSentNothingTwice, an edge replays a leave and a join. Before the
// broker answers them, somebody else sends a message, and the member gets it. When the join takes
// effect, the relay must not send the message again.
func TestP2_WhoLeavesAndComesBackIsSentNothingTwice(t *testing.T) {
	w := newWorld(t, 2)
	here, there := w.relays[0], w.relays[1]
	a, b := pair(w, here, there)
	a.deaf = true
	a.leave(1, "g")
	a.join(1, "g")
	w.settle()
	var answers []broker.Event
	there.broker.onEvent = func(ev broker.Event) bool {
		if _, ok := ev.(broker.Published); ok {
			answers = append(answers, ev)
			return false
		}
		return true
	}
	a.linkTo(there)
	w.settle()
	clear(a.frames)
	b.group(2, "g", "x")
	w.settle()
	there.broker.onEvent = nil
	there.broker.held = answers
	w.settle()
	a.saw(1, inGroupG("2", "x"), protocol.LeaveText("1", "g"), protocol.JoinText("1", "g"))
	if n := a.frames["group:g"]; n != 1 {
		t.Errorf("the message was sent %d times, want once", n)
	}
	a.quiet()
}

// In TestP6_AnothersHistoryTellsNothingAhead, a relay reads a page of history for one edge. The
// page has publications that the relay has not heard yet. Among them are the notices of a join and
// a leave at other edges. The notices take effect only when the relay hears them. So the new member
// is not given messages from before its join. The leaving member still gets messages from before
// its leave.
func TestP6_AnothersHistoryTellsNothingAhead(t *testing.T) {
	w := newWorld(t, 0)
	rl := w.addRelay(Config{TailLength: 1})
	a, b := pair(w, rl, rl)
	c := w.edge("c")
	c.linkTo(rl)
	c.channel(3, "3")
	b.channel(4, "4")
	w.settle()
	c.join(3, "g")
	w.settle()
	a.deaf = true
	for _, text := range []string{"one", "two", "three"} {
		b.group(2, "g", text)
	}
	w.settle()
	clear(c.received)
	rl.broker.slow = true
	b.group(2, "g", "before")
	w.settle()
	d := w.edge("d")
	d.linkTo(rl)
	d.channel(5, "5")
	c.leave(3, "g")
	w.settle()
	b.join(4, "g")
	w.settle()
	histories := rl.broker.histories
	a.linkTo(rl)
	w.settle()
	if rl.broker.histories == histories {
		t.Fatal("no history was read")
	}
	rl.broker.slow = false
	w.settle()
	c.saw(3, inGroupG("2", "before"), protocol.LeaveText("3", "g"))
	b.saw(4, protocol.JoinText("4", "g"))
	b.quiet()
	c.quiet()
}

// In TestP5_ALeaveIsNotGivenAheadOfItsJoin, a join is known to be published when Redis goes away.
// At that moment the join still waits until its topic is subscribed again. The leave that follows
// must take effect after the join.
func TestP5_ALeaveIsNotGivenAheadOfItsJoin(t *testing.T) {
	w := newWorld(t, 1)
	rl := w.relays[0]
	a := w.edge("a")
	a.linkTo(rl)
	a.channel(1, "1")
	w.settle()
	a.deaf = true
	a.join(1, "g")
	w.settle() // the join is published and heard
	var answer []broker.Event
	rl.broker.onEvent = func(ev broker.Event) bool {
		if _, ok := ev.(broker.Published); ok {
			answer = append(answer, ev)
			return false
		}
		return true
	}
	a.linkTo(rl)
	w.settle()
	rl.broker.onEvent = nil
	if len(answer) != 1 {
		t.Fatalf("%d answers to the join's replay, want 1", len(answer))
	}
	rl.broker.onPublish = func(broker.Publish) bool { return false }
	a.leave(1, "g")
	w.settle()
	rl.broker.held = append([]broker.Event{broker.Deaf{All: true}}, answer...)
	rl.broker.held = append(rl.broker.held, broker.State{Away: true, Cause: errAway})
	w.settle()
	for token := range rl.router.requests.publishes {
		rl.broker.held = append(rl.broker.held, broker.Published{Token: token, Err: errAway})
	}
	rl.broker.onPublish = nil
	w.settle()
	rl.undeafen()
	w.settle()
	w.wait(paceFor)
	a.saw(1, protocol.JoinText("1", "g"), protocol.LeaveText("1", "g"))
	if rl.router.directory.topics["group:g"] != nil {
		t.Error("the group is followed yet")
	}
	a.quiet()
}

// In TestWhoLeavesAndJoinsAgainIsNotTooMany, a session is a member of as many topics as a session
// may be. The session must be able to leave a group and join it again at once.
func TestWhoLeavesAndJoinsAgainIsNotTooMany(t *testing.T) {
	w := newWorld(t, 0)
	rl := w.addRelay(Config{MaxGroups: 3}) // the session's own two topics included
	a := w.edge("a")
	a.linkTo(rl)
	a.channel(1, "1")
	a.join(1, "g")
	w.settle()
	a.leave(1, "g")
	a.join(1, "g")
	w.settle()
	join, leave := protocol.JoinText("1", "g"), protocol.LeaveText("1", "g")
	a.saw(1, join, leave, join)
	a.quiet()
}

// In TestP8_NothingIsKeptOfATopicThatNobodyFollows, an edge replays a join and a leave at a new
// relay. The former relay publishes both. The new relay loses the two echoes. It puts the join and
// the leave in effect when it hears a later message. After that, the topic has no followers at the
// new relay, and this relay must keep nothing of the topic.
func TestP8_NothingIsKeptOfATopicThatNobodyFollows(t *testing.T) {
	w := newWorld(t, 2)
	here, there := w.relays[0], w.relays[1]
	a, b := w.edge("a"), w.edge("b")
	b.linkTo(there)
	b.channel(2, "2")
	a.linkTo(there)
	a.channel(1, "1")
	b.join(2, "g")
	w.settle()
	hold := func(rl *testRelay) {
		rl.broker.published = nil
		rl.broker.onPublish = func(broker.Publish) bool { return false }
	}
	hold(there)
	a.join(1, "g")
	a.leave(1, "g")
	w.settle()
	hold(here)
	a.linkTo(here)
	w.settle()
	lost := 0
	here.broker.onEvent = func(ev broker.Event) bool {
		if p, ok := ev.(broker.Received); ok && p.Publication.Topic == "group:g" {
			lost++
			return lost > 2
		}
		return true
	}
	for _, rl := range []*testRelay{there, here} {
		rl.broker.onPublish = nil
		for _, p := range rl.broker.published {
			rl.broker.Handle.Publish(p)
		}
		w.settle()
	}
	b.group(2, "g", "x")
	w.settle()
	a.saw(1, protocol.JoinText("1", "g"), protocol.LeaveText("1", "g"))
	if n := here.router.tails.bytes; n != 0 {
		t.Errorf("%d bytes are kept", n)
	}
	a.quiet()
}
