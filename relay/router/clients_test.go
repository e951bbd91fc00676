package router

import (
	"fmt"
	"slices"
	"testing"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/link"
)

// serving returns a world with relays that serve clients of SDKs, and an edge that is linked to the
// first relay.
func serving(t *testing.T, relays int) (*world, *testEdge) {
	w := newWorld(t, 0)
	for range relays {
		w.addSpeaking(Config{}, speakers()...)
	}
	e := w.edge("a")
	e.linkTo(w.relays[0])
	w.settle()
	return w, e
}

// done checks at the end of a test that all frames of the given edges are finished, and that each
// edge's tables are those of its relay. It also checks that nothing waits at any relay.
func (w *world) done(edges ...*testEdge) {
	w.t.Helper()
	w.settle()
	for _, e := range edges {
		e.quiet()
		e.digests = 0
	}
	w.wait(w.relays[0].router.cfg.DigestEvery)
	for _, e := range edges {
		if e.digests == 0 {
			w.t.Errorf("%s: tables were not compared", e.node)
		}
		tables := &e.link.router.directory.edges[e.instance].tables
		if keeps := e.kept(); tables.keeps != keeps {
			w.t.Errorf("%s: keeps of %d bytes are counted, there are %d", e.node, tables.keeps, keeps)
		}
	}
	for _, rl := range w.relays {
		rl.idle()
	}
}

// idle checks that nothing waits at a relay whose frames are all finished.
func (rl *testRelay) idle() {
	rl.w.t.Helper()
	for _, e := range rl.router.directory.links {
		for _, s := range e.tables.sessions {
			x := s.client()
			if x != nil && (len(x.ways) != 0 || x.held != 0 || x.coming != 0 || x.confirming != nil || len(x.last) != 0) {
				rl.w.t.Errorf("%s, session %d: something is left to wait for: %+v", e.node, s.id, x)
			}
		}
		for _, f := range e.followers {
			if f.rare != nil && (f.rare.binders.first != nil || f.rare.notices != 0) {
				rl.w.t.Errorf("%s: something waits at %s: %+v", e.node, f.topic.name, f.rare)
			}
		}
	}
}

// TestOrderOnOneTopic sends commands of one session to a relay. Most of these commands are about
// one topic, which is not subscribed yet. A command must be answered as soon as no earlier command
// on the same topic holds it up.
func TestOrderOnOneTopic(t *testing.T) {
	w, e := serving(t, 1)
	rl := w.relays[0]
	e.client(1, "7", "y")
	e.cut()
	e.linkTo(rl)
	w.settle()
	rl.broker.slow = true
	e.say(1, "bind 1 x")
	e.say(1, "tell 2 x as-a-member") // a member's publish does not wait for the topic
	e.say(1, "bind 3 x")
	e.say(1, "tell 4 x waits")
	e.say(1, "unbind 5 x")
	e.say(1, "tell 6 x refused")
	e.say(1, "tell 7 y passes")
	e.say(1, "ping 8")
	e.say(1, "bind 9 z")
	e.say(1, "renew 10 5")
	w.settle()
	e.saw(1, "8 done", "10 done", "2 done", "7 done")
	rl.broker.slow = false
	w.settle()
	got := e.received[1]
	delete(e.received, 1)
	order := func(before, after string) {
		i, j := slices.Index(got, before), slices.Index(got, after)
		if i < 0 || j < i {
			t.Errorf("%q is not before %q in %q", before, after, got)
		}
	}
	order("1 done", "3 already")
	order("3 already", "4 done")
	order("4 done", "5 done")
	order("5 done", "6 not-member")
	order("1 done", "9 done")
	if slices.Contains(got, "x 7c1: refused") || !slices.Contains(got, "x 7c1: waits") {
		t.Errorf("got %q", got)
	}
	w.done(e)
}

// In TestWhatIsParkedKeepsItsPlace, a session publishes while an earlier subscribe of the session
// is parked. Then another session of the edge publishes to the same topic. Both messages must be
// published, in this order.
func TestWhatIsParkedKeepsItsPlace(t *testing.T) {
	w, e := serving(t, 1)
	e.tellClient(link.Client{ID: 1, Confirmed: true, User: "7"})
	e.tellClient(link.Client{ID: 2, Confirmed: true, User: "8"})
	w.settle()
	w.relays[0].broker.slow = true
	e.say(1, "bind 1 x")
	e.say(1, "bind 2 x")
	e.say(1, "tell 3 x first")
	e.say(2, "say 4 x second")
	w.settle()
	e.saw(1)
	e.saw(2)
	w.relays[0].broker.slow = false
	w.settle()
	e.saw(1, "1 done", "2 already", "x 7c1: first", "3 done", "x 8c2: second")
	e.saw(2, "4 done")
	w.done(e)
}

// In TestWhatIsForgottenIsNotReleased, an unsubscribe waits for the broker's answer to a publish.
// The answer comes in the step in which the edge links anew. At the end of that step the relay lets
// waiting frames go on. By then the relay has forgotten the publish and the unsubscribe. The edge
// sends the two frames again. Each of them must be answered once.
func TestWhatIsForgottenIsNotReleased(t *testing.T) {
	w, e := serving(t, 1)
	rl := w.relays[0]
	e.client(1, "7", "x")
	e.client(2, "8", "x")
	e.cut()
	e.linkTo(rl)
	w.settle()
	var answer broker.Event
	rl.broker.onEvent = func(ev broker.Event) bool {
		if _, ok := ev.(broker.Published); ok {
			answer = ev
		}
		return answer != ev
	}
	e.say(1, "tell 1 x Hello")
	e.say(1, "unbind 2 x")
	w.settle()
	rl.broker.onEvent = nil
	rl.inputs = append(rl.inputs, FromBroker{answer})
	e.cut()
	e.linkTo(rl)
	w.settle()
	e.saw(1, "x 7c1: Hello", "1 done", "2 done")
	w.done(e)
}

// In TestP8_WhatAClientMayHaveIsBounded, a client subscribes until it has as many topics, or as
// many bytes of keeps, as it may have. A further subscribe must be refused, even while the earlier
// subscribes wait. After an unsubscribe there must be room again.
func TestP8_WhatAClientMayHaveIsBounded(t *testing.T) {
	for _, slow := range []bool{false, true} {
		w, e := serving(t, 1)
		rl := w.relays[0]
		e.tellClient(link.Client{ID: 1, Confirmed: true, User: "7", Keep: keepOf(48)})
		w.settle()
		rl.broker.slow = slow
		for i := range 9 {
			e.say(1, fmt.Sprintf("bind %d t%d %s", i, i, keepOf(225)))
		}
		w.settle()
		rl.broker.slow = false
		w.settle()
		e.saw(1, "8 many-topics", "0 done", "1 done", "2 done", "3 done", "4 done", "5 done", "6 done", "7 done")
		e.say(1, "renew 1 0 "+string(keepOf(249)))
		e.say(1, "renew 2 0 "+string(keepOf(248)))
		e.say(1, "unbind 3 t1")
		e.say(1, "bind 4 t1 "+string(keepOf(226)))
		e.say(1, "bind 5 t1 "+string(keepOf(225)))
		w.settle()
		e.saw(1, "1 many-keeps", "2 done", "3 done", "4 many-keeps", "5 done")
		w.done(e)
		e.end(1)
		w.done(e)
	}
}

// In TestP8_KeepsOfAnEdgeAreBounded, clients subscribe with keeps until their edge has no room for
// keeps. A further subscribe and a connect must be refused. Then the edge links anew. The edge must
// be able to tell all the keeps that it was given.
func TestP8_KeepsOfAnEdgeAreBounded(t *testing.T) {
	w, e := serving(t, 1)
	rl := w.relays[0]
	full := keepOf(link.MaxKeeps)
	const room = 3
	for id := range uint64(link.MaxEdgeKeeps/link.MaxKeeps - room) {
		e.client(id+100, "7")
		c := e.clients[id+100]
		c.Keep = full
		e.clients[id+100] = c
	}
	e.cut()
	e.linkTo(rl)
	w.settle()
	rl.broker.slow = true
	for id := range uint64(room + 1) {
		e.tellClient(link.Client{ID: id + 1, Confirmed: true, User: "8"})
		e.say(id+1, "bind 1 x "+string(full))
	}
	e.guest(9)
	e.say(9, "connect 1 9 0 k")
	w.settle()
	e.saw(room+1, "1 many-memberships")
	e.saw(9, "1 many-memberships")
	rl.broker.slow = false
	w.settle()
	for id := range uint64(room) {
		e.saw(id+1, "1 done")
	}
	e.cut()
	e.linkTo(rl)
	w.done(e)
	if len(e.closed) > 0 {
		t.Errorf("the edge cannot link again: %v", e.closed)
	}
}

// In TestP8_MembershipsOfClientsAreBounded, one user, with as many sessions as it likes, invents
// the names of channels. This user must get no more than half of the room for memberships. Other
// users must be able to take the remainder. When nothing is left, a client whose connect names the
// channel of its user alone must still be admitted.
func TestP8_MembershipsOfClientsAreBounded(t *testing.T) {
	const tell = 64 << 10
	w := newWorld(t, 0)
	rl := w.addSpeaking(Config{TellBytes: tell}, speakers()...)
	e := w.edge("a")
	e.linkTo(rl)
	w.settle()
	tables := &rl.router.directory.edges[e.instance].tables
	last := uint64(0)
	// The function fill opens sessions of a user until one of them is refused. It returns the value
	// that tables.grouped then has.
	fill := func(user func() string) int {
		for last < 1000 {
			last++
			e.tellClient(link.Client{ID: last, Confirmed: true, User: user()})
			for i := range 4 {
				e.say(last, fmt.Sprintf("bind %d user:%d-%d %s", i, last, i, keepOf(10)))
			}
			w.settle()
			if got := e.received[last]; got[3] == "3 many-memberships" {
				break
			}
		}
		return tables.grouped
	}
	if used := fill(func() string { return "7" }); used < tell/4 || used > tell/4+1<<10 {
		t.Errorf("one user has %d bytes of the %d that there are", used, tell/2)
	}
	if used := fill(func() string { return fmt.Sprint("u", last) }); used < tell/2 || used > tell/2+1<<10 {
		t.Errorf("all users together have %d bytes of the %d that there are", used, tell/2)
	}
	e.guest(2000)
	e.guest(2001)
	e.say(2000, "connect 1 8 0 keep user:8")
	e.say(2001, "connect 1 8 0 keep user:8 all")
	w.settle()
	e.saw(2000, "1 done")
	e.saw(2001, "1 many-memberships")
	e.end(2001)
	e.cut()
	e.linkTo(rl)
	w.done(e)
}

// In TestP8_KeepsOfASessionThatEndsCountUntilTheEdgeDropsThem, the keeps of an edge are at their
// bound. Sessions with keeps end at this edge, and other sessions come. The edge's keeps must never
// exceed the bound. That also holds between the frames of one step, and while the end of a session
// waits for the session's publishes.
func TestP8_KeepsOfASessionThatEndsCountUntilTheEdgeDropsThem(t *testing.T) {
	w := newWorld(t, 0)
	rl := w.addSpeaking(Config{KeepBytes: 20}, speakers()...)
	e := w.edge("a")
	e.most = 20
	e.linkTo(rl)
	w.settle()
	e.guest(1)
	e.guest(2)
	e.guest(3)
	e.say(1, "connect 1 7 0 0123456789 x=0123456789")
	w.settle()
	e.saw(1, "1 done")
	e.end(1)
	e.say(2, "connect 1 7 0 0123456789 x=0123456789")
	w.settle()
	e.saw(2, "1 many-memberships")
	e.say(3, "connect 1 7 0 0123456789 x=0123456789")
	w.settle()
	e.saw(3, "1 done")
	rl.broker.slow = true
	rl.broker.onPublish = func(broker.Publish) bool { return false }
	e.say(3, "tell 2 x late")
	w.settle()
	e.end(3)
	e.guest(4)
	e.say(4, "connect 1 7 0 0")
	w.settle()
	e.saw(4, "1 many-memberships")
	rl.broker.slow, rl.broker.onPublish = false, nil
	e.end(2)
	e.end(4)
	e.cut()
	e.linkTo(rl)
	w.settle()
	if len(e.closed) > 0 {
		t.Error("the edge cannot link again", e.closed)
	}
	w.done(e)
}
