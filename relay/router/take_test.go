package router

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// crowded returns an edge that has a number of sessions and is linked to rl. The relay has not
// taken the edge's tables yet.
func crowded(w *world, rl *testRelay, sessions int) *testEdge {
	e := w.edge("crowded")
	for id := uint64(1); id <= uint64(sessions); id++ {
		e.channel(id, fmt.Sprint("u", id))
	}
	e.linkTo(rl)
	return e
}

// counted returns the number of sessions that the Router's metric tells.
func counted(r *Router) int { return int(testutil.ToFloat64(r.m.sessions)) }

// TestP12_OthersAreServedWhileTablesAreTaken checks that a step does at most Config.Pieces pieces
// of an edge's tables. Meanwhile a message of another edge must be published in the step in which
// it comes.
func TestP12_OthersAreServedWhileTablesAreTaken(t *testing.T) {
	w := newWorld(t, 0)
	rl := w.addRelay(Config{Pieces: 10})
	other := w.edge("other")
	other.channel(1, "other")
	other.linkTo(rl)
	w.settle()
	crowded(w, rl, 300)
	rl.step()
	steps := 0
	for rl.router.Busy() {
		steps++
		published := len(rl.broker.published)
		other.one(1, "other", "while tables are taken")
		rl.step()
		if len(rl.broker.published) != published+1 {
			t.Fatalf("step %d published nothing", steps)
		}
		if n := counted(rl.router); n > 1+10*(steps+1) {
			t.Fatalf("%d sessions after %d steps of 10 pieces", n, steps)
		}
	}
	if steps < 300*2/10 { // each session is entered, and then opened
		t.Errorf("the tables were taken in %d steps", steps)
	}
}

// TestP12_AnEdgeThatIsGoneIsForgottenInPieces cuts the link of an edge, which does not come back.
// Its topics must be dropped piece by piece, and all of them in the end.
func TestP12_AnEdgeThatIsGoneIsForgottenInPieces(t *testing.T) {
	w := newWorld(t, 0)
	rl := w.addRelay(Config{Pieces: 10})
	e := crowded(w, rl, 100)
	w.settle()
	e.cut()
	w.now = w.now.Add(time.Minute)
	before := len(rl.router.directory.topics)
	for rl.step(); rl.router.Busy(); rl.step() {
		left := len(rl.router.directory.topics)
		if left < before-10 {
			t.Fatalf("a step of 10 pieces dropped %d topics", before-left)
		}
		before = left
	}
	if n := len(rl.router.directory.topics); n > 0 {
		t.Errorf("%d topics are left", n)
	}
}

// TestFramesWaitForTheTables checks that the frames that an edge sends after Synced are handled in
// order, after the edge's tables have been taken.
func TestFramesWaitForTheTables(t *testing.T) {
	w := newWorld(t, 0)
	rl := w.addRelay(Config{Pieces: 1})
	e := crowded(w, rl, 20)
	e.join(19, "g")
	e.join(20, "g")
	e.group(20, "g", "said by a member")
	e.channel(21, "late")
	e.group(21, "g", "said by no member")
	rl.step()
	if n := len(rl.broker.published); n > 0 {
		t.Fatalf("%d messages were published before the tables were taken", n)
	}
	w.settle()
	e.saw(20, "user 【u20】 add to group 【g】")
	e.saw(19, "user 【u19】 add to group 【g】", "group 【g】 user 【u20】 send:user 【u20】 add to group 【g】", "group 【g】 user 【u20】 send:said by a member")
	e.saw(21, "user 【late】 not in 【g】")
	if len(e.closed) > 0 || len(e.log) > 0 {
		t.Errorf("closed with %v; %d frames are not finished", e.closed, len(e.log))
	}
}

// TestALinkThatEndsWhileItsTablesAreTaken ends a link after each possible number of pieces. After
// an even number the edge links again at once. After an odd number the edge links again only when
// the relay has forgotten it. In both cases the member must get the message that was sent
// meanwhile, and the edge must have all of its sessions.
func TestALinkThatEndsWhileItsTablesAreTaken(t *testing.T) {
	for pieces := 0; ; pieces++ {
		w := newWorld(t, 0)
		rl := w.addRelay(Config{Pieces: 1})
		speaker := w.edge("speaker")
		speaker.channel(1, "speaker")
		speaker.linkTo(rl)
		speaker.join(1, "g")
		e := crowded(w, rl, 3)
		w.settle()
		e.join(1, "g")
		w.settle()
		e.cut()
		e.linkTo(rl)
		e.one(2, "u3", "in the log")
		for range pieces {
			rl.step()
		}
		busy := rl.router.Busy()
		speaker.group(1, "g", "meanwhile")
		e.cut()
		if pieces%2 == 0 {
			e.linkTo(rl)
		}
		clear(e.received)
		w.settle()
		if pieces%2 == 1 {
			w.wait(time.Minute)
			if n := len(rl.router.directory.edges); n != 1 {
				t.Fatalf("after %d pieces: %d edges are left", pieces, n)
			}
			e.linkTo(rl)
			w.settle()
		}
		if got := e.received[1]; !slices.Equal(got, []string{"group 【g】 user 【speaker】 send:meanwhile"}) {
			t.Fatalf("after %d pieces: the member has %q", pieces, got)
		}
		if len(e.log) > 0 || len(e.closed) > 0 {
			t.Fatalf("after %d pieces: %d frames unfinished, closed with %v", pieces, len(e.log), e.closed)
		}
		if n := counted(rl.router); n != 4 {
			t.Fatalf("after %d pieces: %d sessions are counted", pieces, n)
		}
		w.wait(11 * time.Second) // the edge compares its tables with a Digest
		if !busy {
			return
		}
	}
}

// TestP8_FramesThatWaitForTheTablesAreBounded checks that a link is cut if its edge sends more
// bytes after Synced than its log and its tables together may hold.
func TestP8_FramesThatWaitForTheTablesAreBounded(t *testing.T) {
	w := newWorld(t, 0)
	rl := w.addRelay(Config{Pieces: 1, TellBytes: 4 << 10})
	e := telling(w, rl)
	e.send(link.Session{ID: 1, Endpoint: protocol.EndpointUser, User: "1"}, link.Synced{First: 1, Sessions: 1})
	var frames []any
	for n := range uint64(4<<10/65 + 1) {
		frames = append(frames, link.Session{ID: 2 + n, Endpoint: protocol.EndpointUser, User: "1"})
	}
	e.send(frames...)
	rl.step()
	if !slices.Equal(e.closed, []link.Code{link.CodeLimit}) {
		t.Errorf("closed with %v, want limit", e.closed)
	}
	w.settle()
	if rl.router.Busy() {
		t.Error("the job outlived its link")
	}
}

// In TestP1_WhatComesBetweenThePiecesComesOnce, a topic's subscription is confirmed after the edge
// is ready, and before the topic's follower is resumed. In the same step the relay receives a
// message of an original server and a message of another edge. The client must get each of them
// once.
func TestP1_WhatComesBetweenThePiecesComesOnce(t *testing.T) {
	w := newWorld(t, 0)
	rl := w.addRelay(Config{Pieces: 1})
	speaker := w.edge("speaker")
	speaker.channel(1, "speaker")
	speaker.linkTo(w.addRelay(Config{}))
	w.settle()
	e := w.edge("e")
	for id, user := range []string{1: "1", 2: "2", 3: "3"} {
		if user != "" {
			e.sessions[uint64(id)] = link.Session{ID: uint64(id), Endpoint: protocol.EndpointUser, User: user}
			e.topics[protocol.UserTopic(user)] = &heldTopic{position: protocol.Unplaced(0), members: []uint64{uint64(id)}}
		}
	}
	rl.broker.slow = true
	e.linkTo(rl)
	rl.step()
	known := rl.router.directory.edges[e.instance]
	for known.tables.taking.phase < takeResume {
		rl.step()
	}
	w.store.PublishBare("user:3", "9", "of an original server")
	speaker.one(1, "3", "of another edge")
	w.relays[1].step()
	rl.broker.slow = false
	rl.step() // the events come, and one follower is resumed
	last := rl.router.directory.follower(known, protocol.UserTopic("3"))
	if known.tables.taking.phase != takeResume || last.numbered {
		t.Fatal("the last follower should wait for its turn")
	}
	w.settle()
	if n := e.frames[protocol.UserTopic("3")]; n != 2 || e.live != 1 || len(e.received[3]) != 2 {
		t.Errorf("%d publications, %q, and %d times Live", n, e.received[3], e.live)
	}
}
