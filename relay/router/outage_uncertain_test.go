package router

import (
	"fmt"
	"testing"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/broker/brokertest"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// In TestP6_WhoCameBehindAMessageOfUnknownFateIsNotGivenItAhead, a message is published, and the
// answer to the publish is lost. Then the message's receiver connects, and gets the sender's next
// message. When Redis goes away, the relay must not give the older message to the receiver.
func TestP6_WhoCameBehindAMessageOfUnknownFateIsNotGivenItAhead(t *testing.T) {
	w := newWorld(t, 1)
	rl := w.relays[0]
	a, b, c := w.edge("a"), w.edge("b"), w.edge("c")
	for _, e := range w.edges {
		e.linkTo(rl)
	}
	a.channel(1, "1")
	c.channel(3, "3")
	w.settle()
	var next broker.Publish
	rl.broker.onPublish = func(p broker.Publish) bool {
		if p.Msg == "next" {
			next = p
			return false
		}
		rl.broker.Handle.Publish(p)
		rl.broker.held = append(rl.broker.held, broker.Published{Token: p.Token, Err: errAway})
		return false
	}
	rl.broker.onEvent = func(ev broker.Event) bool { // the answer is lost
		done, ok := ev.(broker.Published)
		return !ok || done.Err != nil || done.Token == next.Token
	}
	a.one(1, "2", "first")
	a.one(1, "2", "next")
	w.settle()
	b.channel(2, "2")
	w.settle()
	rl.broker.Handle.Publish(next)
	w.settle()
	b.saw(2, "user 1 send:next")

	rl.broker.onPublish, rl.broker.onEvent = nil, nil
	rl.leave(false)
	w.settle()
	a.one(1, "2", "last")
	a.one(1, "3", "to another")
	w.settle()
	b.saw(2, "user 1 send:last")
	c.saw(3, "user 1 send:to another")
	rl.comeBack()
	w.settle()
	w.wait(paceFor)
	b.saw(2)
	c.saw(3)
	a.quiet()
}

// TestP1_WhoCameBehindAMessageOfUnknownFateGetsTheLaterOnesOnly makes the publish of a message
// fail. Redis does not carry it out. Then Redis goes away. Members who were there before the
// message are given the message ahead. Members who came after the message get the sender's next
// message, and must not be given the older one.
func TestP1_WhoCameBehindAMessageOfUnknownFateGetsTheLaterOnesOnly(t *testing.T) {
	w := newWorld(t, 1)
	rl := w.relays[0]
	a, b, c := w.edge("a"), w.edge("b"), w.edge("c")
	for _, e := range w.edges {
		e.linkTo(rl)
	}
	a.channel(1, "1")
	c.channel(3, "2")
	w.settle()
	rl.broker.onPublish = func(p broker.Publish) bool {
		rl.broker.held = append(rl.broker.held, broker.Published{Token: p.Token, Err: errAway})
		return false
	}
	a.one(1, "2", "first")
	w.settle()
	b.channel(2, "2")
	w.settle()
	rl.broker.onPublish = nil
	rl.leave(false)
	w.settle()
	a.one(1, "2", "last")
	w.settle()
	b.saw(2, "user 1 send:last")
	c.saw(3, "user 1 send:first", "user 1 send:last")
	rl.comeBack()
	w.settle()
	w.wait(paceFor)
	b.saw(2)
	c.saw(3)
	a.quiet()
}

// In TestP6_AConnectThatWaitedIsNotGivenWhatWasUnheardBefore, Redis goes away while a connect
// waits. Another client of the same edge is then given a message that was published and not heard.
// The message is older than the connect. So the relay must not give the message to the client that
// connects.
func TestP6_AConnectThatWaitedIsNotGivenWhatWasUnheardBefore(t *testing.T) {
	w := newWorld(t, 1)
	rl := w.relays[0]
	a, b := w.edge("a"), w.edge("b")
	a.linkTo(rl)
	b.linkTo(rl)
	a.channel(1, "1")
	b.channel(2, "2")
	w.settle()
	rl.broker.onEvent = exceptEchoes
	a.say(1, `{"MsgBody":"unheard"}`)
	w.settle()
	a.quiet()
	rl.broker.held = append(rl.broker.held, broker.Deaf{All: true})
	w.settle()
	b.channel(3, "3")
	w.settle()
	rl.leave(false)
	w.settle()
	b.saw(2, "user 【1】 send all:unheard")
	b.saw(3)
	a.say(1, `{"MsgBody":"then"}`)
	w.settle()
	b.saw(3, "user 【1】 send all:then")
}

// TestP4_WhatWasToldAsLostIsNotGivenAhead links an edge to a relay that cannot publish. The edge
// replays a message that its former relay had published. The message has left the history, and is
// told as lost. After that the message must not be given ahead.
func TestP4_WhatWasToldAsLostIsNotGivenAhead(t *testing.T) {
	w := newWorld(t, 2)
	w.store = brokertest.NewMemory(brokertest.MemoryConfig{HistorySize: 2})
	w.relays = nil
	there, here := w.addRelay(Config{}), w.addRelay(Config{TailLength: 1})
	a, b := pair(w, there, here)
	a.channel(3, "3")
	w.settle()
	a.join(3, "g")
	w.settle()
	b.received = map[uint64][]string{}
	a.received = map[uint64][]string{}

	a.deaf = true
	a.group(1, "g", "1")
	w.settle()
	b.group(2, "g", "2")
	b.group(2, "g", "3")
	w.settle()
	b.saw(2, inGroupG("1", "1"))
	here.refuse()
	w.settle()
	a.linkTo(here)
	w.settle()
	a.group(1, "g", "4")
	w.settle()
	want := []string{protocol.LostText("group:g"), inGroupG("2", "2"), inGroupG("2", "3")}
	a.saw(3, want...)
	b.saw(2, inGroupG("1", "4"))
	here.accept()
	w.settle()
	w.wait(paceFor)
	a.saw(3, inGroupG("1", "4"))
	b.saw(2)
	a.quiet()
}

// In TestP6_WhoConnectsBehindAHalfOpenLinkIsNotGivenWhatItsEdgeSaidBefore, the link of an edge is
// half open. Messages of the edge to a group are published, but the edge gets no acknowledgement.
// Then the edge links to a relay whose Redis is away, and a client connects to the group there.
// Later the edge links to a third relay. The client must not be given messages that were said in
// the group before it connected.
func TestP6_WhoConnectsBehindAHalfOpenLinkIsNotGivenWhatItsEdgeSaidBefore(t *testing.T) {
	w := newWorld(t, 3)
	first, away, last := w.relays[0], w.relays[1], w.relays[2]
	a, b := w.edge("a"), w.edge("b")
	a.linkTo(first)
	b.linkTo(last)
	b.open(2, protocol.EndpointGroup, "2", "g")
	a.open(3, protocol.EndpointGroup, "3", "g")
	w.settle()
	a.deaf = true // edge a's frames are published, but the edge is not told so
	a.say(3, "before")
	a.end(3)
	w.settle()
	b.say(2, "meanwhile")
	w.settle()

	away.leave(false)
	w.settle()
	a.linkTo(away)
	w.settle()
	a.open(4, protocol.EndpointGroup, "4", "g")
	w.settle()
	a.say(4, "I am in")
	w.settle()
	w.kill(away)
	a.linkTo(last)
	w.settle()
	w.wait(paceFor)
	for _, text := range a.received[4] {
		if text == inGroupG("3", "before") || text == inGroupG("2", "meanwhile") {
			t.Errorf("a younger member got %q", text)
		}
	}
	b.say(2, "after")
	w.settle()
	if got := a.received[4]; len(got) == 0 || got[len(got)-1] != inGroupG("2", "after") {
		t.Errorf("it got %q, the last is not what was said then", got)
	}
	a.quiet()
}

// In TestP4_WhatAnotherRelayToldAsLostIsNotGivenAhead, a relay publishes a message and does not
// hear it. Then an edge links to the relay. The edge's position shows that another relay has told
// it the loss of this message. The relay must not give the message ahead to that edge.
func TestP4_WhatAnotherRelayToldAsLostIsNotGivenAhead(t *testing.T) {
	w := newWorld(t, 1)
	rl := w.relays[0]
	a, b := pair(w, rl, rl)
	rl.broker.onEvent = exceptEchoes
	a.group(1, "g", "1")
	w.settle()
	a.quiet()
	b.topics["group:g"].position.Offset++ // as after a Gap from another relay
	b.linkTo(rl)
	w.settle()
	rl.leave(false)
	w.settle()
	a.group(1, "g", "2")
	w.settle()
	b.saw(2, inGroupG("1", "2"))
	rl.broker.onEvent = nil
	rl.comeBack()
	w.settle()
	w.wait(paceFor)
	b.saw(2)
}

// In TestP2_WhoCameElsewhereMeanwhileIsGivenWhatIsAhead, a connect waits at a relay. The client's
// edge links to another relay, which answers the connect. Then somebody sends a message through the
// first relay, which cannot publish it. Redis goes away from the first relay, and the edge comes
// back to that relay. The client was there before the message, so it is given the message. The same
// holds if the edge comes back with two links, and loses the first of them before it has told of
// its sessions.
func TestP2_WhoCameElsewhereMeanwhileIsGivenWhatIsAhead(t *testing.T) {
	for _, lost := range []bool{false, true} {
		t.Run(fmt.Sprint("a link back is lost ", lost), func(t *testing.T) {
			cameElsewhere(t, lost)
		})
	}
}

func cameElsewhere(t *testing.T, lost bool) {
	w := newWorld(t, 2)
	here, there := w.relays[0], w.relays[1]
	a, b := w.edge("a"), w.edge("b")
	a.linkTo(here)
	a.channel(1, "1")
	w.settle()
	here.broker.onEvent = func(ev broker.Event) bool { // the connect waits
		s, ok := ev.(broker.Subscribed)
		return !ok || s.Topic != "user:2"
	}
	b.linkTo(here)
	b.channel(2, "2")
	w.settle()
	b.linkTo(there)
	w.settle()
	if !b.confirmed[2] {
		t.Fatal("the connect was not answered at the other relay")
	}
	here.broker.onPublish = func(p broker.Publish) bool {
		here.broker.held = append(here.broker.held, broker.Published{Token: p.Token, Err: errAway})
		return false
	}
	a.say(1, `{"Method":"All","MsgBody":"m"}`)
	w.settle()
	here.broker.onPublish, here.broker.onEvent = nil, nil
	here.leave(false)
	w.settle()
	if lost {
		b.linkTo(here)
		here.inputs = here.inputs[:1] // only Connected arrives
		b.cut()
		w.settle()
	}
	b.linkTo(here)
	w.settle()
	here.comeBack()
	w.settle()
	w.wait(paceFor)
	b.saw(2, "user 【1】 send all:m")
	a.quiet()
}
