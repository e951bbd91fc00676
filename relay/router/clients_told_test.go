package router

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

func keepOf(n int) []byte { return bytes.Repeat([]byte("k"), n) }

// In TestWhatCannotBeToldOfClientsCutsTheLink, an edge tells of clients and keeps that break a
// rule. The relay must cut the link.
func TestWhatCannotBeToldOfClientsCutsTheLink(t *testing.T) {
	client := link.Client{ID: 1, Confirmed: true, User: "1"}
	held := link.Held{Topic: "x", Sessions: []uint64{1}}
	keep := link.Keep{Session: 1, Topic: "x", Keep: []byte("k")}
	synced := link.Synced{First: 1, Sessions: 1, Held: 1}
	for _, c := range []struct {
		name   string
		code   link.Code
		early  bool
		frames []any
	}{
		{"a Client without the feature", link.CodeProtocol, true, []any{client}},
		{"a Keep without the feature", link.CodeProtocol, true, []any{keep}},
		{"a Client that the dialect refuses", link.CodeProtocol, false, []any{link.Client{ID: 1, Open: true, User: "nobody"}}},
		{"a Keep of an unknown session", link.CodeProtocol, false,
			[]any{client, held, link.Keep{Session: 2, Topic: "x", Keep: []byte("k")}, synced}},
		{"a Keep of a session of the chat", link.CodeProtocol, false,
			[]any{link.Session{ID: 1, Endpoint: 2, User: "1"}, held, keep, synced}},
		{"a Keep of a topic that nobody is in", link.CodeProtocol, false,
			[]any{client, held, link.Keep{Session: 1, Topic: "y", Keep: []byte("k")}, synced}},
		{"a Keep of a topic that others are in", link.CodeProtocol, false,
			[]any{client, link.Client{ID: 2}, held, link.Keep{Session: 2, Topic: "x", Keep: []byte("k")}, link.Synced{First: 1, Sessions: 2, Held: 1}}},
		{"a Keep twice", link.CodeProtocol, false, []any{client, held, keep, keep, synced}},
		{"a Keep after Synced", link.CodeProtocol, false, []any{client, held, synced, keep}},
		{"a Held after a Keep", link.CodeProtocol, false, []any{client, held, keep, link.Held{Topic: "y", Sessions: []uint64{1}}}},
		{"a count without the clients", link.CodeProtocol, false, []any{client, held, link.Synced{First: 1, Held: 1}}},
		{"keeps of one session that are too long", link.CodeLimit, false, []any{
			link.Client{ID: 1, Confirmed: true, Keep: keepOf(1500)}, held, link.Keep{Session: 1, Topic: "x", Keep: keepOf(549)}, synced,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 0)
			e := telling(w, w.addSpeaking(Config{}, speakers()...))
			e.early = c.early
			e.send(c.frames...)
			w.settle()
			if !slices.Equal(e.closed, []link.Code{c.code}) {
				t.Errorf("closed with %v, want %v", e.closed, c.code)
			}
		})
	}
	t.Run("a relay that speaks the chat alone", func(t *testing.T) {
		w := newWorld(t, 1)
		e := telling(w, w.relays[0])
		e.send(client)
		w.settle()
		if !slices.Equal(e.closed, []link.Code{link.CodeProtocol}) {
			t.Errorf("closed with %v, want protocol", e.closed)
		}
	})
}

// In TestP8_KeepsThatAreToldAreBounded, an edge tells keeps of sessions, or of memberships, until
// its link is cut. The first frame beyond the bound on all keeps must cut the link. With a small
// TellBytes, the first frame beyond the bound on all tables must cut it.
func TestP8_KeepsThatAreToldAreBounded(t *testing.T) {
	full := keepOf(link.MaxKeeps)
	for _, c := range []struct {
		name  string
		most  int // Config.TellBytes; 0: the default
		limit int // number of the frame that cuts the link
		frame func(n uint64) any
	}{
		{"keeps of sessions", 0, link.MaxEdgeKeeps/link.MaxKeeps + 1, func(n uint64) any {
			return link.Client{ID: n, Confirmed: true, Keep: full}
		}},
		{"keeps of memberships", 0, link.MaxEdgeKeeps/link.MaxKeeps + 1, func(n uint64) any {
			return link.Keep{Session: n, Topic: "x", Keep: full}
		}},
		{"clients", 64 << 10, 64<<10/(64+1+100) + 1, func(n uint64) any {
			return link.Client{ID: n, Confirmed: true, User: "1", Keep: full[:100]}
		}},
		{"keeps", 64 << 10, 64<<10/(64+1+100) + 1, func(n uint64) any {
			return link.Keep{Session: n, Topic: "x", Keep: full[:100]}
		}},
	} {
		w := newWorld(t, 0)
		e := telling(w, w.addSpeaking(Config{TellBytes: c.most}, speakers()...))
		for n := 1; n < c.limit; n++ {
			e.send(c.frame(uint64(n)))
		}
		w.settle()
		if len(e.closed) > 0 {
			t.Errorf("%s: closed with %v before the %dth", c.name, e.closed, c.limit)
		}
		e.send(c.frame(uint64(c.limit)))
		w.settle()
		if !slices.Equal(e.closed, []link.Code{link.CodeLimit}) {
			t.Errorf("%s: closed with %v by the %dth, want limit", c.name, e.closed, c.limit)
		}
	}
}

// In TestToldClientsAreInTheTables, an edge tells of a session of the chat and of clients of SDKs,
// with keeps. The relay takes the tables in pieces. Meanwhile the edge sends a new Client and an
// End. In the end the digests of the edge and the relay must be equal.
func TestToldClientsAreInTheTables(t *testing.T) {
	for _, pieces := range []int{1, 2, 0} {
		w := newWorld(t, 0)
		rl := w.addSpeaking(Config{Pieces: pieces}, speakers()...)
		e := w.edge("a")
		e.channel(1, "1")
		e.client(2, "2", "x", "y", protocol.All)
		e.client(3, "3", "x", "user:1")
		e.setKeep(2, "y", []byte("of y"))
		e.setKeep(3, "x", []byte("of x"))
		e.clients[3] = link.Client{ID: 3, Confirmed: true, Until: 7, User: "3", Keep: []byte("of 3"), Open: true}
		e.guest(4)
		e.linkTo(rl)
		rl.step()
		e.guest(5)
		e.end(2)
		w.settle()
		w.wait(rl.router.cfg.DigestEvery)
		if e.digests == 0 || e.digest.Sessions != 4 {
			t.Errorf("pieces %d: the tables were compared %d times, the last time %+v", pieces, e.digests, e.digest)
		}
		e.quiet()
		tables := &rl.router.directory.edges[e.instance].tables
		if want := len("of x") + len("of 3"); tables.keeps != want {
			t.Errorf("pieces %d: keeps of %d bytes are counted, want %d", pieces, tables.keeps, want)
		}
		if want := 2*(rowCost+memberCost) + len("x") + len("user:1") + rowCost + len("x"); tables.grouped != want {
			t.Errorf("pieces %d: memberships of %d bytes are counted, want %d", pieces, tables.grouped, want)
		}
		who := tables.sessions[3].who()
		if !who.Confirmed || !who.Open || who.Until != 7 || string(who.Keep) != "of 3" || who.User != "3" || who.Instance != e.instance {
			t.Errorf("pieces %d: the dialect knows the session as %+v", pieces, who)
		}
		if e.confirmed[2] || e.confirmed[4] {
			t.Errorf("pieces %d: a client is told to be opened", pieces)
		}
	}
}

// In TestWhatMembershipsCountIsTakenBackInAnyOrder, chat sessions and clients of SDKs become
// members of topics. Then the sessions end, in another order in each run. In the end no bytes of
// memberships or keeps may be counted.
func TestWhatMembershipsCountIsTakenBackInAnyOrder(t *testing.T) {
	for _, ends := range [][]uint64{{1, 2, 3, 4}, {4, 3, 2, 1}, {2, 4, 1, 3}, {3, 1, 4, 2}} {
		w := newWorld(t, 0)
		rl := w.addSpeaking(Config{}, speakers()...)
		e := w.edge("a")
		e.channel(1, "1")
		e.client(2, "2", "group:g", "user:1", "x")
		e.channel(3, "1")
		e.client(4, "4", "x", "group:g", protocol.All)
		e.setKeep(4, "x", []byte("of x"))
		e.clients[2] = link.Client{ID: 2, Confirmed: true, User: "2", Keep: []byte("of 2")}
		e.linkTo(rl)
		w.settle()
		e.join(1, "g")
		e.join(3, "g")
		w.settle()
		tables := &rl.router.directory.edges[e.instance].tables
		if tables.grouped == 0 || tables.keeps == 0 {
			t.Error("nothing is counted")
		}
		for _, id := range ends {
			e.end(id)
			w.settle()
		}
		if tables.grouped != 0 || len(tables.groupedBy) != 0 || tables.keeps != 0 || len(rl.router.directory.topics) != 0 {
			t.Errorf("%v: %d bytes of memberships, %d of keeps, and %d topics are left",
				ends, tables.grouped, tables.keeps, len(rl.router.directory.topics))
		}
	}
}

// TestATopicKnowsHowManyClientsItHas compares topic.clients with the number of clients that the
// topic's followers have: after an edge links anew, after a client ends, and after a relay forgets
// an edge.
func TestATopicKnowsHowManyClientsItHas(t *testing.T) {
	w := newWorld(t, 0)
	rl := w.addSpeaking(Config{}, speakers()...)
	a, b := w.edge("a"), w.edge("b")
	for _, e := range []*testEdge{a, b} {
		e.channel(1, "1")
		e.client(2, "2", protocol.All)
		e.client(3, "3", protocol.All)
		e.linkTo(rl)
	}
	for i, step := range []struct {
		do   func()
		want int32
	}{
		{func() {}, 4},
		{func() { a.cut(); a.linkTo(rl) }, 4},
		{func() { a.end(3) }, 3},
		{func() { b.cut(); w.settle(); w.wait(rl.router.cfg.Grace) }, 1},
	} {
		step.do()
		w.settle()
		topic := rl.router.directory.topics[protocol.All]
		sum := int32(0)
		for f := range topic.all {
			sum += f.clients()
		}
		if topic.clients != step.want || sum != step.want {
			t.Errorf("step %d: %s has %d clients, its followers %d, want %d", i, topic.name, topic.clients, sum, step.want)
		}
	}
	a.quiet()
	if fmt.Sprint(a.closed, b.closed) != "[] []" {
		t.Errorf("links were closed: %v %v", a.closed, b.closed)
	}
}
