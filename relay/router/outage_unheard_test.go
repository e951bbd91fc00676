package router

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
)

// In TestP1_ADeafTopicIsNotHeardOut, the broker comes back, and goes away again before it has
// confirmed the subscriptions. In between the broker answers the relay's Flush with Heard. The
// relay still lacks an earlier message of an edge. So the relay must not give the edge's next
// message ahead. The package redisbroker can bring the events in this order: it sends Subscribed
// only when the tops are read, and State and Flushed may come earlier.
func TestP1_ADeafTopicIsNotHeardOut(t *testing.T) {
	w := newWorld(t, 2)
	here, there := w.relays[0], w.relays[1]
	a, b := pair(w, there, here) // edge a is at the healthy relay
	here.leave(false)
	w.settle()
	a.group(1, "g", "1") // the healthy relay publishes this message, and acknowledges it
	w.settle()
	a.linkTo(here)
	w.settle()
	// The broker is back, and is away again before the topics' Subscribed comes.
	here.broker.onEvent = func(ev broker.Event) bool { _, sub := ev.(broker.Subscribed); return !sub }
	here.comeBack()
	w.settle()
	here.leave(false)
	w.settle()
	here.broker.onEvent = nil
	a.group(1, "g", "2")
	w.settle()
	b.saw(2)
	here.comeBack()
	w.settle()
	w.wait(paceFor)
	b.saw(2, inGroupG("1", "1"), inGroupG("1", "2"))
}

// TestP5_ATopicIsKeptWhileTheBrokerIsAway checks that a topic to which messages were given ahead is
// kept until the broker is back, even if nobody follows the topic any more. When these messages are
// published, members who joined later must not be given them.
func TestP5_ATopicIsKeptWhileTheBrokerIsAway(t *testing.T) {
	w := newWorld(t, 1)
	rl := w.relays[0]
	a, b := w.edge("a"), w.edge("b")
	a.linkTo(rl)
	b.linkTo(rl)
	a.channel(1, "1")
	b.channel(2, "2")
	w.settle()
	rl.leave(false)
	w.settle()
	a.join(1, "g")
	a.group(1, "g", "old")
	a.leave(1, "g")
	w.settle()
	b.join(2, "g")
	w.settle()
	a.join(1, "g")
	a.group(1, "g", "new")
	w.settle()
	rl.comeBack()
	w.settle()
	w.wait(paceFor)
	b.saw(2, joined("2", "g"), inGroupG("1", joined("1", "g")), inGroupG("1", "new"))
}

// TestP1_WhoComesLaterGetsWhatWaitedForNobodyInOrder checks direct messages that wait, during an
// outage, for a user who is not connected. When the user connects later, it gets the messages in
// order.
func TestP1_WhoComesLaterGetsWhatWaitedForNobodyInOrder(t *testing.T) {
	w := newWorld(t, 1)
	rl := w.relays[0]
	a, b := w.edge("a"), w.edge("b")
	a.linkTo(rl)
	b.linkTo(rl)
	a.channel(1, "1")
	w.settle()
	rl.leave(false)
	w.settle()
	// 70 messages are more than a quarter of a history. So when the broker is back, the last of
	// them wait until the pacing ends.
	for i := range 70 {
		a.one(1, "2", fmt.Sprint("old", i))
	}
	w.settle()
	b.channel(2, "2")
	w.settle()
	a.one(1, "2", "new")
	w.settle()
	rl.comeBack()
	w.settle()
	w.wait(paceFor)
	var want []string
	for i := range 70 {
		want = append(want, fmt.Sprint("user 1 send:old", i))
	}
	b.saw(2, append(want, "user 1 send:new")...)
}

// In TestP5_AnEchoWhileTheBrokerIsAwayWakesTheLane, publishing fails while subscriptions are in
// force. Lanes wait for the echo of an earlier message. When the echo comes, they must go on.
func TestP5_AnEchoWhileTheBrokerIsAwayWakesTheLane(t *testing.T) {
	w := newWorld(t, 1)
	rl := w.relays[0]
	a, b := pair(w, rl, rl)
	b.channel(4, "4")
	w.settle()
	var late []broker.Event
	rl.broker.onEvent = func(ev broker.Event) bool {
		if _, ok := ev.(broker.Received); ok {
			late = append(late, ev)
			return false
		}
		return true
	}
	a.group(1, "g", "1")
	w.settle()
	a.quiet()
	rl.broker.onEvent = nil
	rl.broker.onPublish = func(p broker.Publish) bool {
		rl.broker.held = append(rl.broker.held, broker.Published{Token: p.Token, Err: errAway})
		return false
	}
	rl.broker.held = append(rl.broker.held, broker.State{Away: true, Cause: errAway})
	w.settle()
	a.group(1, "g", "2")
	b.join(4, "g")
	w.settle()
	rl.broker.held = append(rl.broker.held, late...) // the echo comes after all
	w.settle()
	w.wait(time.Minute)
	b.saw(2, inGroupG("1", "1"), inGroupG("1", "2"), inGroupG("4", joined("4", "g")))
	b.saw(4, joined("4", "g"))
}

// TestP5_AnEdgeThatIsHeardOutWhileTheBrokerIsAwayIsServed links an edge to a relay whose
// subscriptions are in force, but which cannot publish. The edge's message and join must be given
// ahead there.
func TestP5_AnEdgeThatIsHeardOutWhileTheBrokerIsAwayIsServed(t *testing.T) {
	w := newWorld(t, 2)
	here, there := w.relays[0], w.relays[1]
	a, b := pair(w, there, here)
	a.channel(4, "4")
	w.settle()
	clear(b.received)
	here.broker.onPublish = func(p broker.Publish) bool {
		here.broker.held = append(here.broker.held, broker.Published{Token: p.Token, Err: errAway})
		return false
	}
	here.broker.held = append(here.broker.held, broker.State{Away: true, Cause: errAway})
	w.settle()
	a.linkTo(here)
	a.group(1, "g", "2")
	a.join(4, "g")
	w.settle()
	w.wait(time.Minute)
	b.saw(2, inGroupG("1", "2"), inGroupG("4", joined("4", "g")))
	a.saw(4, joined("4", "g"))
}

// In TestP5_WhatWasNotHeardIsAskedForAgain, the broker answers a Flush with Heard false, although
// the broker is not away. The relay must then flush again.
func TestP5_WhatWasNotHeardIsAskedForAgain(t *testing.T) {
	w := newWorld(t, 2)
	here, there := w.relays[0], w.relays[1]
	a, b := pair(w, there, here)
	here.broker.onEvent = func(ev broker.Event) bool {
		if f, ok := ev.(broker.Flushed); ok && f.Heard {
			here.broker.held = append(here.broker.held, broker.Flushed{Token: f.Token})
			return false
		}
		return true
	}
	a.linkTo(here) // the Flush is answered as if the subscriber's connection were lost
	w.settle()
	here.broker.onEvent = nil
	w.wait(time.Hour)
	here.leave(false)
	w.settle()
	a.group(1, "g", "x")
	w.settle()
	b.saw(2, inGroupG("1", "x"))
}

// In TestP7_WhoJoinsAndLeavesCostsItsLinkLittle, one client joins and leaves again and again. The
// relay must not send the tail each time.
func TestP7_WhoJoinsAndLeavesCostsItsLinkLittle(t *testing.T) {
	w := newWorld(t, 1)
	rl := w.relays[0]
	a, b := pair(w, rl, rl)
	b.leave(2, "g")
	w.settle()
	rl.leave(false)
	w.settle()
	for range 4 {
		// The four messages have 240 KiB together, which is about a user's share of a log.
		a.group(1, "g", strings.Repeat("x", 60<<10))
	}
	w.settle()
	b.bytes = 0
	for range 500 { // 1000 commands: 10 s of EDGE_RATE, or one burst
		b.join(2, "g")
		b.leave(2, "g")
	}
	w.settle()
	if b.bytes > 1<<20 {
		t.Errorf("%d KiB to edge b for 1000 commands of one client", b.bytes>>10)
	}
}

// In TestP6_APlaceIsNotBehindThePageItWasLookedForIn, a relay looks for a member's place in a page
// of history. The member's former relay publishes the join only after the page was read. The place
// is then the end of the page, so the member misses nothing after it.
func TestP6_APlaceIsNotBehindThePageItWasLookedForIn(t *testing.T) {
	w := newWorld(t, 2)
	here, there := w.relays[0], w.relays[1]
	a := w.edge("a")
	a.linkTo(here)
	a.channel(1, "1")
	x := w.edge("x")
	x.linkTo(there)
	x.channel(9, "9")
	w.settle()
	x.join(9, "g")
	w.settle()
	here.leave(false)
	w.settle()
	a.join(1, "g")
	w.settle()
	a.saw(1, joined("1", "g"))
	// Now edge a links to its new relay. Its former relay does not know this yet, and gets its
	// broker back at this moment.
	var page []broker.Event
	there.broker.onEvent = func(ev broker.Event) bool {
		if h, ok := ev.(broker.History); ok {
			page = append(page, h)
			return false
		}
		return true
	}
	a.linkTo(there)
	there.step()
	there.step()
	here.comeBack()
	w.settle() // the former relay publishes the join
	x.group(9, "g", "hello")
	w.settle()
	there.broker.onEvent = nil
	if len(page) == 0 {
		t.Fatal("no page was asked for")
	}
	there.broker.held = append(there.broker.held, page...)
	w.settle()
	w.wait(paceFor)
	a.saw(1, inGroupG("9", "hello"))
	a.quiet()
}

// In TestP1_AReceiverThatMovesHereGetsAllInOrder, a message is sent while its receiver is at
// another relay. The sender's relay cannot publish, although its subscriptions are in force. Then
// the receiver's edge moves to the sender's relay, and the next message is sent. The receiver must
// get both messages in order.
func TestP1_AReceiverThatMovesHereGetsAllInOrder(t *testing.T) {
	w := newWorld(t, 2)
	here, there := w.relays[0], w.relays[1]
	a, b := w.edge("a"), w.edge("b")
	a.linkTo(here)
	b.linkTo(there)
	a.channel(1, "1")
	b.channel(2, "2")
	w.settle()
	here.broker.onPublish = func(p broker.Publish) bool {
		here.broker.held = append(here.broker.held, broker.Published{Token: p.Token, Err: errAway})
		return false
	}
	here.broker.held = append(here.broker.held, broker.State{Away: true, Cause: errAway})
	w.settle()
	a.one(1, "2", "first")
	w.settle()
	b.moveTo(here)
	w.settle()
	a.one(1, "2", "second")
	w.settle()
	here.broker.onPublish = nil
	here.broker.held = append(here.broker.held, broker.State{})
	w.settle()
	w.wait(paceFor)
	b.saw(2, "user 1 send:first", "user 1 send:second")
}

// In TestP1_AnUnplacedReceiverThatMovesHereGetsAllInOrder, the broker is away from two relays. A
// receiver connects at one of them, and messages are sent to it at the other one. Then the
// receiver's edge links to the relay of the sender, and one more message is sent. If the receiver
// gets several messages, the last one sent must not come first.
func TestP1_AnUnplacedReceiverThatMovesHereGetsAllInOrder(t *testing.T) {
	w := newWorld(t, 2)
	here, there := w.relays[0], w.relays[1]
	a, b := w.edge("a"), w.edge("b")
	a.linkTo(here)
	b.linkTo(there)
	a.channel(1, "1")
	w.settle()
	here.leave(false)
	there.leave(false)
	w.settle()
	b.channel(2, "2")
	w.settle()
	for i := range 70 {
		a.one(1, "2", fmt.Sprint("first", i))
	}
	w.settle()
	w.kill(there)
	b.linkTo(here)
	w.settle()
	a.one(1, "2", "second")
	w.settle()
	here.comeBack()
	w.settle()
	w.wait(paceFor)
	if got := b.received[2]; len(got) > 1 && got[0] == "user 1 send:second" {
		t.Errorf("%d messages, the last one first", len(got))
	}
}

// In TestP6_ANoticeWhoseEchoIsLostWithItsHistoryTakesEffect, the notice of a join is published and
// answered. The echo of the notice is lost, and Redis comes back empty. The join must take effect
// all the same.
func TestP6_ANoticeWhoseEchoIsLostWithItsHistoryTakesEffect(t *testing.T) {
	w := newWorld(t, 1)
	empty := w.store.Save()
	rl := w.relays[0]
	a := w.edge("a")
	a.linkTo(rl)
	a.channel(1, "1")
	w.settle()
	rl.broker.onEvent = exceptEchoes
	a.join(1, "g")
	w.settle()
	rl.leave(false)
	w.settle()
	rl.broker.onEvent = nil
	w.store.Load(empty)
	rl.comeBack()
	w.settle()
	for range 100 {
		w.wait(10 * time.Second)
	}
	a.one(1, "1", "am I heard?")
	w.settle()
	// Only the session's own notice is known to be lost. The session begins after that notice, so
	// it is told of no loss.
	a.saw(1, joined("1", "g"), "user 1 send:am I heard?")
	a.quiet()
}

// In TestP5_WhatWasNotHeardIsGivenAheadFirst, a message is published while the subscriptions are
// deaf and nobody has noticed that. Then the broker goes away. The unheard message, and later ones
// on its topic, must be given ahead.
func TestP5_WhatWasNotHeardIsGivenAheadFirst(t *testing.T) {
	w := newWorld(t, 1)
	rl := w.relays[0]
	a, b := pair(w, rl, rl)
	b.channel(4, "4")
	w.settle()
	rl.broker.onEvent = exceptEchoes
	// The message is published and not heard, since the connection of the subscriber is dead.
	a.group(1, "g", "1")
	w.settle()
	rl.leave(false)
	w.settle()
	for range 20 {
		a.group(1, "g", "2")
		w.wait(time.Minute)
	}
	b.join(4, "g")
	w.settle()
	if n := len(b.received[2]); n != 22 { // the unheard message, the 20 after it, and the join
		t.Errorf("%d messages in 20 minutes", n)
	}
	b.saw(4, joined("4", "g"))
}

// In TestP5_ANoticeWhoseEchoIsLostTakesEffect, the notice of a join is published and answered, and
// its echo is lost. Redis loses nothing. The join must be answered during the outage.
func TestP5_ANoticeWhoseEchoIsLostTakesEffect(t *testing.T) {
	w := newWorld(t, 1)
	rl := w.relays[0]
	a := w.edge("a")
	a.linkTo(rl)
	a.channel(1, "1")
	w.settle()
	rl.broker.onEvent = exceptEchoes
	a.join(1, "g")
	w.settle()
	rl.leave(false)
	w.settle()
	w.wait(time.Hour)
	a.one(1, "1", "am I heard?")
	w.settle()
	a.saw(1, joined("1", "g"), "user 1 send:am I heard?")
}

// TestP5_WhoIsBehindWhenItBeginsCatchesUp renews an edge's link after Deaf and before the broker
// goes away. The edge is then behind, and must be advanced although the broker is away.
func TestP5_WhoIsBehindWhenItBeginsCatchesUp(t *testing.T) {
	w := newWorld(t, 1)
	rl := w.relays[0]
	a, b := pair(w, rl, rl)
	rl.broker.held = append(rl.broker.held, broker.Deaf{All: true})
	w.settle()
	b.linkTo(rl) // as if its link had been cut
	w.settle()
	rl.leave(false)
	w.settle()
	b.channel(4, "4")
	b.join(4, "g")
	w.settle()
	for range 10 {
		a.group(1, "g", "x")
		w.wait(time.Minute)
	}
	if n := len(b.received[2]); n < 10 {
		t.Errorf("%d messages in 10 minutes", n)
	}
	if got := b.received[4]; len(got) != 11 || got[0] != joined("4", "g") {
		t.Errorf("who joined got %q", got)
	}
}

// In TestP5_AConnectWhileItsEdgeIsBehindIsBound, a connect comes while its edge is behind on a
// topic. The session must be bound when the edge has caught up, even while the broker is away.
func TestP5_AConnectWhileItsEdgeIsBehindIsBound(t *testing.T) {
	w := newWorld(t, 1)
	rl := w.relays[0]
	a, b := pair(w, rl, rl)
	rl.leave(false)
	w.settle()
	b.stuck = 8 << 20
	a.say(1, `{"MsgBody":"to all"}`)
	w.settle()
	b.channel(5, "5")
	w.settle()
	b.stuck = 0
	w.wait(time.Minute)
	b.saw(2, "user 【1】 send all:to all")
	a.one(1, "5", "x")
	w.wait(time.Minute)
	b.saw(5, "user 1 send:x")
}

// TestP1_LinkingTwiceMakesNoEdgeWhole links an edge twice to a relay whose broker is away. The
// relay lacks a message that the edge sent through another relay. So the relay must not give the
// edge's next message ahead, even on the second link.
func TestP1_LinkingTwiceMakesNoEdgeWhole(t *testing.T) {
	w := newWorld(t, 2)
	here, there := w.relays[0], w.relays[1]
	a, b := w.edge("a"), w.edge("b")
	a.linkTo(there)
	b.linkTo(here)
	a.channel(1, "1")
	b.channel(2, "2")
	w.settle()
	here.leave(false)
	w.settle()
	there.broker.onPublish = func(p broker.Publish) bool {
		if p.Msg != "stuck" {
			return true
		}
		there.broker.held = append(there.broker.held, broker.Published{Token: p.Token, Err: errAway})
		return false
	}
	a.one(1, "zz", "stuck")
	a.say(1, `{"MsgBody":"first"}`)
	w.settle()
	if len(a.log) != 1 {
		t.Fatal("not as meant", a.log)
	}
	a.linkTo(here)
	a.say(1, `{"MsgBody":"second"}`)
	w.settle()
	b.saw(2)
	a.linkTo(here)
	w.settle()
	b.saw(2)
	here.comeBack()
	w.settle()
	w.wait(paceFor)
	b.saw(2, "user 【1】 send all:first", "user 【1】 send all:second")
}
