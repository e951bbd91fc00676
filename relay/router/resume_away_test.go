package router

import (
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/link"
)

// waitsNowhere checks that no Bind, no Confirm and no History is in a list in which such frames
// wait.
func (s *resumes) waitsNowhere() {
	s.t.Helper()
	r := s.rl.router
	for t, c := range r.comebacks {
		if c.awaited() {
			s.t.Errorf("frames wait at topic %s: %+v", t.name, c)
		}
	}
	for _, e := range r.directory.edges {
		if a := &e.answers; a.waiting.first != nil || len(a.ranges) > 0 {
			s.t.Errorf("%s: something waits: %+v", e.node, a)
		}
		for user, u := range e.answers.users {
			if u.waiting.first != nil {
				s.t.Errorf("%s: number %d waits for room of %s", e.node, u.waiting.first.number, user)
			}
		}
		for _, f := range e.followers {
			if f.rare != nil && f.rare.binders.first != nil {
				s.t.Errorf("%s: number %d waits at %s", e.node, f.rare.binders.first.number, f.topic.name)
			}
		}
	}
}

// withhold holds back pages of history, epochs that are begun, and publications. The function bring
// brings them, and holds nothing back any more.
func (s *resumes) withhold() (bring func()) {
	var held []Input
	rl := s.rl
	rl.broker.onEvent = func(ev broker.Event) bool {
		switch ev.(type) {
		case broker.History, broker.Began, broker.Received:
			held = append(held, FromBroker{ev})
			return false
		}
		return true
	}
	return func() {
		rl.broker.onEvent = nil
		rl.inputs = append(rl.inputs, held...)
		held = nil
		s.settle()
	}
}

// drain tells the relay that the long answers which the edge has kept are drained.
func (e *testEdge) drain() {
	for _, d := range *e.undrained {
		e.send(d)
	}
	*e.undrained = nil
}

// fill resumes topic big in four more sessions of user u4. After that, long answers of 3.6 MB
// together are under way to that user.
func (s *resumes) fill() {
	text := strings.Repeat("m", 9000)
	for range 100 {
		s.publishText("big", text)
	}
	s.settle()
	for id := uint64(41); id <= 44; id++ {
		s.e.tellClient(link.Client{ID: id, Confirmed: true, User: "u4"})
		s.say(id, "bind 1 big k most=1000 since="+s.epochs[len(s.epochs)-1]+"-0")
		s.settle()
		if got := s.e.received[id]; len(got) != 1 || strings.Count(got[0], text) != 100 {
			s.t.Errorf("client %d got %.80q", id, got)
		}
		delete(s.e.received, id)
	}
}

// endsOfWaits are the rows of TestP11_WhatEndsAWait.
var endsOfWaits = []struct {
	name string
	then func(s *resumes)
}{
	{"the answers come", func(s *resumes) {}},
	{"the sessions end", func(s *resumes) {
		for id := uint64(1); id <= 7; id++ {
			s.end(id)
		}
		s.wait(bindWait)
		s.waitsNowhere()
	}},
	{"the link ends", func(s *resumes) {
		s.e.cut()
		s.wait(time.Second)
		s.e.linkTo(s.rl)
	}},
	{"a new link replaces it", func(s *resumes) { s.e.linkTo(s.rl) }},
	{"the edge does not come back in time", func(s *resumes) {
		s.e.cut()
		s.settle()
		s.wait(s.rl.router.cfg.Grace)
		s.waitsNowhere()
		s.wait(comebackAge)
		s.wait(comebackAge)
		if r := s.rl.router; len(r.comebacks) != 0 || r.pasts.bytes != 0 {
			s.t.Errorf("left: %+v", r.pasts)
		}
		s.e.linkTo(s.rl)
	}},
	{"the edge breaks a rule", func(s *resumes) {
		s.e.send(link.End{Number: 1, Session: 1})
		s.settle()
		s.e.cut()
		s.e.linkTo(s.rl)
	}},
	{"the relay dies", func(s *resumes) {
		s.kill(s.rl)
		s.rl = s.addSpeaking(Config{}, showing()...)
		s.e.linkTo(s.rl)
		s.settle()
	}},
	{"Redis goes away", func(s *resumes) {
		s.rl.leave(false)
		s.settle()
		for _, id := range []uint64{1, 2, 3, 4, 5, 7} { // the page for client 6 is under way
			if got := s.e.received[id]; len(got) != 1 || strings.Contains(got[0], "recovered") {
				s.t.Errorf("client %d got %.80q", id, got)
			}
		}
		s.waitsNowhere()
		s.rl.comeBack()
	}},
	{"4 s pass", func(s *resumes) {
		s.wait(bindWait)
		s.waitsNowhere()
		for id, want := range map[uint64]string{1: "1 late", 2: "1 late", 3: "1 late", 4: "1 late", 6: "1 late"} {
			s.saw(id, want)
		}
	}},
}

// In TestP11_WhatEndsAWait, clients wait: for a page of history, for an epoch, for a publication,
// and for room for a long answer. One connect waits for several of these, and one for room. Each
// row ends the waits in another way. Then no frame may be left anywhere, and all numbers must be
// finished.
func TestP11_WhatEndsAWait(t *testing.T) {
	for _, c := range endsOfWaits {
		t.Run(c.name, func(t *testing.T) {
			s := resuming(t, Config{}, 1, 2, 3, 4, 6)
			s.e.undrained = new([]link.Drained)
			s.stay()
			s.publish("x", 200)
			s.publish("y", 10)
			s.fill()
			s.hush("silent", 8)
			bring := s.withhold()
			s.publish("y", 5)
			s.say(1, "bind 1 x k most=1000 since=A-20")
			s.say(2, "bind 1 silent k most=1000")
			s.say(3, "bind 1 y k most=1000 since=B-16")
			s.say(4, "bind 1 big k most=1000 since=C-0")
			s.say(6, "history 1 y most=10 limit=5")
			s.e.guest(5)
			s.e.guest(7)
			s.say(5, "connect 1 7 0 keep silent2;most=5 x;most=1000;since=A-30 y;most=10;since=B-16")
			s.say(7, "connect 1 u4 0 keep big;most=1000;since=C-0")
			s.settle()
			for id := uint64(1); id <= 7; id++ {
				s.saw(id)
			}
			c.then(s)
			bring()
			s.e.drain()
			for range 10 {
				s.wait(time.Second)
				s.e.drain()
			}
			s.settle()
			s.waitsNowhere()
			if a := s.rl.router.directory.edges[s.e.instance].answers; a.bytes != 0 || a.users != nil || a.pending != nil || a.reading != 0 {
				t.Errorf("answers under way: %+v", a)
			}
			s.finish()
		})
	}
}

// TestP11_WhileRedisIsAwayNothingIsRecovered resumes while Redis is away. The client must be bound
// at once. Nothing may be recovered, since the client might miss what was given ahead to others.
// Resumes must be recovered again when that is published.
func TestP11_WhileRedisIsAwayNothingIsRecovered(t *testing.T) {
	s := resuming(t, Config{}, 1, 2)
	s.stay()
	s.publish("x", 10)
	s.rl.leave(false)
	s.settle()
	s.resume(3, "A-10", "1 done A-10")
	s.resume(4, "A-5", "1 done A-10")
	s.say(1, "bind 1 new k most=10 since=A-5")
	s.e.guest(5)
	s.say(5, "connect 1 7 0 keep x;most=10;since=A-9 other;most=10")
	s.say(2, "bind 1 x k most=10")
	s.say(2, "tell 2 x ahead")
	s.settle()
	s.saw(1, "1 done 0-0")
	s.saw(5, "1 done A-10; 0-0", "x u2c2: ahead")
	s.saw(2, "1 done A-10", "x u2c2: ahead", "2 done")
	s.saw(3, "x u2c2: ahead")
	s.saw(4, "x u2c2: ahead")
	s.rl.broker.slow = true
	s.rl.comeBack()
	s.settle()
	s.saw(3)
	s.rl.broker.slow = false
	s.settle()
	s.wait(paceFor)
	s.resume(6, "A-9", "1 done A-11 recovered 10:m10 11:ahead")
	s.publish("x", 1)
	s.saw(3, "x 9: m11 at A-12")
	s.saw(6, "x 9: m11 at A-12")
	s.e.saw(999)
	s.finish()
}

// TestP11_WhileRedisTakesNothingItIsNotAsked makes publishes fail while the subscriptions stay in
// force. That counts as away. So nothing may be read, no epoch may be begun, and all clients must
// be bound at once. Nothing is recovered, though the tail may have it, and goes on.
func TestP11_WhileRedisTakesNothingItIsNotAsked(t *testing.T) {
	s := resuming(t, Config{}, 1, 2)
	s.stay()
	s.publish("x", 10)
	s.say(1, "bind 1 silent k")
	s.settle()
	s.saw(1, "1 done")
	s.rl.refuse()
	s.settle()
	s.resume(3, "A-9", "1 done A-10")
	s.resume(4, "A-10", "1 done A-10")
	s.publish("x", 90)
	for id := uint64(3); id <= 4; id++ {
		delete(s.e.received, id)
	}
	s.resume(6, "A-36", "1 done A-100")
	s.resume(7, "A-35", "1 done A-100")
	s.resume(8, "A-101", "1 done A-100")
	s.say(2, "bind 1 silent k most=5")
	s.settle()
	s.saw(2, "1 done 0-0")
	s.say(2, "history 2 x most=10 limit=5")
	s.settle()
	s.saw(2, "2 late")
	if n := s.rl.broker.begins + s.rl.broker.histories; n > 0 {
		t.Errorf("the broker was asked %d times", n)
	}
	s.rl.accept()
	s.settle()
	s.resume(5, "A-9", missedTo("A-100", 10, 100))
	s.finish()
}

// TestP11_ALateConnectIsConfirmedWithoutPublications connects a client of a user who has no room
// for long answers. When the connect has waited for placeWait, it must be confirmed without
// publications. Only the topic of which the client missed nothing is recovered.
func TestP11_ALateConnectIsConfirmedWithoutPublications(t *testing.T) {
	s := resuming(t, Config{})
	s.e.undrained = new([]link.Drained)
	s.publish("x", 10)
	s.come(999)
	s.say(999, "bind 1 big") // so what was missed stays at hand, in the tail
	s.settle()
	s.fill()
	s.say(41, "history 2 big most=1000 limit=29")
	s.settle()
	clear(s.e.received)
	s.e.guest(1)
	s.say(1, "connect 1 u4 0 keep big;most=1000;since=B-40 x;most=10;since=A-10")
	s.settle()
	s.wait(placeWait - time.Millisecond)
	s.saw(1)
	s.wait(time.Millisecond)
	s.saw(1, "1 done B-100; A-10 recovered")
	s.waitsNowhere()
	s.e.drain()
	s.finish()
}

// TestP11_NotBeforeWhatWasGivenAheadIsPublished resumes while messages that were given ahead are
// not published yet, although publications are heard. Nothing may be recovered until then.
func TestP11_NotBeforeWhatWasGivenAheadIsPublished(t *testing.T) {
	s := resuming(t, Config{}, 1)
	s.stay()
	s.publish("x", 10)
	s.say(1, "bind 1 x k most=10")
	s.settle()
	s.saw(1, "1 done A-10")
	s.rl.refuse()
	s.settle()
	s.say(1, "tell 2 x ahead")
	s.settle()
	s.saw(1, "x u1c1: ahead", "2 done")
	s.publish("x", 1) // heard all the same
	s.saw(1, "x 9: m11 at A-11")
	s.resume(2, "A-9", "1 done A-11")
	s.rl.accept()
	s.settle()
	s.wait(paceFor)
	s.resume(3, "A-9", "1 done A-12 recovered 10:m10 11:m11 12:ahead")
	s.finish()
}

// TestP11_WhoComesBackToAFollowerThatIsBehindWaits resumes while the edge's members of the topic
// lag behind, since the link is full. The answer must come once the members have caught up, and
// must have all that the client missed until then. If the relay becomes deaf meanwhile, the client
// must be bound at once, with nothing recovered.
func TestP11_WhoComesBackToAFollowerThatIsBehindWaits(t *testing.T) {
	for _, deaf := range []bool{false, true} {
		s := resuming(t, Config{}, 1)
		s.stay()
		s.publish("x", 10)
		s.e.stuck = 64 << 20
		s.publish("x", 5)
		s.say(1, "bind 1 x k most=100 since=A-8")
		s.settle()
		s.saw(1)
		if deaf {
			s.rl.deafen()
			s.settle()
			s.publish("x", 5)
			s.saw(1, "1 done A-10") // nobody knows how long the relay stays deaf
			s.rl.undeafen()
			s.settle()
		}
		s.e.stuck = 0
		s.wait(lookAgainAfter)
		if deaf {
			s.saw(1, "x 9: m11 at A-11", "x 9: m12 at A-12", "x 9: m13 at A-13", "x 9: m14 at A-14", "x 9: m15 at A-15",
				"x 9: m16 at A-16", "x 9: m17 at A-17", "x 9: m18 at A-18", "x 9: m19 at A-19", "x 9: m20 at A-20")
		} else {
			s.saw(1, missedTo("A-15", 9, 15))
		}
		delete(s.e.received, 999)
		s.publish("x", 1)
		s.finish()
	}
}

// TestP11_UnplacedMembers resumes at an edge whose members of the topic came while Redis was away,
// so that nobody knew their position. While Redis is away, nothing may be recovered. When Redis is
// back, a resume must get all that was missed.
func TestP11_UnplacedMembers(t *testing.T) {
	s := resuming(t, Config{})
	s.publish("x", 10)
	s.rl.leave(false)
	s.settle()
	s.come(1)
	s.say(1, "bind 1 x k most=10")
	s.settle()
	s.saw(1, "1 done 0-0")
	s.resume(2, "A-5", "1 done 0-0")
	s.rl.comeBack()
	s.settle()
	s.resume(3, "A-5", missedTo("A-10", 6, 10))
	s.publish("x", 1)
	s.saw(1, "x 9: m11 at A-11")
	s.saw(2, "x 9: m11 at A-11")
	s.finish()
}

// TestP11_WhereASearchHasGotToIsNoPlace subscribes while Redis is away, and the position of the
// edge's members is being looked for in history. The client must be told that its place is not
// known.
func TestP11_WhereASearchHasGotToIsNoPlace(t *testing.T) {
	s := resuming(t, Config{})
	s.publish("x", 200)
	s.rl.leave(false)
	s.settle()
	s.come(1)
	s.say(1, "bind 1 x k most=10")
	s.settle()
	s.saw(1, "1 done 0-0")
	s.rl = s.addSpeaking(Config{}, showing()...)
	pages := 0
	s.rl.broker.onEvent = func(ev broker.Event) bool {
		if _, ok := ev.(broker.History); ok {
			pages++
			return pages != 2 // that one never comes
		}
		return true
	}
	s.e.linkTo(s.rl)
	s.settle()
	if pages != 2 {
		t.Fatalf("%d pages were read", pages)
	}
	s.rl.leave(false)
	s.settle()
	s.come(2)
	s.say(2, "bind 1 x k most=10")
	s.settle()
	s.saw(2, "1 done 0-0")
	s.rl.comeBack()
	s.settle()
	s.e.linkTo(s.rl)
	s.settle()
	s.publish("x", 1)
	s.saw(1, "x 9: m201 at A-201")
	s.saw(2, "x 9: m201 at A-201")
	s.finish()
}

// TestP11_NobodyWaitsForRoomWhileRedisIsAway makes Redis go away in a step that has made as many
// answers as it may. Clients that wait for room for long answers must be bound all the same.
func TestP11_NobodyWaitsForRoomWhileRedisIsAway(t *testing.T) {
	s := resuming(t, Config{}, 1)
	s.e.undrained = new([]link.Drained)
	s.fill()
	s.say(41, "history 2 big most=1000 limit=29")
	s.settle()
	delete(s.e.received, 41)
	for id := uint64(50); id <= 52; id++ {
		s.e.tellClient(link.Client{ID: id, Confirmed: true, User: "u4"})
		s.say(id, "bind 1 big k most=1000 since=A-0")
	}
	s.settle()
	for id := uint64(50); id <= 52; id++ {
		s.saw(id)
	}
	s.wait(windowAge) // so that the window has room
	s.say(1, "bind 1 big k most=1000 since=A-0")
	s.rl.leave(false)
	s.settle()
	for id := uint64(50); id <= 52; id++ {
		s.saw(id, "1 done A-100")
	}
	if got := s.e.received[1]; len(got) != 1 || !strings.Contains(got[0], " recovered ") {
		t.Errorf("got %.80q", got)
	}
	delete(s.e.received, 1)
	s.waitsNowhere()
	s.rl.comeBack()
	s.settle()
	s.e.drain()
	s.finish()
}

// TestP11_AnEdgeThatIsFurther links an edge to a relay that has not heard what the edge was given
// by another relay. A client that resumes there must wait until the relay has heard of it.
func TestP11_AnEdgeThatIsFurther(t *testing.T) {
	s := resuming(t, Config{}, 1)
	s.stay()
	there := s.addSpeaking(Config{}, showing()...)
	b := s.edge("b")
	b.linkTo(there)
	b.tellClient(link.Client{ID: 1, Confirmed: true, User: "b"})
	b.say(1, "bind 1 x")
	s.publish("x", 10)
	there.broker.slow = true
	s.publish("x", 5)
	s.e.linkTo(there)
	s.settle()
	s.say(1, "bind 1 x k most=100 since=A-8")
	s.settle()
	s.saw(1)
	there.broker.slow = false
	s.settle()
	s.saw(1, missedTo("A-15", 9, 15))
	s.publish("x", 1)
	s.saw(1, "x 9: m16 at A-16")
	s.rl = there
	s.finish()
}

// TestP11_BoundAndConfirmedNameThePlace resumes at an edge that two links serve for a while, by a
// Bind and by a connect. The older link has brought more than the newest link, so both clients are
// late members. The newest link must bring what the clients lack, once.
func TestP11_BoundAndConfirmedNameThePlace(t *testing.T) {
	s := resuming(t, Config{}, 1)
	s.stay()
	s.publish("x", 10)
	here, there := s.rl, s.addSpeaking(Config{}, showing()...)
	here.broker.onEvent = func(ev broker.Event) bool {
		_, flushed := ev.(broker.Flushed)
		return !flushed // so that the edge does not leave its older link
	}
	s.e.moveTo(there)
	s.settle()
	there.broker.slow = true
	s.publish("x", 5) // the older link brings them
	if at := s.e.topics["x"].position.Offset; at != 15 {
		t.Fatalf("the edge is at offset %d", at)
	}
	s.say(1, "bind 1 x k most=100 since=A-8")
	s.e.guest(2)
	s.say(2, "connect 1 7 0 keep x;most=100;since=A-8")
	s.settle()
	for id := uint64(1); id <= 2; id++ {
		s.saw(id, missedTo("A-10", 9, 10))
	}
	there.broker.slow = false
	s.settle()
	for id := uint64(1); id <= 2; id++ {
		s.saw(id, "x 9: m11 at A-11", "x 9: m12 at A-12", "x 9: m13 at A-13", "x 9: m14 at A-14", "x 9: m15 at A-15")
	}
	here.broker.onEvent = nil
	s.e.letGo()
	s.publish("x", 1)
	for id := uint64(1); id <= 2; id++ {
		s.saw(id, "x 9: m16 at A-16")
	}
	s.rl = there
	s.finish()
}
