package router

import (
	"slices"
	"testing"

	"github.com/edgerelay/edgerelay/shared/link"
)

// In TestACloseWaitsAndEndsWhatFollows, a dialect closes a session whose subscribe waits. Then the
// relay dies. The next relay must answer the subscribe, and then send the Close. Later commands of
// the session must not be answered.
func TestACloseWaitsAndEndsWhatFollows(t *testing.T) {
	w, e := serving(t, 2)
	rl := w.relays[0]
	e.tellClient(link.Client{ID: 1, Confirmed: true, User: "7"})
	w.settle()
	rl.broker.slow = true
	e.say(1, "bind 1 x")
	e.say(1, "close 3501 bad")
	e.say(1, "ping 2")
	e.say(1, "close 3502 unread")
	w.settle()
	e.saw(1)
	if len(e.closes[1]) > 0 {
		t.Errorf("closed before the subscribe is answered: %v", e.closes[1])
	}
	w.kill(rl)
	e.linkTo(w.relays[0])
	w.settle()
	e.saw(1, "1 done")
	want := []link.Close{{Session: 1, Code: 3501, Reason: "bad"}}
	if !slices.Equal(e.closes[1], want) {
		t.Errorf("closed with %v, want %v", e.closes[1], want)
	}
	e.say(1, "ping 3")
	w.settle()
	e.saw(1)
	e.end(1)
	w.done(e)
}

// TestACloseComesAgainIfItsLinkWasLost cuts the link at the Close. On the next link the edge
// replays the command for which the session is closed. The edge must then get the Close.
func TestACloseComesAgainIfItsLinkWasLost(t *testing.T) {
	w, e := serving(t, 1)
	e.guest(1)
	w.settle()
	e.cutIn = 1
	e.say(1, "ping 1")
	w.settle()
	if e.link != nil || len(e.closes[1]) > 0 {
		t.Fatal("the link was not cut at the Close")
	}
	e.linkTo(w.relays[0])
	w.settle()
	if want := []link.Close{{Session: 1, Code: 3501, Reason: "not-confirmed"}}; !slices.Equal(e.closes[1], want) {
		t.Errorf("closed with %v, want %v", e.closes[1], want)
	}
	e.end(1)
	w.done(e)
}
