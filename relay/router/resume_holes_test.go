package router

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/broker/brokertest"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// change makes the relay get what the function returns in place of each event of the broker.
func (s *resumes) change(to func(broker.Event) broker.Event) {
	s.rl.broker.onEvent = func(ev broker.Event) bool {
		s.rl.inputs = append(s.rl.inputs, FromBroker{to(ev)})
		return false
	}
}

// pages makes the relay get pages of history that the function has changed.
func (s *resumes) pages(edit func(*broker.History)) {
	s.change(func(ev broker.Event) broker.Event {
		if h, ok := ev.(broker.History); ok {
			edit(&h)
			return h
		}
		return ev
	})
}

// resume adds a client, which resumes topic x after a position. The client must get the given
// answer.
func (s *resumes) resume(id uint64, since, answer string) {
	s.t.Helper()
	s.come(id)
	s.say(id, "bind 1 x k most=1000 since="+since)
	s.settle()
	s.saw(id, answer)
}

// restore makes Redis go back to a snapshot of what it has now. From then on it counts as another
// server.
func (s *resumes) restore() { s.store.Load(s.store.Save()) }

// relisten makes the relay lose its subscriptions, and then subscribe anew.
func (s *resumes) relisten() {
	s.rl.deafen()
	s.settle()
	s.rl.undeafen()
	s.settle()
}

// aHole is a row of TestP11_AHoleInHistoryIsNotRecovered: what history lacks, and what clients are
// then told.
type aHole struct {
	name      string
	published int
	edit      func(*broker.History)
	rows      []resumed
	pages     int // number of pages that are read
}

// resumed is a client's position, and the answer that it must get.
type resumed struct{ since, answer string }

var holes = []aHole{
	{"history was trimmed", 400, nil, []resumed{
		{"A-143", "1 done A-400"}, {"A-144", missedTo("A-400", 145, 400)}, {"A-0", "1 done A-400"},
		{"A-300", missedTo("A-400", 301, 400)}, {"A-150", missedTo("A-400", 151, 400)},
	}, 4},
	{"an entry of a page cannot be read", 200, func(h *broker.History) {
		h.Publications = slices.DeleteFunc(h.Publications, func(p broker.Publication) bool { return p.Position.Offset == 100 })
	}, []resumed{
		{"A-50", "1 done A-200"}, {"A-99", "1 done A-200"}, {"A-100", missedTo("A-200", 101, 200)},
	}, 1},
	{"the last entry of a page cannot be read", 200, func(h *broker.History) {
		h.Publications = slices.DeleteFunc(h.Publications, func(p broker.Publication) bool { return p.Position.Offset == 64 })
	}, []resumed{
		{"A-10", "1 done A-200"}, {"A-63", "1 done A-200"}, {"A-64", missedTo("A-200", 65, 200)},
	}, 2},
	{"no entry of a page can be read", 200, func(h *broker.History) {
		if h.More {
			h.Publications = nil
		}
	}, []resumed{{"A-10", "1 done A-200"}, {"A-150", missedTo("A-200", 151, 200)}}, 1},
	{"no entry of the second page can be read", 200, func(h *broker.History) {
		if h.Through.Offset == 72 {
			h.Publications = nil
		}
	}, []resumed{
		{"A-72", missedTo("A-200", 73, 200)}, {"A-71", "1 done A-200"}, {"A-8", "1 done A-200"}, {"A-72", missedTo("A-200", 73, 200)},
	}, 2},
	{"entries that the tail has cannot be read", 200, func(h *broker.History) {
		h.Publications = slices.DeleteFunc(h.Publications, func(p broker.Publication) bool { return p.Position.Offset > 150 })
	}, []resumed{{"A-50", missedTo("A-200", 51, 200)}}, 2},
	{"history has expired", 200, func(h *broker.History) {
		h.Publications, h.Through, h.More = nil, protocol.Position{}, false
	}, []resumed{{"A-10", "1 done A-200"}, {"A-135", "1 done A-200"}, {"A-136", missedTo("A-200", 137, 200)}}, 1},
	{"history ends before the tail", 200, func(h *broker.History) {
		if h.Through.Offset > 120 {
			h.Publications, h.Through, h.More = h.Publications[:0], protocol.Position{}, false
		}
	}, []resumed{{"A-50", "1 done A-200"}, {"A-119", "1 done A-200"}, {"A-140", missedTo("A-200", 141, 200)}}, 1},
	{"history says nothing of what comes before the tail", 200, func(h *broker.History) {
		h.Publications, h.Through, h.Top, h.More = nil, protocol.Position{}, protocol.Position{}, false
	}, []resumed{{"A-50", "1 done A-200"}, {"A-140", missedTo("A-200", 141, 200)}}, 1},
	{"the server is not known to have given the positions", 200, func(h *broker.History) { h.Genuine = false },
		[]resumed{{"A-50", "1 done A-200"}, {"A-140", missedTo("A-200", 141, 200)}, {"A-130", "1 done A-200"}}, 1},
}

// TestP11_AHoleInHistoryIsNotRecovered resumes while history has lost something. A client that
// needs what is lost must be told that nothing is recovered. Other clients must get what they
// missed.
func TestP11_AHoleInHistoryIsNotRecovered(t *testing.T) {
	for _, c := range holes {
		t.Run(c.name, func(t *testing.T) {
			s := resuming(t, Config{})
			s.stay()
			s.publish("x", c.published)
			if c.edit != nil {
				s.pages(c.edit)
			}
			for i, row := range c.rows {
				s.resume(uint64(1+i), row.since, row.answer)
			}
			if n := s.rl.broker.histories; n != c.pages {
				t.Errorf("%d pages were read, want %d", n, c.pages)
			}
			s.publish("x", 1)
			for i := range c.rows {
				s.saw(uint64(1+i), fmt.Sprintf("x 9: m%d at A-%d", c.published+1, c.published+1))
			}
			s.finish()
		})
	}
}

// TestP11_HistoryHasALaterEpochAlone resumes while history has nothing of the relay's epoch any
// more. The relay has not heard of the next one. Nothing may be recovered, and history may not be
// read again and again.
func TestP11_HistoryHasALaterEpochAlone(t *testing.T) {
	s := resuming(t, Config{TailLength: 5})
	s.stay()
	s.publish("x", 10)
	s.restore()
	s.rl.broker.slow = true
	s.publish("x", 300)
	for id := uint64(1); id <= 3; id++ {
		s.come(id)
		s.say(id, "bind 1 x k most=1000 since=A-2")
		for range 20 {
			s.rl.step()
		}
		s.saw(id, "1 done A-10")
	}
	if n := s.rl.broker.histories; n > 2 {
		t.Errorf("%d pages were read", n)
	}
	s.rl.broker.slow = false
	s.settle()
	s.resume(4, "B-200", missedShift("B-300", 201, 300, 10))
	s.finish()
}

// In TestP11_ALaterEpochProvesNothing, nobody knows whether more was published after a client's
// position. Then the server begins another epoch, of which the relay has not heard. Nothing may be
// recovered.
func TestP11_ALaterEpochProvesNothing(t *testing.T) {
	s := resuming(t, Config{})
	s.publish("x", 10)
	s.restore()
	s.come(1)
	s.say(1, "bind 1 x k most=10")
	s.settle()
	s.saw(1, "1 done A-10")
	s.rl.broker.slow = true
	s.publish("x", 1)
	s.resume(2, "A-10", "1 done A-10")
	s.rl.broker.slow = false
	s.settle()
	s.saw(2, "x 9: m11 at B-1")
	s.finish()
}

// TestP11_AnotherServerIsNotBelieved restores Redis from a snapshot, so Redis may have lost what it
// had given. In the first run the relay subscribes to the topic after that. In the second run the
// relay was subscribed before, and stays subscribed. Only what the relay has heard itself may be
// recovered.
func TestP11_AnotherServerIsNotBelieved(t *testing.T) {
	s := resuming(t, Config{})
	s.publish("x", 100)
	s.restore()
	s.resume(1, "A-100", "1 done A-100") // what came after A-100 may be lost
	s.resume(2, "A-90", "1 done A-100")
	s.publish("x", 1)
	s.saw(1, "x 9: m101 at B-1")
	s.resume(3, "A-100", "1 done B-1")
	s.resume(4, "B-0", "1 done B-1 recovered 1:m101")
	s.resume(5, "B-1", "1 done B-1 recovered")
	s.finish()

	s = resuming(t, Config{})
	s.stay()
	s.publish("x", 100)
	s.restore()
	s.resume(1, "A-90", missedTo("A-100", 91, 100)) // the relay has heard all of that itself
	s.resume(2, "A-30", "1 done A-100")
	s.publish("x", 1)
	s.saw(1, "x 9: m101 at B-1")
	s.resume(3, "A-90", "1 done B-1")
	s.resume(4, "B-0", "1 done B-1 recovered 1:m101")
	s.finish()
}

// TestP11_APageProvesThePlace subscribes to topics, and the broker does not say that the tops are
// genuine. In the first run, history says that they are, and the clients must be recovered. In the
// second run, history does not say so. Then nothing may be recovered, and history must be asked
// only once.
func TestP11_APageProvesThePlace(t *testing.T) {
	for _, genuine := range []bool{true, false} {
		s := resuming(t, Config{})
		s.publish("x", 100)
		s.change(func(ev broker.Event) broker.Event {
			switch ev := ev.(type) {
			case broker.Subscribed:
				ev.Genuine = false
				return ev
			case broker.History:
				ev.Genuine = genuine
				return ev
			}
			return ev
		})
		if genuine {
			s.resume(1, "A-100", "1 done A-100 recovered")
			s.resume(2, "A-60", missedTo("A-100", 61, 100))
		} else {
			s.resume(1, "A-100", "1 done A-100")
			s.resume(2, "A-60", "1 done A-100")
			s.resume(3, "A-100", "1 done A-100")
		}
		if n := s.rl.broker.histories; genuine && n != 2 || !genuine && n != 1 {
			t.Errorf("history was asked %d times", n)
		}
		s.finish()
	}
}

// TestP11_LostAndGivenAgainIsNotRecovered loses the end of a topic at Redis while the relay is
// deaf. The client had received what is lost, or the relay had. No resume in that epoch may be
// recovered.
func TestP11_LostAndGivenAgainIsNotRecovered(t *testing.T) {
	s := resuming(t, Config{})
	s.stay()
	s.publish("x", 10)
	saved := s.store.Save()
	s.publish("x", 5)
	s.store.Load(saved)
	s.relisten()
	s.resume(1, "A-15", "1 done A-15")
	s.resume(2, "A-12", "1 done A-15")
	s.resume(3, "A-10", "1 done A-15")
	s.publish("x", 1)
	s.saw(1, "x 9: m16 at B-1")
	s.resume(4, "A-10", "1 done B-1")
	s.resume(5, "B-0", "1 done B-1 recovered 1:m16")
	s.publish("x", 100)
	s.wait(tailAge + time.Second)
	s.resume(6, "B-50", missedShift("B-101", 51, 101, 15))
	s.finish()
}

// TestP11_ALossCountsThoughTheTopIsThereAgain loses the end of a topic at Redis while the relay is
// deaf. Then Redis says that it is among the servers that gave the top which this relay knows. No
// resume in that epoch may be recovered, since the messages may not be those that were lost.
func TestP11_ALossCountsThoughTheTopIsThereAgain(t *testing.T) {
	s := resuming(t, Config{})
	s.stay()
	s.publish("x", 10)
	saved := s.store.Save()
	top := s.publishText("x", "m11")
	s.settle()
	s.store.Load(saved)
	s.relisten()
	s.pages(func(h *broker.History) { h.Top, h.Genuine = top, true })
	s.resume(1, "A-11", "1 done A-11")
	s.resume(2, "A-9", "1 done A-11")
	s.finish()
}

// missedShift is like missedTo, for a topic to which a number of messages were published before the
// epoch.
func missedShift(place string, from, to, before int) string {
	text := "1 done " + place + " recovered"
	for i := from; i <= to; i++ {
		text += fmt.Sprintf(" %d:m%d", i, i+before)
	}
	return text
}

// TestP11_WhatWasBegunAnewProvesNothing empties Redis while the relay is deaf. Then another relay
// begins an epoch for the topic. The client's position is the last that the relay knows. But more
// may have been published before Redis was emptied. So nothing may be recovered.
func TestP11_WhatWasBegunAnewProvesNothing(t *testing.T) {
	s := resuming(t, Config{})
	s.stay()
	s.publish("x", 10)
	s.wait(tailAge + time.Second)
	s.rl.deafen()
	s.settle()
	s.publishText("x", "lost")
	s.store.Load(brokertest.Saved{})
	s.other.Begin("x", 1)
	s.other.Take()
	s.rl.undeafen()
	s.settle()
	s.resume(1, "A-10", "1 done A-10")
	s.finish()
}

// TestP11_AnEpochThatChangesWhileThePastIsRead begins an epoch while a page is under way. If the
// relay has heard of it when the page comes, nothing may be recovered. Otherwise the client must be
// given all of the epoch that it names, and later what follows.
func TestP11_AnEpochThatChangesWhileThePastIsRead(t *testing.T) {
	for _, heard := range []bool{true, false} {
		for _, stays := range []bool{true, false} {
			s := resuming(t, Config{}, 1)
			if stays {
				s.stay()
			}
			s.publish("x", 100)
			page := s.hold()
			s.say(1, "bind 1 x k most=1000 since=A-20")
			s.settle()
			s.saw(1)
			s.restore()
			s.rl.broker.slow = !heard
			s.publish("x", 1)
			page()
			if heard {
				s.settle()
				s.saw(1, "1 done B-1")
				s.finish()
				continue
			}
			s.settle()
			// The server has begun the epoch B, so it is known to have what it gave before.
			if s.rl.broker.histories > 2 {
				t.Errorf("%d pages were read", s.rl.broker.histories)
			}
			s.rl.broker.slow = false
			s.settle()
			s.saw(1, missedTo("A-100", 21, 100), "x 9: m101 at B-1")
			s.finish()
		}
	}
}

// hold holds back the answers to reads of history. The function release makes these reads anew, and
// holds nothing back any more.
func (s *resumes) hold() (release func()) {
	var asked []broker.History
	s.rl.broker.onEvent = func(ev broker.Event) bool {
		if h, ok := ev.(broker.History); ok {
			asked = append(asked, h)
			return false
		}
		return true
	}
	return func() {
		s.rl.broker.onEvent = nil
		for _, h := range asked {
			after := protocol.Position{}
			if len(h.Publications) > 0 {
				after = h.Publications[0].Position
				after.Offset--
			}
			s.rl.broker.Handle.ReadHistory(h.Topic, after, h.Token)
		}
	}
}

// TestP11_ForgedPositions resumes after positions that cannot be. Nothing may be recovered, nobody
// else may notice, and the topic must go on in its epoch.
func TestP11_ForgedPositions(t *testing.T) {
	s := resuming(t, Config{})
	s.stay()
	s.publish("x", 10)
	for i, since := range []protocol.Position{
		{}, {Offset: 3}, {Offset: 1 << 63}, {Epoch: 99, Offset: 5}, {Epoch: protocol.MaxEpoch, Offset: protocol.MaxOffset},
		{Epoch: 1<<64 - 1, Offset: 1<<64 - 1}, {Epoch: protocol.MaxEpoch},
	} {
		id := uint64(1 + i)
		s.come(id)
		s.e.say(id, "bind 1 x k most=1000 since="+since.String())
		s.settle()
		s.saw(id, "1 done A-10")
	}
	s.come(50, 51)
	s.say(50, "bind 1 x k most=1000 since=A-18446744073709551615")
	s.say(51, "bind 1 empty k most=1000 since=A-7")
	s.settle()
	s.saw(50, "1 done A-10")
	s.saw(51, "1 done B-0")
	s.say(51, "say 2 x hello")
	s.say(51, "say 3 empty hello")
	s.settle()
	s.saw(50, "x u51c51: hello at A-11")
	s.saw(51, "2 done", "empty u51c51: hello at B-1", "3 done")
	s.publish("x", 1)
	s.saw(50, "x 9: m11 at A-12")
	s.finish()
}
