package router

import (
	"slices"
	"testing"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/link"
)

// In TestAConnectIsConfirmed, a guest connects at one edge. The connect must be confirmed and bind
// the guest to three topics. A user of another edge writes to two of these topics, and the guest
// must receive both messages.
func TestAConnectIsConfirmed(t *testing.T) {
	w, a := serving(t, 2)
	b := w.edge("b")
	b.linkTo(w.relays[1])
	b.channel(1, "9")
	w.settle()
	a.guest(1)
	a.say(1, "connect 1 7 1234 of-it user:7=own all news=of-news")
	w.settle()
	a.saw(1, "1 done")
	if got := a.clients[1]; !got.Confirmed || got.User != "7" || got.Until != 1234 || string(got.Keep) != "of-it" {
		t.Errorf("the client is %+v", got)
	}
	if got := string(a.keeps[ofMember{1, "user:7"}]) + string(a.keeps[ofMember{1, "news"}]); got != "ownof-news" {
		t.Errorf("keeps of the memberships: %q", got)
	}
	b.one(1, "7", "hi")
	b.say(1, `{"MsgBody":"everybody"}`)
	w.settle()
	a.saw(1, "user:7 9: hi", "all 9: everybody")
	a.say(1, "say 2 user:9 hello")
	a.say(1, "renew 3 99 other")
	a.say(1, "ping 4")
	w.settle()
	a.saw(1, "3 done", "4 done", "2 done")
	b.saw(1, "user 7 send:hello")
	if got := a.clients[1]; got.Until != 99 || string(got.Keep) != "other" || !got.Confirmed {
		t.Errorf("after the refresh the client is %+v", got)
	}
	w.done(a, b)
	a.end(1)
	w.done(a, b)
}

// In TestAConnectWaitsForAllItsTopics, a connect names three topics, which are subscribed one after
// another. The session must not be bound to any of them before all are subscribed.
func TestAConnectWaitsForAllItsTopics(t *testing.T) {
	w, e := serving(t, 1)
	rl := w.relays[0]
	var held []broker.Event
	rl.broker.onEvent = func(ev broker.Event) bool {
		if _, ok := ev.(broker.Subscribed); ok {
			held = append(held, ev)
			return false
		}
		return true
	}
	e.guest(1)
	e.say(1, "connect 1 7 0 k x=1 y=2 z=3")
	e.guest(2)
	e.say(2, "connect 1 8 0 k z y")
	w.settle()
	for i := range held {
		e.saw(1)
		e.saw(2)
		rl.inputs = append(rl.inputs, FromBroker{held[len(held)-1-i]}) // z, y, x
		w.settle()
		if i == 1 {
			e.saw(2, "1 done")
		}
	}
	e.saw(1, "1 done")
	rl.broker.onEvent = nil
	w.done(e)
}

// TestAConnectThatWaitsEndsWithItsSession ends a session while its connect waits. The session must
// be forgotten at once.
func TestAConnectThatWaitsEndsWithItsSession(t *testing.T) {
	w, e := serving(t, 1)
	w.relays[0].broker.slow = true
	e.guest(1)
	e.say(1, "connect 1 7 0 k x")
	w.settle()
	e.end(1)
	w.settle()
	e.saw(1)
	if r := w.relays[0].router; len(r.directory.edges[e.instance].tables.sessions) != 0 || len(r.directory.topics) != 0 {
		t.Error("the session is kept")
	}
	w.relays[0].broker.slow = false
	w.done(e)
}

// TestARefusedConnectIsAnsweredAndClosed sends connects that exceed a bound, and one that the
// dialect refuses. In each case the client must get an answer before the session is closed, and no
// topic may stay followed.
func TestARefusedConnectIsAnsweredAndClosed(t *testing.T) {
	for frame, want := range map[string]string{
		"connect 1 7 0 k a b c d e f g h i":         "1 many-topics",
		"connect 1 7 0 k a=" + string(keepOf(2048)): "1 many-keeps",
		"connect 1 7 0 " + string(keepOf(2049)):     "1 many-keeps",
		"close 0 an-answer":                         "an-answer",
	} {
		w, e := serving(t, 1)
		e.guest(1)
		e.say(1, frame)
		e.say(1, "ping 2")
		w.settle()
		e.saw(1, want)
		if !slices.Equal(e.closes[1], []link.Close{{Session: 1}}) {
			t.Errorf("%.30s: closed with %v", frame, e.closes[1])
		}
		if n := len(w.relays[0].router.directory.topics); n != 0 {
			t.Errorf("%.30s: %d topics are followed", frame, n)
		}
		w.done(e)
		e.end(1)
		w.done(e)
	}
}
