package router

import (
	"fmt"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/edgerelay/edgerelay/relay/chat"
	"github.com/edgerelay/edgerelay/shared/link"
)

// lose publishes more messages to group g, through another edge, than a history keeps. Then it
// waits until the messages have left the topic's tail.
func (w *world) lose() {
	other := w.edge("other")
	other.linkTo(w.relays[0])
	other.channel(1, "9")
	w.settle()
	other.join(1, "g")
	for i := range 300 {
		other.group(1, "g", fmt.Sprint("m", i))
	}
	w.settle()
	w.wait(tailAge + 1)
}

// In TestP4_ALossIsToldToEachMember, edges miss more messages than a history keeps. Members of the
// chat must be told. Clients of SDKs must be unsubscribed, and must get none of the messages that
// are still in the history.
func TestP4_ALossIsToldToEachMember(t *testing.T) {
	w, chats, clients, both := mixed(t, 1)
	edges := []*testEdge{chats, clients, both}
	for _, e := range edges {
		e.cut()
	}
	w.settle()
	w.wait(w.relays[0].router.cfg.Grace)
	w.lose()
	for _, e := range edges {
		e.linkTo(w.relays[0])
		w.settle()
	}
	lost := string(chat.Dialect{}.Lost("group:g"))
	if chats.received[1][0] != lost || both.received[1][0] != lost {
		t.Errorf("members of the chat are told %q and %q first", chats.received[1][0], both.received[1][0])
	}
	if n := len(both.received[1]); both.received[1][n-1] != inGroup("g", "9", "m299") {
		t.Error("what was left was not given")
	}
	for _, e := range []*testEdge{clients, both} {
		e.saw(2, "group:g lost")
	}
	m := w.relays[0].router.m
	if n := testutil.ToFloat64(m.unsubscribed); n != 2 {
		t.Errorf("%v memberships are counted that ended", n)
	}
	clients.say(2, "bind 1 group:g")
	clients.say(2, "tell 2 group:g back")
	w.settle()
	clients.saw(2, "1 done", "group:g "+clients.clients[2].User+"c2: back", "2 done")
	w.done(clients, both)
}

// TestP4_WhomTheServerSubscribedIsClosedAfterALoss checks a client whose membership the server
// made. Such a membership cannot end without its session. So after a loss the edge must be told to
// close the client. Until it is closed, the client must be served.
func TestP4_WhomTheServerSubscribedIsClosedAfterALoss(t *testing.T) {
	w, e := serving(t, 1)
	e.client(1, "1", "group:g", "x")
	e.setKeep(1, "group:g", []byte("server"))
	e.client(2, "2", "group:g")
	e.cut()
	e.linkTo(w.relays[0])
	e.say(2, "tell 1 group:g first")
	w.settle()
	clear(e.received)
	e.cut()
	w.lose()
	e.linkTo(w.relays[0])
	w.settle()
	want := []link.Close{{Session: 1, Code: 3010, Reason: "lost", Within: 5000}}
	if got := e.closes[1]; !slices.Equal(got, want) || len(e.closes[2]) > 0 {
		t.Errorf("closed with %v and %v", got, e.closes[2])
	}
	if n := testutil.ToFloat64(w.relays[0].router.m.closes.WithLabelValues("3010")); n != 1 {
		t.Errorf("%v sessions are counted that are closed", n)
	}
	e.saw(2, "group:g lost")
	clear(e.received)
	e.say(1, "tell 1 x on")
	w.settle()
	e.saw(1, "x 1c1: on", "1 done")
	w.done(e)
}

// TestP4_NoCutOfTheLinkHidesALoss cuts the link while a loss is told. Each run cuts the link at
// another frame. In the end each client must have learned of the loss: its membership has ended, or
// it is to be closed. A publish that is under way meanwhile must be published as a member's.
func TestP4_NoCutOfTheLinkHidesALoss(t *testing.T) {
	for cut := 1; lossAt(t, cut, false); cut++ {
	}
	for cut := 1; lossAt(t, cut, true); cut++ {
	}
}

// lossAt cuts the link while a loss is told, at the frame whose number is the parameter cut. If the
// last argument is true, the edge also sends a client's publish on that link. The new publication
// drives the oldest one out of history, and so makes another loss. If no frame has the number of
// the parameter cut, lossAt returns false.
func lossAt(t *testing.T, cut int, says bool) bool {
	w, e := serving(t, 1)
	e.client(1, "1", "group:g")
	e.client(2, "2", "group:g")
	e.setKeep(2, "group:g", []byte("server"))
	e.client(3, "3", "group:g")
	e.cut()
	e.linkTo(w.relays[0])
	e.say(3, "tell 0 group:g first")
	w.settle()
	clear(e.received)
	e.cut()
	w.lose()
	if says {
		e.say(3, "tell 1 group:g mine")
	}
	e.linkTo(w.relays[0])
	e.cutIn = cut
	w.settle()
	whole := e.link != nil
	e.cutIn = 0
	if !whole {
		e.linkTo(w.relays[0])
		w.settle()
		w.wait(replayWait) // the relay waits at most this long for a replay
	}
	for id := uint64(1); id <= 3; id++ {
		if len(e.closes[id]) == 0 && !slices.Contains(e.received[id], "group:g lost") {
			t.Errorf("cut at %d: client %d was not told: it got %d texts", cut, id, len(e.received[id]))
		}
	}
	if says && !slices.Contains(e.received[3], "1 done") {
		t.Errorf("cut at %d: the publish was answered with %q", cut, e.received[3])
	}
	return !whole
}
