package router

import (
	"slices"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
)

func TestLiveIsSaidOnceWhenNothingWasTold(t *testing.T) {
	w := newWorld(t, 1)
	e := w.edge("e")
	e.linkTo(w.relays[0])
	w.settle()
	e.channel(1, "u")
	w.wait(time.Second)
	if e.live != 1 {
		t.Errorf("%d times Live, want 1", e.live)
	}
}

// TestP4_LiveComesBehindWhatWasMissed checks that Live is sent after the publications that the edge
// missed. The relay must first subscribe to the topic and read history.
func TestP4_LiveComesBehindWhatWasMissed(t *testing.T) {
	w := newWorld(t, 2)
	e, other := w.edge("e"), w.edge("other")
	e.linkTo(w.relays[0])
	other.linkTo(w.relays[0])
	e.channel(1, "u")
	other.channel(1, "v")
	w.settle()
	e.cut()
	for range 3 {
		other.one(1, "u", "missed")
	}
	w.settle()
	clear(e.received)
	e.live = 0

	next := w.relays[1]
	var heldBack []broker.Event
	next.broker.onEvent = func(ev broker.Event) bool {
		if _, ok := ev.(broker.Subscribed); ok {
			heldBack = append(heldBack, ev)
			return false
		}
		return true
	}
	e.linkTo(next)
	w.settle()
	if e.live != 0 {
		t.Fatal("Live before the subscriptions are confirmed")
	}
	next.broker.onEvent = func(ev broker.Event) bool {
		if _, ok := ev.(broker.History); ok {
			heldBack = append(heldBack, ev)
			return false
		}
		return true
	}
	next.broker.held, heldBack = heldBack, nil
	w.settle()
	if e.live != 0 || len(e.received[1]) != 0 {
		t.Fatalf("%d times Live and %q before history was read", e.live, e.received[1])
	}
	next.broker.onEvent = nil
	next.broker.held = heldBack
	w.settle()
	if e.live != 1 {
		t.Errorf("%d times Live, want 1", e.live)
	}
	missed := "user v send:missed"
	e.saw(1, missed, missed, missed)
}

func TestLiveWaitsForNoTopicWhoseMembersHaveGone(t *testing.T) {
	w := newWorld(t, 1)
	e := w.edge("e")
	e.linkTo(w.relays[0])
	e.channel(1, "u")
	w.settle()
	e.cut()
	e.live = 0
	w.relays[0].broker.onEvent = func(ev broker.Event) bool { _, ok := ev.(broker.Subscribed); return !ok }
	next := w.addRelay(Config{})
	next.broker.onEvent = func(ev broker.Event) bool { _, ok := ev.(broker.Subscribed); return !ok }
	e.linkTo(next)
	w.settle()
	e.end(1)
	w.settle()
	if e.live != 1 {
		t.Errorf("%d times Live, want 1: nobody is left to wait for", e.live)
	}
}

func TestLiveIsNotSaidWhileTheBrokerIsAway(t *testing.T) {
	w := newWorld(t, 1)
	rl := w.relays[0]
	rl.broker.held = []broker.Event{broker.State{Away: true}}
	e := w.edge("e")
	w.settle()
	e.linkTo(rl)
	w.settle()
	if e.live != 0 {
		t.Error("Live while nobody can know")
	}
	rl.broker.held = []broker.Event{broker.State{}}
	w.settle()
	if e.live != 1 {
		t.Errorf("%d times Live, want 1", e.live)
	}
}

func TestEveryEdgeIsAskedToMoveOnce(t *testing.T) {
	w := newWorld(t, 1)
	rl := w.relays[0]
	e, late := w.edge("e"), w.edge("late")
	e.linkTo(rl)
	w.settle()
	rl.inputs = append(rl.inputs, move{time.Second})
	w.settle()
	late.linkTo(rl) // its handshake was under way when e was asked to move
	e.channel(1, "u")
	e.one(1, "u", "as before")
	w.wait(time.Second)
	if got := []int{e.drains, late.drains}; !slices.Equal(got, []int{1, 1}) {
		t.Errorf("%v times Drain, want once each", got)
	}
	e.saw(1, "user u send:as before")
}

// TestP2_ARelayThatStopsDoesNotWaitForEdgesThatMoved checks that Router.unfinished does not count
// the frames of an edge that moved, since the edge has sent them elsewhere.
func TestP2_ARelayThatStopsDoesNotWaitForEdgesThatMoved(t *testing.T) {
	w := newWorld(t, 2)
	e := w.edge("e")
	e.linkTo(w.relays[0])
	e.channel(1, "u")
	w.settle()
	// Publishes are never answered.
	w.relays[0].broker.onPublish = func(broker.Publish) bool { return false }
	e.one(1, "u", "x")
	w.settle()
	if n := w.relays[0].router.unfinished(); n != 1 {
		t.Fatalf("%d unfinished, want 1", n)
	}
	e.moveTo(w.relays[1])
	w.settle()
	if n := w.relays[0].router.unfinished(); n != 0 {
		t.Errorf("%d unfinished after the edge has moved", n)
	}
	e.saw(1, "user u send:x")
	if e.old != nil {
		t.Error("no Live on the new link")
	}
}

// In TestP4_WhatTheOldRelayHasYetToReceiveIsNotLostByAMove, an original server publishes a message
// before the new relay subscribes. The old relay receives the message only after Live came on the
// new link. It must still deliver the message.
func TestP4_WhatTheOldRelayHasYetToReceiveIsNotLostByAMove(t *testing.T) {
	w := newWorld(t, 2)
	old, next := w.relays[0], w.relays[1]
	e := w.edge("e")
	e.linkTo(old)
	e.channel(1, "u")
	w.settle()
	late := true
	old.broker.onEvent = func(ev broker.Event) bool {
		if late {
			old.broker.held = append(old.broker.held, ev)
		}
		return !late
	}
	w.store.PublishBare("all", "v", "late")
	e.moveTo(next)
	for range 5 {
		for _, rl := range w.relays {
			rl.step()
		}
	}
	if e.live != 2 || e.old == nil {
		t.Fatalf("%d times Live, the old link is there: %v", e.live, e.old != nil)
	}
	late = false
	w.settle()
	if e.old != nil {
		t.Error("the old relay did not end its link")
	}
	e.saw(1, "user 【v】 send all:late")
}

// TestP3_ARelayWhoseBrokerDoesNotAnswerLetsItsEdgesGo checks that a relay ends the link of an edge
// that moved, even if the broker does not answer the Flush.
func TestP3_ARelayWhoseBrokerDoesNotAnswerLetsItsEdgesGo(t *testing.T) {
	w := newWorld(t, 2)
	e := w.edge("e")
	e.linkTo(w.relays[0])
	e.channel(1, "u")
	w.settle()
	w.relays[0].broker.onEvent = func(ev broker.Event) bool { _, ok := ev.(broker.Flushed); return !ok }
	e.moveTo(w.relays[1])
	w.settle()
	if e.old == nil {
		t.Fatal("the old relay did not wait")
	}
	w.wait(leaveWait)
	if e.old != nil {
		t.Error("the old relay waits for ever")
	}
}
