package router

import (
	"testing"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// behindPage calls a function when the broker has answered a read of history: with 1 at the answer
// that has the top alone, with 2 at the first page, and so on.
func (s *resumes) behindPage(do func(page int)) {
	pages := 0
	s.rl.broker.onEvent = func(ev broker.Event) bool {
		if _, ok := ev.(broker.History); ok {
			pages++
			do(pages)
		}
		return true
	}
}

// In TestP11_AHistoryIsTrueOfOneMoment, messages are published while a history is read: between the
// top and the first page, or between two pages. The answer must have what the history had when the
// first page was read, and name the top of that moment.
func TestP11_AHistoryIsTrueOfOneMoment(t *testing.T) {
	for _, c := range []struct {
		parts  string
		behind int // the page behind which five messages are published
		want   string
		pages  int
	}{
		{"most=1000 limit=1000", 1, ofRange("A-105", 1, 105), 3},
		{"most=1000 limit=1000", 2, ofRange("A-100", 1, 100), 3},
		{"most=10 limit=1000", 1, ofRange("A-105", 96, 105), 2},
		{"most=10 limit=3", 1, ofRange("A-105", 96, 98), 2},
		{"most=1000 limit=1000 since=A-95", 1, ofRange("A-105", 96, 105), 2},
		{"most=1000 limit=10 reverse", 1, ofRange("A-105", 105, 96), 3},
		{"most=5 limit=10 reverse", 1, ofRange("A-105", 105, 101), 3},
		{"most=1000 limit=1000 reverse", 2, ofRange("A-100", 100, 1), 3},
	} {
		s := resuming(t, Config{}, 1)
		s.publish("x", 100)
		s.behindPage(func(page int) {
			if page == c.behind {
				for range 5 {
					s.next("x")
				}
			}
		})
		s.say(1, "history 1 x "+c.parts)
		s.settle()
		if s.saw(1, c.want); t.Failed() {
			t.Fatal(c.parts)
		}
		if n := s.rl.broker.histories; n != c.pages {
			t.Errorf("%s: %d pages were read, want %d", c.parts, n, c.pages)
		}
		s.finish()
	}
}

// TestP11_AHistoryThatMovesOnIsAnswered publishes whenever a page of a history was read. The range
// may be begun anew rangeAgain times only.
func TestP11_AHistoryThatMovesOnIsAnswered(t *testing.T) {
	s := resuming(t, Config{}, 1)
	s.publish("x", 100)
	s.behindPage(func(page int) {
		if page < 20 {
			s.next("x")
		}
	})
	s.say(1, "history 1 x most=1000 limit=10 reverse")
	s.settle()
	s.saw(1, ofRange("A-103", 103, 94))
	if n := s.rl.broker.histories; n != 2+rangeAgain {
		t.Errorf("%d pages were read", n)
	}
	s.finish()
}

// TestP11_AnEpochThatBeginsBeforeTheFirstPage begins an epoch between the top and the first page of
// a history. The answer must be about that epoch.
func TestP11_AnEpochThatBeginsBeforeTheFirstPage(t *testing.T) {
	for parts, want := range map[string]string{
		"most=1000 limit=1000":              "1 done B-2 1:m101 2:m102",
		"most=1000 limit=1000 reverse":      "1 done B-2 2:m102 1:m101",
		"most=1000 limit=1000 since=A-5":    "1 unrecoverable",
		"most=1000 limit=10 since=A-95 any": "1 done B-2",
	} {
		s := resuming(t, Config{}, 1)
		s.publish("x", 100)
		s.behindPage(func(page int) {
			if page == 1 {
				s.restore()
				s.next("x")
				s.next("x")
			}
		})
		s.say(1, "history 1 x "+parts)
		s.settle()
		s.saw(1, want)
		s.finish()
	}
}

// TestP11_AHistoryThatHasExpired reads the history of a topic whose top is still known. The answer
// must have the top, and no publications.
func TestP11_AHistoryThatHasExpired(t *testing.T) {
	s := resuming(t, Config{}, 1)
	s.publish("x", 100)
	s.pages(func(h *broker.History) {
		h.Publications, h.Through, h.More = nil, protocol.Position{}, false
	})
	s.say(1, "history 1 x most=1000 limit=10")
	s.settle()
	s.saw(1, "1 done A-100")
	if n := s.rl.broker.histories; n != 2 {
		t.Errorf("%d pages were read", n)
	}
	s.finish()
}
