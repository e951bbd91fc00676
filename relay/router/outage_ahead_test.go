package router

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

func inGroupG(user, msg string) string { return "group 【g】 user 【" + user + "】 send:" + msg }

func joined(user, g string) string { return "user 【" + user + "】 add to group 【" + g + "】" }

// TestP5_EdgesOfOneRelayTalkWhileTheBrokerIsAway checks that the edges of one relay reach each
// other while the broker is away. When the broker is back, each message must be published once, and
// nobody may be given a message twice.
func TestP5_EdgesOfOneRelayTalkWhileTheBrokerIsAway(t *testing.T) {
	w := newWorld(t, 2)
	here, there := w.relays[0], w.relays[1]
	a, b := pair(w, here, here)
	c := w.edge("c")
	c.linkTo(there)
	c.channel(3, "3")
	w.settle()
	c.join(3, "g")
	w.settle()
	clear(a.received)
	clear(b.received)
	clear(c.received)

	here.leave(false)
	w.settle()
	a.one(1, "2", "direct")
	a.group(1, "g", "to the group")
	a.say(1, `{"MsgBody":"to all"}`)
	w.settle()
	want := []string{"user 1 send:direct", inGroupG("1", "to the group"), "user 【1】 send all:to all"}
	b.saw(2, want...)
	c.saw(3)
	if len(a.log) != 3 {
		t.Errorf("%d frames in the log, want 3: none is finished", len(a.log))
	}

	here.comeBack()
	w.settle()
	w.wait(paceFor)
	b.saw(2)
	// The relay publishes these two messages in the order of their topics' names. No order between
	// topics is promised.
	c.saw(3, want[2], want[1])
	a.quiet()
}

// TestP5_JoinsAndLeavesAreInForceWhileTheBrokerIsAway checks that a join, a leave and a connect
// take effect on their relay while the broker is away. The notices of the join and the leave are
// published afterwards.
func TestP5_JoinsAndLeavesAreInForceWhileTheBrokerIsAway(t *testing.T) {
	w := newWorld(t, 2)
	here, there := w.relays[0], w.relays[1]
	a, b := pair(w, here, here)
	c := w.edge("c")
	c.linkTo(there)
	c.channel(3, "3")
	w.settle()
	c.join(3, "g")
	c.join(3, "new")
	w.settle()
	for _, e := range w.edges {
		clear(e.received)
	}

	here.leave(false)
	w.settle()
	b.channel(4, "4")
	b.join(4, "g")
	b.join(4, "new")
	b.group(4, "new", "anybody?")
	w.settle()
	b.saw(4, joined("4", "g"), joined("4", "new"))
	d := w.edge("d") // the client of edge d comes after these messages
	d.linkTo(here)
	d.channel(5, "5")
	d.join(5, "new")
	w.settle()
	d.saw(5, joined("5", "new"))
	b.saw(4, "group 【new】 user 【5】 send:"+joined("5", "new"))
	b.saw(2, inGroupG("4", joined("4", "g")))
	a.saw(1, inGroupG("4", joined("4", "g")))
	a.group(1, "g", "welcome")
	a.one(1, "4", "psst")
	w.settle()
	b.saw(4, inGroupG("1", "welcome"), "user 1 send:psst")
	b.leave(4, "g")
	b.group(4, "g", "am I in?")
	a.group(1, "g", "gone?")
	w.settle()
	b.saw(4, "user 【4】 leave group 【g】", "user 【4】 not in 【g】")
	b.saw(2, inGroupG("1", "welcome"), inGroupG("4", "user 【4】 leave group 【g】"), inGroupG("1", "gone?"))
	a.saw(1, inGroupG("4", "user 【4】 leave group 【g】"))
	c.saw(3)

	here.comeBack()
	w.settle()
	w.wait(paceFor)
	for _, e := range []*testEdge{a, b} {
		for id := range e.sessions {
			e.saw(id)
		}
		e.quiet()
	}
	d.saw(5)
	got := c.received[3]
	slices.Sort(got) // there is no order between topics or between edges
	wantC := []string{inGroupG("4", joined("4", "g")), inGroupG("4", "user 【4】 leave group 【g】"), inGroupG("1", "welcome"), inGroupG("1", "gone?"),
		"group 【new】 user 【4】 send:" + joined("4", "new"), "group 【new】 user 【4】 send:anybody?", "group 【new】 user 【5】 send:" + joined("5", "new")}
	slices.Sort(wantC)
	if !slices.Equal(got, wantC) {
		t.Errorf("the other relay's member got %q, want %q", got, wantC)
	}
}

// TestP5_AfterAChangeOfRelayNothingIsGivenAgain kills the relay of two edges during an outage. The
// killed relay has given messages ahead. Another relay must not give these messages to the same
// clients again. A message that a member sent before it left the group must be published.
func TestP5_AfterAChangeOfRelayNothingIsGivenAgain(t *testing.T) {
	w := newWorld(t, 2)
	here, there := w.relays[0], w.relays[1]
	a, b := pair(w, here, here)
	here.leave(false)
	there.leave(false)
	w.settle()
	a.group(1, "g", "1")
	a.group(1, "g", "2")
	a.leave(1, "g")
	w.settle()
	left := "user 【1】 leave group 【g】"
	b.saw(2, inGroupG("1", "1"), inGroupG("1", "2"), inGroupG("1", left))
	a.saw(1, left)

	w.kill(here)
	a.linkTo(there)
	b.linkTo(there)
	w.settle()
	a.group(1, "g", "not a member")
	w.settle()
	there.comeBack()
	w.settle()
	w.wait(paceFor)
	b.saw(2)
	a.saw(1, "user 【1】 not in 【g】")
	a.quiet()
	published := map[string]int{}
	for _, p := range there.broker.published {
		published[p.Msg]++
	}
	for _, msg := range []string{"1", "2", left} {
		if published[msg] == 0 {
			t.Errorf("%q was not published; %v were", msg, published)
		}
	}
}

// TestP1_AnEdgeFromElsewhereWaitsForTheBroker links an edge to a relay whose broker is away. The
// relay must not give the edge's next message ahead. The relay may lack an earlier message, which
// the edge sent through another relay.
func TestP1_AnEdgeFromElsewhereWaitsForTheBroker(t *testing.T) {
	w := newWorld(t, 2)
	here, there := w.relays[0], w.relays[1]
	a, b := pair(w, there, here)
	here.leave(false) // the other relay keeps its broker
	w.settle()
	a.group(1, "g", "1")
	w.settle()
	w.kill(there)
	a.linkTo(here)
	w.settle()
	a.group(1, "g", "2")
	w.settle()
	b.saw(2)
	here.comeBack()
	w.settle()
	w.wait(paceFor)
	b.saw(2, inGroupG("1", "1"), inGroupG("1", "2"))
}

// In TestP6_WhoCameElsewhereWhileItWasAwayIsNotGivenWhatIsOlder, a member joins a group at a relay
// that does not know the position of the group's topic. Then the member's edge links to a second
// relay, whose tail has messages from before the join. The broker is away from both relays. The
// member must not be given these messages.
func TestP6_WhoCameElsewhereWhileItWasAwayIsNotGivenWhatIsOlder(t *testing.T) {
	w := newWorld(t, 2)
	here, there := w.relays[0], w.relays[1]
	a, _ := pair(w, here, here)
	a.group(1, "g", "old")
	w.settle()
	there.leave(false)
	w.settle()
	c := w.edge("c")
	c.linkTo(there)
	c.channel(3, "3")
	c.join(3, "g")
	w.settle()
	c.saw(3, joined("3", "g"))
	here.leave(false)
	w.settle()
	w.kill(there)
	c.linkTo(here)
	w.settle()
	a.group(1, "g", "new")
	w.settle()
	c.saw(3)
	here.comeBack()
	w.settle()
	w.wait(paceFor)
	// No promise says whether c's client gets "new".
	clear(c.received)
	a.group(1, "g", "newer")
	w.settle()
	c.saw(3, inGroupG("1", "newer"))
}

// TestP1_WhoKnowsMoreThanTheRelayWaitsForTheBroker links an edge to a relay that has received less
// of a topic than the edge. The relay has given messages ahead. It must not send these messages to
// the edge, since they may be older than messages that the edge's members already have.
func TestP1_WhoKnowsMoreThanTheRelayWaitsForTheBroker(t *testing.T) {
	w := newWorld(t, 2)
	here, there := w.relays[0], w.relays[1]
	pair(w, here, here)
	c, d := w.edge("c"), w.edge("d")
	c.linkTo(there)
	d.linkTo(here)
	d.channel(5, "5")
	w.settle()
	d.join(5, "g")
	w.settle()
	here.leave(false)
	w.settle()
	d.group(5, "g", "1")
	w.settle()
	d.linkTo(there)
	w.settle()
	c.channel(4, "4")
	c.join(4, "g")
	w.settle()
	d.group(5, "g", "2")
	w.settle()
	c.saw(4, joined("4", "g"), inGroupG("5", "2"))
	w.kill(there)
	c.linkTo(here)
	w.settle()
	c.saw(4)
	here.comeBack()
	w.settle()
	w.wait(paceFor)
	c.saw(4)
	d.quiet()
}

// In TestP5_WhatWaitedIsPacedWhenTheBrokerIsBack, more messages wait than a history keeps. When the
// broker is back, the relay must publish them so slowly that another relay misses none. The other
// relay reaches the broker somewhat later.
func TestP5_WhatWaitedIsPacedWhenTheBrokerIsBack(t *testing.T) {
	w := newWorld(t, 2)
	here, there := w.relays[0], w.relays[1]
	a, _ := pair(w, here, here)
	c := w.edge("c")
	c.linkTo(there)
	c.channel(3, "3")
	w.settle()
	c.join(3, "g")
	w.settle()
	clear(c.received)
	here.leave(false)
	there.leave(false)
	w.settle()
	var want []string
	for i := range 1000 { // history keeps 256
		a.group(1, "g", fmt.Sprint(i))
		want = append(want, inGroupG("1", fmt.Sprint(i)))
	}
	w.settle()
	here.comeBack()
	w.settle()
	w.wait(paceFor * 3 / 4)
	there.comeBack()
	w.settle()
	w.wait(3 * time.Second)
	c.saw(3, want...)
	a.quiet()
}

// TestP5_AnEdgeThatStallsIsBehindWhileTheBrokerIsAway stalls an edge while messages are given
// ahead. Once the edge takes frames again, it gets these messages in order, before anything newer.
func TestP5_AnEdgeThatStallsIsBehindWhileTheBrokerIsAway(t *testing.T) {
	w := newWorld(t, 1)
	rl := w.relays[0]
	a, b := pair(w, rl, rl)
	rl.leave(false)
	w.settle()
	b.stuck = 8 << 20
	var want []string
	for i := range 200 {
		a.group(1, "g", fmt.Sprint(i))
		want = append(want, inGroupG("1", fmt.Sprint(i)))
	}
	w.settle()
	b.saw(2)
	b.stuck = 0
	w.wait(time.Second)
	b.saw(2, want...)
	// On a new link the relay sends the messages given ahead once more, and the edge drops the
	// repeats.
	b.linkTo(rl)
	w.settle()
	a.group(1, "g", "more")
	w.settle()
	b.saw(2, inGroupG("1", "more"))
	rl.comeBack()
	w.settle()
	w.wait(paceFor)
	b.saw(2)
	a.quiet()
}

func TestP5_ATopicIsForgottenWithWhatWasGivenAhead(t *testing.T) {
	w := newWorld(t, 1)
	rl := w.relays[0]
	a, _ := pair(w, rl, rl)
	rl.leave(false)
	w.settle()
	for i := range 300 {
		a.group(1, "g", fmt.Sprint(i))
	}
	w.wait(2 * tailAge)
	tail := &rl.router.directory.topics[protocol.GroupTopic("g")].recent.tail
	if tail.ahead != 300 || tail.torn {
		t.Errorf("%d of 300 are in the tail while the broker is away, torn %v", tail.ahead, tail.torn)
	}
	rl.comeBack()
	w.settle()
	w.wait(paceFor)
	if tail.ahead != 0 || tail.torn || len(tail.items) > 64 {
		t.Errorf("%d ahead, torn %v, %d in all when it is back", tail.ahead, tail.torn, len(tail.items))
	}
}
