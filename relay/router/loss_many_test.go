package router

import (
	"fmt"
	"slices"
	"testing"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// In TestP8_ALossThatManyMembersAreToldFitsTheLink, several topics lose messages, and each topic
// has many members. In each step the edge's link takes only a part of the frames by which the
// members are told. The frames that wait at the link must stay within the link's bound. A step must
// tell at most Config.Pieces members. In the end all members must be told.
func TestP8_ALossThatManyMembersAreToldFitsTheLink(t *testing.T) {
	const members, topics, pieces, outgoing, written = 500, 4, 128, 4 << 10, 512
	w := newWorld(t, 0)
	rl := w.addSpeaking(Config{Pieces: pieces, Outgoing: outgoing}, speakers()...)
	var names []protocol.Topic
	for k := range topics {
		names = append(names, protocol.Topic(fmt.Sprint("group:", k)))
	}
	e := w.edge("a")
	for id := uint64(1); id <= members; id++ {
		e.client(id, "7", names...)
	}
	for id := uint64(1); id <= members; id += 2 { // the client with this id is to be closed
		e.setKeep(id, names[0], []byte("server"))
	}
	e.linkTo(rl)
	w.settle()
	e.cut()
	other := w.edge("other")
	other.linkTo(rl)
	other.channel(1, "9")
	for _, name := range names {
		other.join(1, name.Name())
		for i := range 300 {
			other.group(1, name.Name(), fmt.Sprint(i))
		}
		w.settle()
	}
	w.wait(tailAge + 1)
	clear(e.received)
	told := func() (n int) {
		for id := uint64(1); id <= members; id++ {
			for _, text := range e.received[id] {
				for _, name := range names {
					if text == string(name)+" lost" {
						n++
					}
				}
			}
			n += len(e.closes[id])
		}
		return n
	}
	e.linkTo(rl)
	largest, steps := 0, 0
	for before := 0; before < topics*members-members/2*(topics-1); steps++ {
		if steps > 10000 {
			t.Fatalf("%d members are told, and no more", before)
		}
		sent := e.bytes
		rl.step()
		w.now = w.now.Add(lookAgainAfter)
		e.stuck = max(0, e.stuck+e.bytes-sent-written)
		largest = max(largest, e.stuck)
		now := told()
		if now-before > pieces {
			t.Fatalf("a step has told %d members", now-before)
		}
		before = now
	}
	if largest > outgoing+written {
		t.Errorf("%d bytes waited at the link", largest)
	}
	e.stuck = 0
	w.settle()
	w.wait(lookAgainAfter)
	r := rl.router
	for i, name := range names {
		f := r.directory.follower(r.directory.edges[e.instance], name)
		if i == 0 && (f == nil || f.bound != members/2 || f.isBehind) {
			t.Errorf("the follower of those who are to be closed is %+v", f)
		}
	}
	for id := uint64(1); id <= members; id++ {
		if id%2 == 0 && len(e.received[id]) != topics || id%2 == 1 && len(e.closes[id]) != 1 {
			t.Fatalf("client %d is told %q and %v", id, e.received[id], e.closes[id])
		}
	}
	w.done(e)
}

// TestP4_AReplayThatComesBehindTheLossIsAMembers loses the answer to a publish. After that, the
// topic loses messages. On the edge's next link the relay knows of the loss before the publish is
// replayed. The membership must not end while the relay waits for the replay. If the replay does
// not come in time, the session must be closed.
func TestP4_AReplayThatComesBehindTheLossIsAMembers(t *testing.T) {
	for _, comes := range []bool{true, false} {
		w, e := serving(t, 1)
		e.client(1, "1", "group:g")
		e.cut()
		e.linkTo(w.relays[0])
		e.say(1, "tell 0 group:g first")
		w.settle()
		clear(e.received)
		e.deaf = true
		e.say(1, "tell 1 group:g mine")
		w.settle()
		e.cut()
		w.lose()
		log := e.log
		e.log = nil
		e.linkTo(w.relays[0])
		w.settle()
		if got := e.received[1]; len(got) > 0 || len(e.closes[1]) > 0 {
			t.Errorf("before the replay the client got %q and %v", got, e.closes[1])
		}
		if e.log = log; !comes {
			w.wait(replayWait)
			if closes := e.closes[1]; len(closes) != 1 || closes[0].Code != 3010 {
				t.Errorf("without its replay the client is closed with %v", closes)
			}
			continue
		}
		e.send(log...)
		w.settle()
		w.wait(replayPoll)
		// History does not have the publication any more, so the relay cannot know that it was
		// published.
		if got, want := e.received[1], []string{"1 unsure", "group:g lost"}; !slices.Equal(got, want) {
			t.Errorf("the client got %q, want %q", got, want)
		}
		w.done(e)
	}
}

// TestP9_AnEdgeThatIsGoneLeavesNoSessions checks a topic that outlives the edge that followed it
// first. Once the edge is forgotten, the topic must keep and count none of the edge's sessions.
func TestP9_AnEdgeThatIsGoneLeavesNoSessions(t *testing.T) {
	w, e := serving(t, 1)
	for id := uint64(1); id <= 3; id++ {
		e.client(id, "1", "group:g")
	}
	e.cut()
	e.linkTo(w.relays[0])
	o := w.edge("other")
	o.linkTo(w.relays[0])
	o.channel(1, "9")
	w.settle()
	o.join(1, "g")
	w.settle()
	e.cut()
	w.settle()
	w.wait(w.relays[0].router.cfg.Grace + 1)
	topic := w.relays[0].router.directory.topics["group:g"]
	if !topic.first.gone || topic.first.rare != nil || topic.clients != 0 {
		t.Errorf("%d sessions are kept, %d are counted", topic.first.clients(), topic.clients)
	}
}

// In TestP9_AFollowerGoesWithItsLastMemberAfterALoss, the only member of a topic is told a loss
// while the tables of its edge are taken. The page of history that shows the loss comes after the
// relay has dropped followers without members. The follower of this topic must be dropped too.
func TestP9_AFollowerGoesWithItsLastMemberAfterALoss(t *testing.T) {
	w := newWorld(t, 0)
	rl := w.addSpeaking(Config{Pieces: 1}, speakers()...)
	e := w.edge("a")
	e.client(1, "1", "group:g")
	e.linkTo(rl)
	w.settle()
	e.say(1, "tell 0 group:g first")
	w.settle()
	e.cut()
	w.settle()
	w.lose()
	var held []broker.Event
	rl.broker.onEvent = func(ev broker.Event) bool {
		if _, page := ev.(broker.History); page {
			held = append(held, ev)
			return false
		}
		return true
	}
	e.linkTo(rl)
	e.say(1, "say 9 y x")
	e.say(1, "say 9 y x")
	taking := func() *taking {
		if ed := rl.router.directory.edges[e.instance]; ed != nil {
			return ed.tables.taking
		}
		return nil
	}
	for steps := 0; taking() == nil || taking().phase != takeLater || len(held) == 0; steps++ {
		if rl.step(); steps > 1000 {
			t.Fatal("the tables were taken before the page came")
		}
	}
	rl.broker.onEvent = nil
	rl.broker.held = append(rl.broker.held, held...)
	w.settle()
	if f := rl.router.directory.follower(rl.router.directory.edges[e.instance], "group:g"); f != nil {
		t.Errorf("a follower with %d members is left", f.bound)
	}
	w.done(e)
}
