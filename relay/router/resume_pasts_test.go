package router

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// TestP11_PastsAreReadAFewAtOnce brings clients back to more topics than are read at once. The
// others must have their turn. If their clients are late before that, they must not be read.
func TestP11_PastsAreReadAFewAtOnce(t *testing.T) {
	for _, late := range []bool{false, true} {
		const topics = pastsAtOnce + 6
		s := resuming(t, Config{})
		page := s.hold()
		for i := range topics {
			name := protocol.Topic(fmt.Sprint("x", i))
			at := s.publishText(name, "m1")
			s.publishText(name, "m2")
			s.come(uint64(1 + i))
			s.e.say(uint64(1+i), fmt.Sprintf("bind 1 %s k most=10 since=%d-1", name, at.Epoch))
		}
		s.settle()
		if n := s.rl.broker.histories; n != pastsAtOnce {
			t.Errorf("%d are read at once", n)
		}
		answer, pages := "-2 recovered 2:m2", topics
		if late {
			s.wait(bindWait)
			answer, pages = "1 late", pastsAtOnce
		}
		page()
		s.settle()
		for id := uint64(1); id <= topics; id++ {
			if got := s.e.received[id]; len(got) != 1 || !strings.HasSuffix(got[0], answer) {
				t.Errorf("client %d got %q", id, got)
			}
		}
		if n := s.rl.broker.histories; n != pages {
			t.Errorf("%d pages were read", n)
		}
		clear(s.e.received)
		s.finish()
	}
}

// TestP11_APastInUseIsNotDropped brings clients back to topics, each of whose pasts takes more than
// all of them may. What is used or waited for must stay, so that nothing is read twice.
func TestP11_APastInUseIsNotDropped(t *testing.T) {
	s := resuming(t, Config{TailBytes: 4 << 10}, 1, 2, 3)
	text := strings.Repeat("m", 100)
	for range 200 {
		s.publishText("x", text)
		s.publishText("y", text)
	}
	page := s.hold()
	s.say(1, "bind 1 x k most=1000 since=A-0")
	s.say(2, "bind 1 y k most=1000 since=B-0")
	s.settle()
	page()
	s.settle()
	for id, top := range []int{1: 200, 2: 200, 3: 202} {
		if id == 3 {
			s.publishText("y", text)
			s.publishText("y", text)
			s.settle()
			delete(s.e.received, 2)
			s.say(3, "bind 1 y k most=1000 since=B-0")
			s.settle()
		}
		if got := s.e.received[uint64(id)]; id > 0 && (len(got) != 1 || strings.Count(got[0], text) != top) {
			t.Errorf("client %d got %.80q", id, got)
		}
	}
	if n := s.rl.broker.histories; n != 8 {
		t.Errorf("%d pages were read", n)
	}
	clear(s.e.received)
	s.finish()
}

// TestP11_APageForNobody ends a session while a page of history is read for it. If others follow
// the topic, no further page may be read. Otherwise the topic is forgotten, and the page too.
func TestP11_APageForNobody(t *testing.T) {
	for _, stays := range []bool{false, true} {
		s := resuming(t, Config{}, 1)
		if stays {
			s.stay()
		}
		s.publish("x", 250)
		page := s.hold()
		s.say(1, "bind 1 x k most=1000 since=A-10")
		s.settle()
		s.e.end(1)
		s.wait(bindWait)
		s.saw(1, "1 late")
		if n := len(s.rl.router.comebacks); !stays && n != 0 {
			t.Errorf("%d topics have a state", n)
		}
		page()
		s.settle()
		if n := s.rl.broker.histories; n != 1 {
			t.Errorf("%d pages were read", n)
		}
		s.finish()
	}
}

// TestP11_TheEndOfAnEpochMayBeMissing resumes while history lacks the end of the relay's epoch, and
// has the beginning of the next one, of which the relay has not heard. The client may not be
// recovered, since the relay's tail does not reach back to what history has.
func TestP11_TheEndOfAnEpochMayBeMissing(t *testing.T) {
	s := resuming(t, Config{TailLength: 5})
	s.stay()
	s.publish("x", 20)
	s.pages(func(h *broker.History) {
		h.Publications = slices.DeleteFunc(h.Publications, func(p broker.Publication) bool { return p.Position.Offset > 10 })
		h.Top = protocol.Position{Epoch: h.Top.Epoch + 1, Offset: 1}
		h.Through = h.Top
		h.Publications = append(h.Publications, broker.Publication{Topic: h.Topic, Position: h.Top})
	})
	s.resume(1, "A-5", "1 done A-20")
	s.rl.broker.onEvent = nil
	s.finish()
}

// TestP11_APastThatFindsNoRoomIsNotWhole resumes on a topic while the past of another topic, for
// which a client waits, leaves no room for its tail. Neither past may be dropped. The client may
// not be recovered, since its past is not whole, and the other one must be.
func TestP11_APastThatFindsNoRoomIsNotWhole(t *testing.T) {
	s := resuming(t, Config{TailBytes: 1 << 20}, 1)
	text := strings.Repeat("m", 8000)
	for range 140 {
		s.publishText("big", text)
	}
	s.come(999)
	s.say(999, "bind 1 x")
	s.settle()
	for range 70 {
		s.publishText("x", text[:500])
	}
	s.settle()
	delete(s.e.received, 999)
	var third []Input
	pages := 0
	s.rl.broker.onEvent = func(ev broker.Event) bool {
		if _, ok := ev.(broker.History); ok {
			if pages++; pages == 3 {
				third = append(third, FromBroker{ev})
				return false
			}
		}
		return true
	}
	s.say(1, "bind 1 big k most=1000 since=A-13")
	s.come(3)
	s.say(3, "bind 1 big k most=1000 since=A-0")
	s.settle()
	s.resume(2, "B-3", "1 done B-70")
	if got := s.rl.router.pasts.bytes; got > pastMost || got < pastMost-1000 {
		t.Errorf("the pasts have %d bytes", got)
	}
	s.rl.inputs = append(s.rl.inputs, third...)
	s.settle()
	if got := s.e.received[1]; len(got) != 1 || strings.Count(got[0], text) != 127 {
		t.Errorf("got %.80q", got)
	}
	s.saw(3, "1 done A-140") // it has more than an answer may have
	delete(s.e.received, 1)
	s.finish()
}

// TestP11_APastStaysWhileItIsNeeded lets clients come back to a topic at intervals that are shorter
// than comebackAge. History must be read once for all of them.
func TestP11_APastStaysWhileItIsNeeded(t *testing.T) {
	s := resuming(t, Config{})
	s.stay()
	s.publish("x", 200)
	for id := uint64(1); id <= 6; id++ {
		s.resume(id, "A-130", missedTo("A-200", 131, 200))
		s.wait(comebackAge * 3 / 4)
	}
	if n := s.rl.broker.histories; n != 1 {
		t.Errorf("%d pages were read", n)
	}
	s.finish()
}

// TestP11_ThePastThatWasUsedLongestAgoIsDropped brings clients back to three topics, of whose pasts
// two have room. The one that was used last must stay, although it was read first.
func TestP11_ThePastThatWasUsedLongestAgoIsDropped(t *testing.T) {
	s := resuming(t, Config{TailBytes: 2 << 20})
	for i := range 3 {
		for range 60 {
			s.publishText(protocol.Topic(fmt.Sprint("x", i)), strings.Repeat("m", 8000))
		}
	}
	s.settle()
	for i, c := range []struct{ topic, pages int }{{0, 1}, {1, 1}, {0, 0}, {2, 1}, {0, 0}, {1, 1}, {0, 0}} {
		id, before := uint64(1+i), s.rl.broker.histories
		s.come(id)
		s.e.say(id, fmt.Sprintf("bind 1 x%d k most=1000 since=%s-1", c.topic, s.epochs[c.topic]))
		s.settle()
		if got := s.e.received[id]; len(got) != 1 || !strings.Contains(got[0], " recovered ") {
			t.Errorf("client %d got %.60q", id, got)
		}
		if n := s.rl.broker.histories - before; n != c.pages {
			t.Errorf("client %d: %d pages were read, want %d", id, n, c.pages)
		}
	}
	s.finish()
}

// TestP11_APageIsReadOnce lets clients come back, each from further back than the past reaches. A
// reading goes on where the last one ended. What the past has by then is not read again.
func TestP11_APageIsReadOnce(t *testing.T) {
	s := resuming(t, Config{})
	s.stay()
	s.publish("x", 250)
	for i, c := range []struct{ since, pages int }{
		{150, 1}, {123, 0}, {122, 0}, {121, 1}, {58, 0}, {57, 1}, {0, 0}, {100, 0},
	} {
		before := s.rl.broker.histories
		s.resume(uint64(1+i), fmt.Sprint("A-", c.since), missedTo("A-250", c.since+1, 250))
		if n := s.rl.broker.histories - before; n != c.pages {
			t.Errorf("since %d: %d pages were read", c.since, n)
		}
	}
	s.finish()
}

// TestP11_APageOfAPastThatBeganAnewIsNotNeeded loses publications while a page is read, so that the
// past begins anew behind them. The page must be ignored, and no later one may be shorter for it.
func TestP11_APageOfAPastThatBeganAnewIsNotNeeded(t *testing.T) {
	s := resuming(t, Config{}, 1)
	s.publish("x", 250)
	page := s.hold()
	s.say(1, "bind 1 x k most=1000 since=A-100")
	s.settle()
	lost := s.rl.broker.onEvent
	s.rl.broker.onEvent = func(ev broker.Event) bool {
		_, received := ev.(broker.Received)
		return !received && lost(ev)
	}
	s.publish("x", 100)
	s.rl.broker.held = append(s.rl.broker.held, broker.Deaf{Topic: "x"})
	s.rl.broker.Subscribe("x", s.rl.router.directory.topics["x"].number, false)
	s.settle()
	page()
	s.settle()
	s.saw(1, missedTo("A-350", 101, 350))
	if n := s.rl.broker.histories; n != 5 {
		t.Errorf("%d pages were read", n)
	}
	s.finish()
}

// TestP11_ThePastOfAnEarlierEpochHindersNobody makes a past that cannot be had from far enough
// back, and then begins an epoch. Clients that resume in that epoch must be recovered.
func TestP11_ThePastOfAnEarlierEpochHindersNobody(t *testing.T) {
	s := resuming(t, Config{})
	s.stay()
	s.publish("x", 400)
	s.resume(1, "A-50", "1 done A-400")
	s.restore()
	s.publish("x", 100)
	s.resume(2, "A-50", "1 done B-100")
	s.resume(3, "B-10", missedShift("B-100", 11, 100, 400))
	delete(s.e.received, 1)
	s.finish()
}

// TestP11_APublicationThatLetsAFollowerBindIsNotMissed resumes at an edge whose members lag behind,
// since the link is full. The link gets room just before a publication comes, by which the members
// catch up. So the client is bound while that publication is taken, and must be given it.
func TestP11_APublicationThatLetsAFollowerBindIsNotMissed(t *testing.T) {
	s := resuming(t, Config{}, 1)
	s.stay()
	b := s.edge("b")
	b.linkTo(s.rl)
	b.tellClient(link.Client{ID: 1, Confirmed: true, User: "b"})
	s.publish("x", 200)
	b.say(1, s.numbered("bind 1 x k most=1000 since=A-20")) // so the topic has a past
	s.settle()
	delete(b.received, 1)
	s.e.stuck = 64 << 20
	s.publish("x", 1)
	s.say(1, "bind 1 x k most=1000 since=A-20")
	s.settle()
	s.saw(1)
	s.e.stuck = 0
	s.publish("x", 1)
	s.wait(lookAgainAfter)
	s.saw(1, missedTo("A-202", 21, 202))
	delete(b.received, 1)
	delete(s.e.received, 999)
	s.finish()
	s.done(b)
}

// TestP11_APastThatTakesTheTailInIsBounded lets a topic go on while clients come back to it, so
// that its past takes in what the tail drops. The past must stay whole and bounded.
func TestP11_APastThatTakesTheTailInIsBounded(t *testing.T) {
	s := resuming(t, Config{TailLength: 10})
	s.stay()
	text := strings.Repeat("m", 10_000)
	var top protocol.Position
	for i := range 20 {
		for range 10 {
			top = s.publishText("x", text)
		}
		s.settle()
		delete(s.e.received, 999)
		id := uint64(1 + i)
		s.come(id)
		s.e.say(id, fmt.Sprintf("bind 1 x k most=1000 since=%d-%d", top.Epoch, max(top.Offset, 50)-50))
		s.settle()
		if got := s.e.received[id]; len(got) != 1 || strings.Count(got[0], text) != min(50, 10+10*i) {
			t.Fatalf("client %d got %.80q", id, got)
		}
		s.end(id)
		delete(s.e.received, id)
	}
	if n := s.rl.router.pasts.bytes; n > pastMost || n < pastMost/2 {
		t.Errorf("the past has %d bytes", n)
	}
	s.finish()
}

// TestP11_AFullPastThatTakesTheTailInIsNotWhole lets a topic go on when its past is full. So the
// past drops what a client asks for, when it takes the tail in. The client may not be recovered.
func TestP11_AFullPastThatTakesTheTailInIsNotWhole(t *testing.T) {
	s := resuming(t, Config{TailLength: 10}, 1, 2)
	text := strings.Repeat("m", 10_000)
	for range 100 {
		s.publishText("x", text)
	}
	s.say(1, "bind 1 x k most=1000 since=A-0")
	s.settle()
	if got := s.e.received[1]; len(got) != 1 || strings.Count(got[0], text) != 100 {
		t.Errorf("got %.80q", got)
	}
	for range 10 {
		s.publishText("x", text)
	}
	s.settle()
	delete(s.e.received, 1)
	s.say(2, "bind 1 x k most=1000 since=A-0")
	s.settle()
	s.saw(2, "1 done A-110")
	s.finish()
}
