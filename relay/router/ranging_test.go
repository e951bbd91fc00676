package router

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/broker/brokertest"
	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// ofRange returns the answer to history command 1 that has publications, from one offset to another
// one, in either direction.
func ofRange(place string, from, to int) string {
	text := "1 done " + place
	for step := 1; ; {
		if from > to {
			step = -1
		}
		text += fmt.Sprintf(" %d:m%d", from, from)
		if from == to {
			return text
		}
		from += step
	}
}

// TestP11_AHistoryReadsItsRange reads parts of a topic's history. The history has the last 256 of
// 300 publications.
func TestP11_AHistoryReadsItsRange(t *testing.T) {
	for _, followed := range []bool{false, true} {
		s := resuming(t, Config{}, 1)
		if followed {
			s.stay()
		}
		s.publish("x", 300)
		for _, c := range []struct {
			parts, want string
			pages       int // with the one that reads the top
		}{
			{"most=1000", "1 done A-300", 1},
			{"limit=10", "1 done A-300", 1}, // Most is 0
			{"most=1000 limit=1", ofRange("A-300", 45, 45), 2},
			{"most=1000 limit=64", ofRange("A-300", 45, 108), 2},
			{"most=1000 limit=65", ofRange("A-300", 45, 109), 3},
			{"most=1000 limit=1000", ofRange("A-300", 45, 300), 5},
			{"most=10 limit=1000", ofRange("A-300", 291, 300), 2},
			{"most=10 limit=3", ofRange("A-300", 291, 293), 2},
			{"most=10 limit=3 reverse", ofRange("A-300", 300, 298), 2},
			{"most=1000 limit=100 reverse", ofRange("A-300", 300, 201), 3},
			{"most=1000 limit=1000 reverse", ofRange("A-300", 300, 45), 5},
			{"most=1000 limit=1000 since=A-290", ofRange("A-300", 291, 300), 2},
			{"most=1000 limit=5 since=A-290", ofRange("A-300", 291, 295), 2},
			{"most=1000 limit=5 since=A-10", ofRange("A-300", 45, 49), 2},
			{"most=7 limit=5 since=A-10", ofRange("A-300", 294, 298), 2},
			{"most=1000 limit=5 since=A-300", "1 done A-300", 1},
			{"most=1000 limit=5 since=A-18446744073709551615", "1 done A-300", 1},
			{"most=1000 limit=5 since=A-290 reverse", ofRange("A-300", 289, 285), 2},
			{"most=1000 limit=5 since=A-46 reverse", ofRange("A-300", 45, 45), 2},
			{"most=1000 limit=5 since=A-1 reverse", "1 done A-300", 1},
			{"most=1000 limit=5 since=A-0 reverse", "1 done A-300", 1},
			{"most=1000 limit=2 since=A-18446744073709551615 reverse", ofRange("A-300", 300, 299), 2},
			{"most=20 limit=1000 since=A-290 reverse", ofRange("A-300", 289, 281), 2},
			{"most=5 limit=1000 since=A-290 reverse", "1 done A-300", 1},
			{"most=1000 limit=64 since=A-165 reverse", ofRange("A-300", 164, 101), 2},
			{"most=1000 limit=3 since=0-290 any", ofRange("A-300", 291, 293), 2},
			{"most=1000 limit=3 since=99-290 any", ofRange("A-300", 291, 293), 2},
			{"most=1000 limit=3 since=99-290", "1 unrecoverable", 1},
			{"most=1000 limit=3 since=0-290", "1 unrecoverable", 1},
			{"most=1000 limit=0 since=99-290", "1 unrecoverable", 1},
			{"most=1000 limit=3 since=9007199254740990-3 reverse", "1 unrecoverable", 1},
		} {
			before := s.rl.broker.histories
			s.say(1, "history 1 x "+c.parts)
			s.settle()
			if s.saw(1, c.want); t.Failed() {
				t.Fatal(c.parts)
			}
			if n := s.rl.broker.histories - before; n != c.pages {
				t.Errorf("%s: %d pages were read, want %d", c.parts, n, c.pages)
			}
		}
		s.finish()
	}
}

// TestP11_AHistoryHasOneEpoch reads the history of three topics: of one that has had two epochs, of
// a silent one, and of one that never was. Answers may have publications of the present epoch only.
// A position of another epoch must be refused.
func TestP11_AHistoryHasOneEpoch(t *testing.T) {
	s := resuming(t, Config{}, 1)
	s.publish("x", 10)
	s.restore()
	s.publish("x", 3)
	for parts, want := range map[string]string{
		"most=100 limit=100":                    "1 done B-3 1:m11 2:m12 3:m13",
		"most=100 limit=100 reverse":            "1 done B-3 3:m13 2:m12 1:m11",
		"most=100 limit=100 since=A-5":          "1 unrecoverable",
		"most=100 limit=100 since=A-5 any":      "1 done B-3",
		"most=100 limit=100 since=B-1":          "1 done B-3 2:m12 3:m13",
		"most=100 limit=100 since=B-3 reverse":  "1 done B-3 2:m12 1:m11",
		"most=100 limit=100 since=A-10 reverse": "1 unrecoverable",
	} {
		s.say(1, "history 1 x "+parts)
		s.settle()
		s.saw(1, want)
	}
	s.say(1, "history 1 never most=100 limit=5")
	s.settle()
	s.saw(1, "1 done 0-0")
	s.say(1, "bind 1 silent k most=5")
	s.say(1, "history 1 silent most=100 limit=5")
	s.settle()
	s.saw(1, "1 done C-0", "1 done C-0")
	s.say(1, "history 1 silent most=100 limit=5 since=C-0")
	s.settle()
	s.saw(1, "1 done C-0")
	s.finish()
}

// TestP11_AHistoryThatIsLostHasNoPlace reads the history of a topic after Redis has lost
// everything. The epoch that was begun before counts no more, since publications of it were heard.
func TestP11_AHistoryThatIsLostHasNoPlace(t *testing.T) {
	s := resuming(t, Config{}, 1)
	s.say(1, "bind 1 x k most=5")
	s.settle()
	s.saw(1, "1 done A-0")
	s.publish("x", 1)
	s.saw(1, "x 9: m1 at A-1")
	s.store.Load(brokertest.Saved{})
	s.say(1, "history 2 x most=100 limit=5")
	s.settle()
	s.saw(1, "2 done 0-0")
	s.finish()
}

// TestP11_AHistoryIsBoundedInBytes reads publications of 100 kB each. The answer has those that
// fit, from the side at which the reading begins, and one at least.
func TestP11_AHistoryIsBoundedInBytes(t *testing.T) {
	s := resuming(t, Config{}, 1)
	for i := range 10 {
		s.publishText("x", fmt.Sprint(i, strings.Repeat("m", 100_000)))
	}
	s.publishText("x", strings.Repeat("h", maxRange+1000))
	s.publishText("x", "last")
	s.settle()
	for parts, want := range map[string][]string{
		"limit=100":                      {"1:0m", "2:1m"},
		"limit=100 since=A-4":            {"5:4m", "6:5m"},
		"limit=100 since=A-9":            {"10:9m"},
		"limit=100 since=A-10":           {"11:hh"},
		"limit=100 since=A-11":           {"12:last"},
		"limit=100 reverse":              {"12:last"},
		"limit=100 since=A-12 reverse":   {"11:hh"},
		"limit=100 since=A-11 reverse":   {"10:9m", "9:8m"},
		"limit=1 since=A-11 reverse":     {"10:9m"},
		"limit=1000 since=A-3 reverse":   {"2:1m", "1:0m"},
		"limit=1000000 since=A-3":        {"4:3m", "5:4m"},
		"limit=1000000 since=A-11 any":   {"12:last"},
		"limit=1000000 since=A-12":       nil,
		"limit=1000000 since=A-1 strict": {"2:1m", "3:2m"},
	} {
		s.say(1, "history 1 x most=1000 "+parts)
		s.settle()
		if len(s.e.received[1]) != 1 {
			t.Fatalf("%s: %d answers", parts, len(s.e.received[1]))
		}
		got := strings.Split(s.e.received[1][0], " ")[3:]
		delete(s.e.received, 1)
		same := len(got) == len(want)
		for i := range got {
			same = same && strings.HasPrefix(got[i], want[i])
		}
		if !same {
			t.Errorf("%s: %d publications, the first %.10q", parts, len(got), got[0])
		}
	}
	s.finish()
}

// TestP11_AHistoryThatIsFullReadsNoMore reads publications of which the first page has more than
// one answer may have. No further page may be read.
func TestP11_AHistoryThatIsFullReadsNoMore(t *testing.T) {
	s := resuming(t, Config{}, 1)
	text := strings.Repeat("m", 9000)
	for range 2 * broker.PageSize {
		s.publishText("x", text)
	}
	s.say(1, "history 1 x most=1000 limit=1000")
	s.settle()
	if got := s.e.received[1]; len(got) != 1 || strings.Count(got[0], text) != maxRange/len(text) {
		t.Errorf("got %.80q", got)
	}
	if n := s.rl.broker.histories; n != 2 {
		t.Errorf("%d pages were read", n)
	}
	delete(s.e.received, 1)
	s.finish()
}

// TestP11_AHistoryWaitsForNothing sends histories behind commands that wait, and commands behind
// histories that wait. Neither may wait for the other.
func TestP11_AHistoryWaitsForNothing(t *testing.T) {
	s := resuming(t, Config{}, 1)
	s.publish("x", 3)
	s.publish("y", 1)
	s.rl.broker.slow = true // the topic is not subscribed
	s.say(1, "bind 1 x k most=5 since=A-0")
	s.say(1, "unbind 2 x")
	s.say(1, "history 1 x most=5 limit=5")
	s.settle()
	s.saw(1, "1 done A-3 1:m1 2:m2 3:m3")
	s.rl.broker.slow = false
	s.settle()
	s.saw(1, missedTo("A-3", 1, 3), "2 done")
	bring := s.withhold()
	s.say(1, "history 1 x most=5 limit=5")
	s.say(1, "bind 3 x k")
	s.say(1, "ping 4")
	s.settle()
	s.saw(1, "4 done", "3 done")
	s.say(1, "unbind 5 x")
	s.e.end(1)
	s.settle()
	if len(s.rl.router.directory.edges[s.e.instance].tables.sessions) != 0 {
		t.Error("the session did not end")
	}
	bring()
	s.finish()
}

// TestP11_HistoriesAreReadAFewAtOnce sends more history commands than are read at once for an edge.
// Another edge must not wait for them. Those that wait must have their turn, or be refused as late.
func TestP11_HistoriesAreReadAFewAtOnce(t *testing.T) {
	for _, late := range []bool{false, true} {
		s := resuming(t, Config{}, 1, 2)
		b := s.edge("b")
		b.linkTo(s.rl)
		b.client(1, "b")
		b.cut()
		b.linkTo(s.rl)
		s.publish("x", 3)
		bring := s.withhold()
		for i := range 2*rangesAtOnce + 1 {
			s.say(1, fmt.Sprintf("history %d x most=5 limit=1", i+1))
		}
		s.settle()
		if n := s.rl.broker.histories; n != rangesAtOnce {
			t.Errorf("%d are read at once", n)
		}
		b.say(1, "history 1 x most=5 limit=1")
		s.settle()
		if n := s.rl.broker.histories; n != rangesAtOnce+1 {
			t.Errorf("the other edge waits: %d", n)
		}
		var want []string
		if late {
			s.wait(bindWait)
			for i := range 2*rangesAtOnce + 1 {
				want = append(want, fmt.Sprint(i+1, " late"))
			}
			slices.Sort(want)
			slices.Sort(s.e.received[1]) // they are late at the same time
			s.saw(1, want...)
			s.say(2, "history 1 x most=5 limit=1")
			s.settle()
			s.saw(2) // late histories still count as being read until their pages have come
			bring()
			s.saw(2, "1 done A-3 1:m1")
		} else {
			bring()
			for i := range 2*rangesAtOnce + 1 {
				want = append(want, fmt.Sprint(i+1, " done A-3 1:m1"))
			}
			s.saw(1, want...)
		}
		s.finish()
		s.done(b)
	}
}

// TestP11_AHistoryThatCannotBeReadIsLate reads history when a page fails, and while Redis is away.
// The answer must be the error that lets the client ask again, and asking again must succeed.
func TestP11_AHistoryThatCannotBeReadIsLate(t *testing.T) {
	s := resuming(t, Config{}, 1)
	s.publish("x", 200)
	fail := 1
	s.change(func(ev broker.Event) broker.Event {
		if h, ok := ev.(broker.History); ok {
			if fail--; fail == 0 {
				return broker.History{Token: h.Token, Topic: h.Topic, Err: errors.New("it fails")}
			}
		}
		return ev
	})
	for n := 1; n <= 3; n++ {
		fail = n
		s.say(1, "history 1 x most=1000 limit=100")
		s.settle()
		s.saw(1, "1 late")
	}
	fail = 100
	s.say(1, "history 1 x most=1000 limit=100")
	s.settle()
	s.saw(1, ofRange("A-200", 1, 100))
	s.rl.leave(false)
	s.settle()
	s.say(1, "history 1 x most=1000 limit=100")
	s.settle()
	s.saw(1, "1 late")
	s.rl.comeBack()
	s.settle()
	s.say(1, "history 1 x most=1000 limit=100")
	s.settle()
	s.saw(1, ofRange("A-200", 1, 100))
	s.finish()
}

// TestP11_AHistoryWithHoles reads history of which a page has nothing that can be read. The answer
// must have the publications of the other pages.
func TestP11_AHistoryWithHoles(t *testing.T) {
	s := resuming(t, Config{}, 1)
	s.publish("x", 200)
	s.pages(func(h *broker.History) {
		if h.Through == (protocol.Position{Epoch: h.Through.Epoch, Offset: 128}) {
			h.Publications = nil
		}
	})
	s.say(1, "history 1 x most=1000 limit=66")
	s.say(1, "history 1 x most=1000 limit=136 reverse")
	s.settle()
	s.saw(1, ofRange("A-200", 1, 64)+" 129:m129 130:m130", ofRange("A-200", 200, 129))
	s.finish()
}

// TestP11_HistoriesThatReadTakeRoom sends history commands of a user who has room for two more long
// answers. No more than two may read at once, since each of them may have a long answer. Another
// user's command must read meanwhile.
func TestP11_HistoriesThatReadTakeRoom(t *testing.T) {
	s := resuming(t, Config{}, 1)
	s.e.undrained = new([]link.Drained)
	s.fill()
	bring := s.withhold()
	before := s.rl.broker.histories
	var want []string
	for i := range 5 {
		s.say(41, fmt.Sprintf("history %d never most=5 limit=1", i+2))
		want = append(want, fmt.Sprint(i+2, " done 0-0"))
	}
	s.settle()
	if n := s.rl.broker.histories - before; n != 2 {
		t.Errorf("%d are read at once", n)
	}
	s.say(1, "history 1 never most=5 limit=1")
	s.settle()
	if n := s.rl.broker.histories - before; n != 3 {
		t.Errorf("%d are read at once, with one of another user", n)
	}
	bring()
	s.saw(1, "1 done 0-0")
	s.saw(41, want...)
	s.e.drain()
	s.finish()
}

// TestP11_ALateHistoryIsForgotten sends a history command of a user who has no room for a long
// answer, until the command is late, or until Redis goes away. Then the command must be refused,
// and must wait nowhere.
func TestP11_ALateHistoryIsForgotten(t *testing.T) {
	for _, away := range []bool{false, true} {
		s := resuming(t, Config{})
		s.e.undrained = new([]link.Drained)
		s.fill()
		for range 2 {
			s.say(41, "history 2 big most=1000 limit=29")
			s.settle()
		}
		delete(s.e.received, 41)
		s.say(42, "history 2 big most=1000 limit=1")
		s.settle()
		s.saw(42)
		before := s.rl.broker.histories
		if away {
			s.rl.refuse()
			s.settle()
		} else {
			s.wait(bindWait)
		}
		s.saw(42, "2 late")
		s.waitsNowhere()
		s.rl.accept()
		s.e.drain()
		s.settle()
		if s.rl.broker.histories != before {
			t.Error("it was read")
		}
		s.finish()
	}
}

// TestP11_AnEpochThatBeginsEndsAHistory begins an epoch while the pages of a history are read. The
// answer must have all of the epoch in which the reading began, and nothing of the next one.
func TestP11_AnEpochThatBeginsEndsAHistory(t *testing.T) {
	for _, c := range []struct {
		parts, want string
	}{
		{"most=1000 limit=1000", ofRange("A-100", 1, 100)},
		{"most=90 limit=1000", ofRange("A-100", 11, 100)},
		{"most=1000 limit=90 reverse", ofRange("A-100", 100, 11)},
	} {
		s := resuming(t, Config{}, 1)
		s.publish("x", 100)
		pages := 0
		s.rl.broker.onEvent = func(ev broker.Event) bool {
			if _, ok := ev.(broker.History); ok {
				if pages++; pages == 2 { // the first page behind the one that has the top
					s.restore()
					for range 20 {
						s.publishText("x", "later")
					}
				}
			}
			return true
		}
		s.say(1, "history 1 x "+c.parts)
		s.settle()
		s.saw(1, c.want)
		s.finish()
	}
}
