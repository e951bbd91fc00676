package router

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// In TestA2_ATopicTakesItsRateFromAllWhoWriteToIt, eight edges have one client each. All clients
// send messages to the topic "all" at once. The relay must publish these messages at about the
// topic's rate, and the edges must take turns. No message may be lost, and a message to another
// topic must not wait.
func TestA2_ATopicTakesItsRateFromAllWhoWriteToIt(t *testing.T) {
	const edges, each, size, rate = 8, 10, 10_000, 100_000
	w := newWorld(t, 0)
	rl := w.addRelay(Config{TopicRate: rate})
	var all []*testEdge
	for i := range edges {
		e := w.edge(fmt.Sprint("edge", i))
		e.linkTo(rl)
		e.channel(1, fmt.Sprint("user", i))
		all = append(all, e)
	}
	w.settle()
	for _, e := range all {
		for range each {
			e.say(1, `{"MsgBody":"`+strings.Repeat("x", size)+`"}`)
		}
	}
	all[0].one(1, "user1", "on another topic")
	w.settle()
	published := func() int { return len(rl.broker.published) }
	if got := all[1].received[1]; !strings.Contains(strings.Join(got, "\n"), "on another topic") {
		t.Error("a message to another topic waits")
	}
	const most = rate*int(topicBurst)/int(time.Second) + size
	if n := published() * size; n > most+size {
		t.Errorf("%d bytes at once, want %d at most", n, most)
	}
	for range edges * each * size * 2 / rate * 10 {
		before := published()
		w.wait(100 * time.Millisecond)
		if n := (published() - before) * size; n > most+rate/10 {
			t.Fatalf("%d bytes in a tenth of a second", n)
		}
		if n := published(); n == edges*each/2 {
			for i, e := range all {
				if left := len(e.log); left == 0 || left > each-2 {
					t.Errorf("edge %d has %d of %d left when half is published", i, left, each)
				}
			}
		}
	}
	if n := published(); n != edges*each+1 {
		t.Errorf("%d of %d are published", n, edges*each+1)
	}
	for i, e := range all {
		if n := e.frames["all"]; n != edges*each {
			t.Errorf("edge %d was brought %d of %d", i, n, edges*each)
		}
		e.quiet()
	}
	w.wait(2 * topicSweep)
	if n := len(rl.router.rates.paid) + len(rl.router.rates.waiting); n != 0 {
		t.Errorf("%d topics are remembered", n)
	}
}

// In TestA2_WhatOtherRelaysPublishCounts, clients of two relays send messages to one topic. The
// clients together send twice as much as the topic's rate permits. The relays together must publish
// at about the rate.
func TestA2_WhatOtherRelaysPublishCounts(t *testing.T) {
	const size, rate, seconds = 5_000, 100_000, 10
	w := newWorld(t, 0)
	var all []*testEdge
	for i := range 2 {
		e := w.edge(fmt.Sprint("edge", i))
		e.linkTo(w.addRelay(Config{TopicRate: rate}))
		e.channel(1, fmt.Sprint("user", i))
		all = append(all, e)
	}
	w.settle()
	for range seconds * 20 { // 20 times a second from each edge: twice the rate
		for _, e := range all {
			e.say(1, `{"MsgBody":"`+strings.Repeat("x", size)+`"}`)
		}
		w.wait(50 * time.Millisecond)
	}
	n := (len(w.relays[0].broker.published) + len(w.relays[1].broker.published)) * size
	if n > rate*(seconds+1) || n < rate*(seconds-2) {
		t.Errorf("%d bytes in %d seconds, want about %d", n, seconds, rate*seconds)
	}
}

// TestA2_WhatWaitsForATopicLeavesRoomInTheLog checks that messages that wait for a topic's rate
// hold about a quarter of their edge's log at most. Further messages to that topic are refused. A
// message to another topic does not wait.
func TestA2_WhatWaitsForATopicLeavesRoomInTheLog(t *testing.T) {
	const size = 10_000
	w := newWorld(t, 0)
	rl := w.addRelay(Config{TopicRate: 1000})
	a := w.edge("a")
	a.linkTo(rl)
	a.channel(1, "1")
	a.channel(2, "2")
	w.settle()
	log := int(rl.router.directory.edges[a.instance].inbox.logSize)
	for range log / size {
		a.say(1, `{"MsgBody":"`+strings.Repeat("x", size)+`"}`)
	}
	a.one(2, "1", "hello")
	w.settle()
	var refused, hello int
	for _, text := range a.received[1] {
		switch text {
		case "error: too much is said there at once, not delivered":
			refused++
		case "user 2 send:hello":
			hello++
		}
	}
	if hello != 1 {
		t.Error("a direct message waits")
	}
	if held := log - refused*size; refused == 0 || held > log/topicHold+3*size {
		t.Errorf("%d refused, %d of %d bytes are held", refused, held, log)
	}
}

// TestA5_TheSendersEdgeIsToldWhatFanOutCosts checks that a sender's edge is told how many members a
// message's topic has, on all edges of the relay. The edge is told nothing if there are fewer
// members than costLeast.
func TestA5_TheSendersEdgeIsToldWhatFanOutCosts(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.edge("a"), w.edge("b")
	a.linkTo(w.relays[0])
	b.linkTo(w.relays[0])
	for i := range costLeast {
		b.channel(uint64(i+1), fmt.Sprint("member", i))
	}
	w.settle()
	a.channel(1, "sender")
	w.settle()
	a.one(1, "member1", "x")
	w.settle()
	if len(a.costs) != 0 {
		t.Errorf("a direct message cost %v", a.costs)
	}
	a.say(1, `{"MsgBody":"x"}`)
	w.settle()
	if len(a.costs) != 1 || a.costs[0].User != "sender" || a.costs[0].Deliveries != costLeast+1 {
		t.Errorf("told %v", a.costs)
	}
	if len(b.costs) != 0 {
		t.Errorf("another edge was told %v", b.costs)
	}
}
