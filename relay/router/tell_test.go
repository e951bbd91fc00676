package router

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// telling returns an edge with a link to rl. The edge tells nothing by itself: the test chooses all
// of its frames.
func telling(w *world, rl *testRelay) *testEdge {
	e := w.edge("telling")
	e.link, e.conn = rl, &testLink{edge: e}
	rl.inputs = append(rl.inputs, Connected{e.conn, link.Hello{Instance: e.instance, Generation: 1}})
	return e
}

func TestP8_WhatALinkTellsIsBoundedInBytes(t *testing.T) {
	const most = 64 << 10
	session := func(n uint64) any { return link.Session{ID: n, Endpoint: protocol.EndpointUser, User: "1"} }
	for _, c := range []struct {
		name   string
		each   int // bytes that the relay counts for the frames of one call
		frames func(n uint64) []any
	}{
		{"sessions", 65, func(n uint64) []any { return []any{session(n)} }},
		{"topics", 65 + 81, func(n uint64) []any {
			return []any{session(1), link.Held{Topic: protocol.GroupTopic(fmt.Sprint(n + 99)), Sessions: []uint64{1}}}
		}},
		{"memberships", 65 + 67 + 8000, func(n uint64) []any {
			return []any{session(n), link.Held{Topic: "all", Sessions: make([]uint64, 1000)}}
		}},
	} {
		w := newWorld(t, 0)
		rl := w.addRelay(Config{TellBytes: most})
		e := telling(w, rl)
		n := 0
		for ; len(e.closed) == 0 && n < most; n++ {
			e.send(c.frames(uint64(n + 1))...)
			w.settle()
		}
		if want := most/c.each + 1; n != want || !slices.Equal(e.closed, []link.Code{link.CodeLimit}) {
			t.Errorf("%s: closed with %v by the %dth, want limit by the %dth", c.name, e.closed, n, want)
		}
	}
}

// In TestP8_TablesAreToldInTimeOrTheLinkIsCut, an edge tells of only one session in its first
// minute. The link of this edge is cut. Another edge tells of twenty sessions in each of three
// minutes. The link of the other edge is cut only after a minute in which that edge tells nothing.
func TestP8_TablesAreToldInTimeOrTheLinkIsCut(t *testing.T) {
	w := newWorld(t, 1)
	good := w.edge("good")
	good.channel(1, "1")
	good.linkTo(w.relays[0])
	slow := telling(w, w.relays[0])
	slow.send(link.Session{ID: 1, Endpoint: protocol.EndpointUser, User: "1"})
	w.settle()
	w.wait(time.Minute - time.Second)
	if len(slow.closed) > 0 {
		t.Fatalf("closed with %v before its time", slow.closed)
	}
	w.wait(time.Second)
	if !slices.Equal(slow.closed, []link.Code{link.CodeLimit}) || w.relays[0].router.directory.edges[slow.instance].tables.told != nil {
		t.Errorf("closed with %v, want limit, and nothing kept", slow.closed)
	}
	if len(good.closed) > 0 {
		t.Errorf("who told everything is closed with %v", good.closed)
	}
	steady := telling(w, w.relays[0])
	for minute := range uint64(3) {
		for n := range uint64(20) {
			steady.send(link.Session{ID: 1 + 20*minute + n, Endpoint: protocol.EndpointUser, User: "1"})
		}
		w.settle()
		w.wait(time.Minute)
	}
	if len(steady.closed) > 0 {
		t.Errorf("who goes on telling is closed with %v", steady.closed)
	}
	w.wait(time.Minute)
	if !slices.Equal(steady.closed, []link.Code{link.CodeLimit}) {
		t.Errorf("who stops telling is closed with %v, want limit", steady.closed)
	}
}

// TestP8_NoClientKeepsItsEdgeFromLinkingAgain fills half of Config.TellBytes with the group
// memberships of an edge. Further joins are then refused until somebody leaves. So the edge can
// still link again.
func TestP8_NoClientKeepsItsEdgeFromLinkingAgain(t *testing.T) {
	const most = 16 << 10
	w := newWorld(t, 0)
	rl := w.addRelay(Config{TellBytes: most})
	e := w.edge("e")
	e.linkTo(rl)
	refused := "error: the connections of this server are in as many groups as they can be"
	for id := uint64(1); id <= 10; id++ {
		e.channel(id, fmt.Sprint(id))
		for i := range 20 {
			e.join(id, fmt.Sprint("g", id, "-", i))
		}
	}
	w.settle()
	if n := len(e.received[10]); n != 20 || e.received[10][19] != refused {
		t.Fatalf("the last one's answers: %v", e.received[10])
	}
	clear(e.received)
	e.join(1, "g1-0") // session 1 is already a member
	e.cut()
	e.linkTo(rl)
	w.settle()
	e.saw(1, "user 【1】 add to group 【g1-0】")
	for i := range 20 {
		e.leave(1, fmt.Sprint("g1-", i))
	}
	w.settle()
	clear(e.received)
	e.channel(11, "11")
	e.join(11, "another")
	w.settle()
	e.saw(11, "user 【11】 add to group 【another】")
	e.cut()
	e.linkTo(rl)
	w.settle()
	if len(e.closed) > 0 {
		t.Errorf("closed with %v", e.closed)
	}
	for id := uint64(1); id <= 11; id++ {
		e.end(id)
	}
	w.settle()
	if t1 := &rl.router.directory.edges[e.instance].tables; t1.grouped != 0 || len(t1.groupedBy) != 0 {
		t.Errorf("%d bytes of memberships when nobody is left: %v", t1.grouped, t1.groupedBy)
	}
}

// In TestAnEdgeTellsChannelsOfAnyName, an edge tells of members of topics that the chat does not
// know. The edge must get the publications of these topics.
func TestAnEdgeTellsChannelsOfAnyName(t *testing.T) {
	w := newWorld(t, 1)
	e := w.edge("e")
	e.channel(1, "1")
	names := []protocol.Topic{"news:sport", "}x", "user:" + protocol.Topic(strings.Repeat("u", 250)), protocol.Topic(strings.Repeat("n", protocol.MaxChannel))}
	for _, name := range names {
		e.topics[name] = &heldTopic{position: protocol.Unplaced(0), members: []uint64{1}}
	}
	e.linkTo(w.relays[0])
	w.settle()
	for _, name := range names {
		w.store.PublishBare(name, "9", "m")
	}
	w.settle()
	if len(e.closed) > 0 {
		t.Errorf("closed with %v", e.closed)
	}
	for _, name := range names {
		if e.frames[name] != 1 {
			t.Errorf("%d publications on %q, want one", e.frames[name], name)
		}
	}
}
