package router

import (
	"fmt"
	"testing"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// places runs a test in three arrangements. In the first, a and b are one edge. In the second, they
// are two edges of one relay. In the third, they are edges of two relays.
func places(t *testing.T, test func(t *testing.T, w *world, a, b *testEdge)) {
	for _, place := range []struct {
		name          string
		edges, relays int
	}{{"one edge", 1, 1}, {"two edges", 2, 1}, {"two relays", 2, 2}} {
		t.Run(place.name, func(t *testing.T) {
			w := newWorld(t, place.relays)
			a := w.edge("a")
			a.linkTo(w.relays[0])
			b := a
			if place.edges == 2 {
				b = w.edge("b")
				b.linkTo(w.relays[place.relays-1])
			}
			w.settle()
			test(t, w, a, b)
			w.settle()
			a.quiet()
			b.quiet()
			w.wait(w.relays[0].router.cfg.DigestEvery)
			if a.digests == 0 || b.digests == 0 {
				t.Error("tables were not compared")
			}
		})
	}
}

func TestDirectMessage(t *testing.T) {
	places(t, func(t *testing.T, w *world, a, b *testEdge) {
		a.channel(1, "1")
		b.channel(2, "2")
		b.open(3, protocol.EndpointUser, "2", "")
		b.open(4, protocol.EndpointAll, "2", "")
		w.settle()
		a.one(1, "2", "Hello")
		a.one(1, "nobody", "Hello")
		a.one(1, "1", "me")
		w.settle()
		a.saw(1, "user 1 send:me")
		b.saw(2, "user 1 send:Hello")
		b.saw(3, "user 1 send:Hello")
		b.saw(4)
	})
}

func TestGroup(t *testing.T) {
	places(t, func(t *testing.T, w *world, a, b *testEdge) {
		a.channel(1, "1")
		b.channel(2, "2")
		w.settle()
		a.group(1, "g1", "x")
		w.settle()
		a.saw(1, "group【g1】 not exists")
		a.join(1, "g1")
		w.settle()
		b.group(2, "g1", "x")
		b.leave(2, "g1")
		w.settle()
		a.saw(1, "user 【1】 add to group 【g1】")
		b.saw(2, "user 【2】 not in 【g1】", "user 【2】 not in 【g1】")
		b.join(2, "g1")
		b.group(2, "g1", "Hi All")
		w.settle()
		a.saw(1, "group 【g1】 user 【2】 send:user 【2】 add to group 【g1】", "group 【g1】 user 【2】 send:Hi All")
		b.saw(2, "user 【2】 add to group 【g1】")
		a.join(1, "g1")
		w.settle()
		a.saw(1, "user 【1】 add to group 【g1】")
		b.saw(2, "group 【g1】 user 【1】 send:user 【1】 add to group 【g1】")
		b.leave(2, "g1")
		b.group(2, "g1", "after")
		w.settle()
		a.group(1, "g1", "later")
		w.settle()
		a.saw(1, "group 【g1】 user 【2】 send:user 【2】 leave group 【g1】")
		b.saw(2, "user 【2】 leave group 【g1】", "user 【2】 not in 【g1】")
		a.end(1)
		w.settle()
		b.group(2, "g1", "x")
		w.settle()
		b.saw(2, "group【g1】 not exists")
	})
}

func TestGroupEndpointJoinsInSilence(t *testing.T) {
	places(t, func(t *testing.T, w *world, a, b *testEdge) {
		a.open(1, protocol.EndpointGroup, "1", "g")
		b.open(2, protocol.EndpointGroup, "2", "g")
		w.settle()
		a.say(1, "raw")
		a.say(1, "")
		w.settle()
		a.saw(1)
		b.saw(2, "group 【g】 user 【1】 send:raw", "group 【g】 user 【1】 send:")
	})
}

func TestBroadcastSkipsTheSendersUser(t *testing.T) {
	places(t, func(t *testing.T, w *world, a, b *testEdge) {
		a.channel(1, "1")
		b.channel(2, "1")
		b.open(3, protocol.EndpointAll, "3", "")
		b.open(4, protocol.EndpointUser, "4", "")
		w.settle()
		a.say(1, `{"MsgBody":"Hello All"}`)
		b.say(3, "raw")
		w.settle()
		a.saw(1, "user 【3】 send all:raw")
		b.saw(2, "user 【3】 send all:raw")
		b.saw(3, "user 【1】 send all:Hello All")
		b.saw(4)
	})
}

func TestInvalidCommandsAreAnsweredInOrder(t *testing.T) {
	w := newWorld(t, 1)
	a := w.edge("a")
	a.linkTo(w.relays[0])
	a.channel(1, "1")
	w.settle()
	a.join(1, "g")
	a.say(1, "{")
	a.say(1, `{"Method":"one"}`)
	a.one(1, "1", "last")
	w.settle()
	got := a.received[1]
	if len(got) != 4 || got[0] != "user 1 send:last" || // messages do not wait for answers
		got[1] != "user 【1】 add to group 【g】" || got[2][:7] != "error: " || got[3][:7] != "error: " {
		t.Errorf("got %q", got)
	}
	a.quiet()
}

func TestOneFramePerBroadcastAndEdge(t *testing.T) {
	w := newWorld(t, 1)
	a, b, c := w.edge("a"), w.edge("b"), w.edge("c")
	for _, e := range []*testEdge{a, b, c} {
		e.linkTo(w.relays[0])
	}
	for id := range uint64(1000) {
		a.open(id+1, protocol.EndpointGroup, fmt.Sprint("a", id), "g")
	}
	b.open(1, protocol.EndpointGroup, "b", "g")
	c.channel(1, "c")
	w.settle()
	b.say(1, "to a thousand")
	w.settle()
	if a.frames["group:g"] != 1 || b.frames["group:g"] != 1 || c.frames["group:g"] != 0 {
		t.Errorf("frames: %d, %d, %d; want 1, 1, 0", a.frames["group:g"], b.frames["group:g"], c.frames["group:g"])
	}
	for id := range uint64(1000) {
		a.saw(id+1, "group 【g】 user 【b】 send:to a thousand")
	}
}

func TestOriginalServersMessages(t *testing.T) {
	w := newWorld(t, 1)
	a := w.edge("a")
	a.linkTo(w.relays[0])
	a.channel(1, "1")
	w.settle()
	a.join(1, "g")
	w.settle()
	a.saw(1, "user 【1】 add to group 【g】")
	w.store.PublishBare("user:1", "9", "one")
	w.store.PublishBare("group:g", "9", "two")
	w.store.PublishBare("all", "9", "three")
	w.store.PublishBare("all", "1", "mine")
	w.settle()
	a.saw(1, "user 9 send:one", "group 【g】 user 【9】 send:two", "user 【9】 send all:three")
}

func TestTwoConnectionsOfOneUserEndAlone(t *testing.T) {
	for first := range uint64(2) {
		w := newWorld(t, 1)
		a := w.edge("a")
		a.linkTo(w.relays[0])
		a.channel(1, "1")
		a.channel(2, "1")
		a.channel(3, "3")
		w.settle()
		a.join(1, "g")
		a.join(2, "g")
		w.settle()
		gone, stays := 1+first, 2-first
		a.end(gone)
		w.settle()
		clear(a.received)
		a.one(3, "1", "x")
		a.group(stays, "g", "still in")
		w.settle()
		a.saw(stays, "user 3 send:x")
		a.saw(gone)
	}
}
