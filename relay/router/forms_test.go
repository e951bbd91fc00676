package router

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/edgerelay/edgerelay/relay/chat"
	"github.com/edgerelay/edgerelay/relay/router/dialect"
	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// mixed returns a world with the given number of relays, and three edges that are linked to the
// first relay. All three edges have members of group g and of "all". The members at the first edge
// speak the chat. Those at the second edge are clients of SDKs. The third edge has a member of each
// kind in both topics.
func mixed(t *testing.T, relays int) (w *world, chats, clients, both *testEdge) {
	w = newWorld(t, 0)
	for range relays {
		w.addSpeaking(Config{}, speakers()...)
	}
	chats, clients, both = w.edge("chats"), w.edge("clients"), w.edge("both")
	chats.early = true
	chats.channel(1, "1")
	both.channel(1, "3")
	clients.client(2, "2", "group:g", protocol.All)
	both.client(2, "4", "group:g", protocol.All)
	for _, e := range []*testEdge{chats, clients, both} {
		e.linkTo(w.relays[0])
	}
	w.settle()
	chats.join(1, "g")
	both.join(1, "g")
	w.settle()
	for _, e := range []*testEdge{chats, clients, both} {
		clear(e.received)
		clear(e.kinds)
	}
	return w, chats, clients, both
}

// got compares testEdge.kinds with the expected counts, and then empties testEdge.kinds.
func (e *testEdge) got(want map[string]int) {
	e.w.t.Helper()
	if !maps.Equal(e.kinds, want) {
		e.w.t.Errorf("%s was given %v, want %v", e.node, e.kinds, want)
	}
	clear(e.kinds)
}

// TestAnEdgeIsGivenTheFormsThatItNeeds publishes from both kinds of sessions. Each edge must be
// given one frame for each publication, with the forms that its members need. Sessions of the chat
// are left out if their user is the publisher. Clients of SDKs are never left out.
func TestAnEdgeIsGivenTheFormsThatItNeeds(t *testing.T) {
	w, chats, clients, both := mixed(t, 1)
	clients.say(2, "tell 1 group:g Hello")
	w.settle()
	clients.saw(2, "group:g 2c2: Hello", "1 done")
	chats.saw(1, inGroup("g", "2", "Hello"))
	both.saw(1, inGroup("g", "2", "Hello"))
	both.saw(2, "group:g 2c2: Hello")
	both.group(1, "g", "hi")
	chats.say(1, `{"MsgBody":"everybody"}`)
	w.settle()
	chats.saw(1, inGroup("g", "3", "hi"))
	clients.saw(2, "group:g 3: hi", "all 1: everybody")
	both.saw(1, "user 【1】 send all:everybody")
	both.saw(2, "group:g 3: hi", "all 1: everybody")
	chats.got(map[string]int{"publication": 3})
	clients.got(map[string]int{"forms 1": 3})
	both.got(map[string]int{"forms 0 1": 3})

	// Publications of original servers have no position.
	w.store.PublishBare("group:g", "9", "bare")
	w.settle()
	clients.saw(2, "group:g 9: bare")
	both.saw(2, "group:g 9: bare")
	chats.got(map[string]int{"publication": 1})
	clients.got(map[string]int{"forms 0 1": 1})
	both.got(map[string]int{"forms 0 1": 1})

	// Members of both kinds leave and come while the topic exists.
	both.end(2)
	chats.cut()
	chats.early = false
	chats.linkTo(w.relays[0])
	w.settle()
	chats.tellClient(link.Client{ID: 3, Confirmed: true, User: "5"})
	chats.say(3, "bind 1 group:g")
	w.settle()
	clients.say(2, "tell 2 group:g more")
	w.settle()
	chats.got(map[string]int{"forms 0 1": 1})
	both.got(map[string]int{"publication": 1})
	chats.saw(3, "1 done", "group:g 2c2: more")
	both.end(1)
	chats.end(1)
	chats.end(3)
	clients.end(2)
	w.done(chats, clients, both)
	if n := len(w.relays[0].router.directory.topics); n != 0 {
		t.Errorf("%d topics are left", n)
	}
}

// TestCatchingUpBringsTheFormsThatAreNeeded cuts the links of three edges, publishes, and links the
// edges to the same relay or to another one. The edges must catch up from the tail or from history,
// and each member must get the missed messages in its form.
func TestCatchingUpBringsTheFormsThatAreNeeded(t *testing.T) {
	for _, c := range []struct {
		name     string
		to       int  // relay to which the edges link
		watching bool // a client of an SDK stays in the group at that relay
		reads    bool // edges with clients of SDKs must be sent history
	}{
		{"the same relay, from the tail", 0, true, false},
		{"the same relay, whose tail has the form of the chat alone", 0, false, true},
		{"another relay, from the tail", 1, true, false},
		{"another relay, which reads history", 1, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, chats, clients, both := mixed(t, 2)
			to := w.relays[c.to]
			watch := w.edge("watch")
			if c.watching {
				watch.client(1, "9", "group:g", protocol.All)
			} else {
				watch.channel(1, "9")
			}
			watch.linkTo(to)
			w.settle()
			if !c.watching {
				watch.join(1, "g")
				w.settle()
			}
			edges := []*testEdge{chats, clients, both}
			for _, e := range edges {
				e.cut()
				clear(e.received)
			}
			w.settle()
			if !c.watching {
				w.wait(to.router.cfg.Grace) // the relay forgets the edges and their clients
			}
			for i := range 3 {
				if c.watching {
					watch.say(1, fmt.Sprintf("tell 1 group:g m%d", i))
				} else {
					watch.group(1, "g", fmt.Sprint("m", i))
				}
				w.settle()
			}
			to.broker.histories = 0
			var texts, lines []string
			who := map[bool]string{true: "9c1", false: "9"}[c.watching]
			for i := range 3 {
				texts = append(texts, inGroup("g", "9", fmt.Sprint("m", i)))
				lines = append(lines, fmt.Sprintf("group:g %s: m%d", who, i))
			}
			for _, e := range edges {
				clear(e.kinds)
				e.linkTo(to)
				w.settle()
			}
			if read := to.broker.histories > 0; read != c.reads {
				t.Errorf("history is read: %v, want %v", read, c.reads)
			}
			missed := func(e *testEdge, id uint64, want []string) {
				t.Helper()
				var got []string
				for _, text := range e.received[id] {
					if strings.Contains(text, "m") && !strings.Contains(text, "add to group") {
						got = append(got, text)
					}
				}
				if strings.Join(got, "\n") != strings.Join(want, "\n") {
					t.Errorf("%s, session %d: got %q, want %q", e.node, id, e.received[id], want)
				}
			}
			missed(chats, 1, texts)
			missed(both, 1, texts)
			missed(both, 2, lines)
			missed(clients, 2, lines)
			if chats.kinds["forms 0 1"]+chats.kinds["forms 1"] > 0 || clients.kinds["publication"] > 0 || both.kinds["publication"] > 0 {
				t.Errorf("given: %v, %v, %v", chats.kinds, clients.kinds, both.kinds)
			}
		})
	}
}

// TestWhatIsGivenAheadHasTheFormsThatAreNeeded gives messages ahead while the broker is away. An
// edge with clients that links meanwhile must be given these messages from the tail. After the
// outage no member may be given a message again.
func TestWhatIsGivenAheadHasTheFormsThatAreNeeded(t *testing.T) {
	w, chats, clients, both := mixed(t, 1)
	rl := w.relays[0]
	both.cut()
	w.settle()
	rl.leave(false)
	w.settle()
	clients.say(2, "tell 1 group:g Hello")
	chats.group(1, "g", "hi")
	w.settle()
	clients.saw(2, "group:g 2c2: Hello", "1 done", "group:g 1: hi")
	chats.saw(1, inGroup("g", "2", "Hello"))
	chats.got(map[string]int{"ahead": 2})
	clients.got(map[string]int{"ahead forms 1": 2})
	both.linkTo(rl)
	w.settle()
	both.saw(1, inGroup("g", "2", "Hello"), inGroup("g", "1", "hi"))
	both.saw(2, "group:g 2c2: Hello", "group:g 1: hi")
	both.got(map[string]int{"ahead forms 0 1": 2})
	rl.comeBack()
	w.settle()
	w.wait(paceFor)
	for _, e := range []*testEdge{chats, clients, both} {
		e.saw(1)
		e.saw(2)
	}
	chats.got(map[string]int{"publication": 2})
	clients.got(map[string]int{"forms 1": 2})
	both.got(map[string]int{"forms 0 1": 2})
	w.done(chats, clients, both)
}

// TestWhatIsGivenAheadInTheChatAloneIsKeptForClients gives a message ahead while the topic has no
// client of an SDK. Before the outage is over, an edge links that has a client of an SDK in the
// topic. This edge must be given the message.
func TestWhatIsGivenAheadInTheChatAloneIsKeptForClients(t *testing.T) {
	w, e := serving(t, 1)
	rl := w.relays[0]
	e.channel(1, "1")
	b := w.edge("b")
	b.client(2, "2", "group:g")
	w.settle()
	e.join(1, "g")
	w.settle()
	e.saw(1, protocol.JoinText("1", "g"))
	b.topics["group:g"].position = rl.router.directory.topics["group:g"].top
	rl.leave(false)
	w.settle()
	e.group(1, "g", "hi")
	w.settle()
	b.linkTo(rl)
	w.settle()
	b.saw(2, "group:g 1: hi")
	rl.comeBack()
	w.settle()
	w.wait(paceFor)
	b.saw(2)
	w.done(e, b)
}

// In TestWhatWasGivenAheadBeforeASubscribeIsGivenWhenItIsPublished, a message is given ahead. Then
// a client at another edge subscribes to the topic. The client must not be given the message ahead.
// When the message is published, its position is after the client's place. So the client must then
// be given the message.
func TestWhatWasGivenAheadBeforeASubscribeIsGivenWhenItIsPublished(t *testing.T) {
	w, e := serving(t, 1)
	rl := w.relays[0]
	b := w.edge("b")
	b.linkTo(rl)
	e.client(1, "7", "x")
	e.cut()
	e.linkTo(rl)
	b.tellClient(link.Client{ID: 1, Confirmed: true, User: "8"})
	w.settle()
	rl.leave(false)
	w.settle()
	e.say(1, "tell 1 x early")
	w.settle()
	b.say(1, "bind 1 x")
	w.settle()
	e.say(1, "tell 2 x late")
	w.settle()
	e.saw(1, "x 7c1: early", "1 done", "x 7c1: late", "2 done")
	b.saw(1, "1 done", "x 7c1: late")
	rl.comeBack()
	w.settle()
	w.wait(paceFor)
	e.saw(1)
	b.saw(1, "x 7c1: early")
	w.done(e, b)
}

// In TestP8_FramesInTailsAreBounded, one edge has clients of SDKs, another has sessions of the
// chat, and a third has both. The two edges with clients of SDKs link anew again and again, and
// catch up from a small tail. After each message, tails.bytes must be the size of all items, and
// must not exceed Config.TailBytes.
func TestP8_FramesInTailsAreBounded(t *testing.T) {
	const most, size = 16 << 10, 1 << 10
	w := newWorld(t, 0)
	rl := w.addSpeaking(Config{TailBytes: most, TailLength: 8}, speakers()...)
	edges := []*testEdge{w.edge("clients"), w.edge("both"), w.edge("chats")}
	for i, e := range edges {
		e.channel(1, "1")
		for id := range uint64(3) {
			if i < 2 {
				e.client(id+2, "2", protocol.Topic(fmt.Sprint("group:g", id)))
			}
		}
		e.linkTo(rl)
		w.settle()
		for id := range 3 {
			if i > 0 {
				e.join(1, fmt.Sprint("g", id))
			}
		}
		w.settle()
	}
	full := 0
	for i := range 400 {
		e := edges[i%2]
		e.say(2, fmt.Sprintf("say 1 group:g%d %s", i%3, strings.Repeat("x", 1+i*331%size)))
		if i%7 == 0 {
			e.cut()
			w.settle()
			edges[1-i%2].say(2, "say 1 group:g0 "+strings.Repeat("y", size))
			w.settle()
			e.linkTo(rl)
		}
		w.settle()
		bytes := 0
		for _, topic := range rl.router.directory.topics {
			if topic.recent == nil {
				continue
			}
			for _, item := range topic.recent.tail.items {
				bytes += item.size()
			}
		}
		if got := rl.router.tails.bytes; bytes != got || got > most {
			t.Fatalf("message %d: %d bytes are there, %d are counted, at most %d", i, bytes, got, most)
		}
		full = max(full, bytes)
	}
	if full < most/2 {
		t.Errorf("%d bytes at most: nothing was tried", full)
	}
	w.done(edges...)
}

// counting is a dialect that does what lines does, and also counts the calls of Render.
type counting struct {
	lines
	rendered *int
}

func (c counting) Render(b []byte, t protocol.Topic, at protocol.Position, p *protocol.Content) ([]byte, string) {
	*c.rendered++
	return c.lines.Render(b, t, at, p)
}

// TestAPublicationIsRenderedOnce publishes to members on many edges. Each text must be rendered
// once, even if the tail has no room for it.
func TestAPublicationIsRenderedOnce(t *testing.T) {
	rendered := 0
	w := newWorld(t, 0)
	rl := w.addSpeaking(Config{TailBytes: 1}, chat.Dialect{}, counting{lines{}, &rendered})
	var edges []*testEdge
	for i := range 5 {
		e := w.edge(fmt.Sprint("e", i))
		e.client(1, "7", "x")
		e.linkTo(rl)
		edges = append(edges, e)
	}
	w.settle()
	edges[0].say(1, "tell 1 x Hello")
	w.settle()
	if rendered != 1 {
		t.Errorf("rendered %d times", rendered)
	}
	for _, e := range edges {
		e.received[1] = e.received[1][:1]
		e.saw(1, "x 7c1: Hello")
	}
	rl.leave(false)
	w.settle()
	edges[0].say(1, "tell 2 x ahead")
	w.settle()
	if rendered != 2 {
		t.Errorf("rendered %d times, the second one ahead", rendered-1)
	}
}

// TestFanOutWithoutClientsCostsNoMore measures what a publication costs a relay with one dialect
// and with two. With two dialects the relay must not make more allocations, and must send the same
// number of bytes.
func TestFanOutWithoutClientsCostsNoMore(t *testing.T) {
	cost := func(dialects ...dialect.Dialect) (allocs float64, bytes int) {
		s := newStage(3, dialects...)
		for e := range 3 {
			s.say(e, s.open(e, protocol.EndpointChannel, fmt.Sprint("u", e)), []byte(`{"Method":"UserGroup","Group":"g"}`))
		}
		text := []byte(`{"Method":"Group","Group":"g","MsgBody":"hello, how are you all?"}`)
		for range 100 {
			s.say(0, 1, text)
		}
		began := s.links[0].bytes
		allocs = testing.AllocsPerRun(200, func() { s.say(0, 1, text) })
		return allocs, s.links[0].bytes - began
	}
	one, bytes := cost(chat.Dialect{})
	two, more := cost(speakers()...)
	if two > one || more != bytes {
		t.Errorf("%v allocations and %d bytes, with one dialect %v and %d", two, more, one, bytes)
	}
}

// TestAnEdgeWithoutTheFeatureIsSentNothingOfIt removes all clients of SDKs from an edge, which then
// links anew without the feature sdk. The edge must be sent no frame of the feature, although the
// topic has clients of SDKs at another edge.
func TestAnEdgeWithoutTheFeatureIsSentNothingOfIt(t *testing.T) {
	w, _, clients, both := mixed(t, 1)
	both.cut()
	delete(both.sessions, 2)
	delete(both.clients, 2)
	for name := range both.topics {
		both.unbind(name, 2)
	}
	both.early = true
	both.linkTo(w.relays[0])
	w.settle()
	clients.say(2, "tell 1 group:g Hello")
	w.settle()
	w.relays[0].leave(false)
	w.settle()
	clients.say(2, "tell 2 group:g ahead")
	w.settle()
	both.saw(1, inGroup("g", "2", "Hello"), inGroup("g", "2", "ahead"))
	both.got(map[string]int{"publication": 1, "ahead": 1})
	w.relays[0].comeBack()
	w.settle()
	w.wait(paceFor)
	w.done(clients, both)
}

// In TestP2_WhatHasNoPositionComesOnceWhileTablesAreTaken, an original server publishes while a
// relay takes the tables of an edge. The number of pieces that are taken before the publish differs
// from run to run. Each member at the edge must get the publication once.
func TestP2_WhatHasNoPositionComesOnceWhileTablesAreTaken(t *testing.T) {
	for pieces := 1; ; pieces++ {
		w := newWorld(t, 0)
		rl := w.addSpeaking(Config{Pieces: 1}, speakers()...)
		e := w.edge("e")
		e.client(1, "1", "group:g")
		e.client(2, "2", "y")
		e.linkTo(rl)
		e.channel(3, "3")
		w.settle()
		e.join(3, "g")
		w.settle()
		clear(e.received)
		e.linkTo(rl)
		for range pieces {
			rl.step()
		}
		taking := rl.router.directory.edges[e.instance].tables.taking != nil
		w.store.PublishBare("group:g", "9", "bare")
		w.settle()
		e.saw(1, "group:g 9: bare")
		e.saw(3, inGroup("g", "9", "bare"))
		if !taking {
			return
		}
	}
}
