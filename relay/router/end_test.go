package router

import (
	"testing"

	"github.com/edgerelay/edgerelay/relay/broker"
)

// TestP2_LastWords ends a session whose last message is not published yet. Then the edge's relay
// dies. The next relay must publish the message and end the session.
func TestP2_LastWords(t *testing.T) {
	w := newWorld(t, 2)
	rl := w.relays[0]
	a, b := w.edge("a"), w.edge("b")
	a.linkTo(rl)
	b.linkTo(w.relays[1])
	a.channel(1, "1")
	b.channel(2, "2")
	w.settle()
	rl.broker.onPublish = func(broker.Publish) bool { return false } // Redis does not answer
	a.one(1, "2", "last words")
	a.end(1)
	w.settle()
	w.kill(rl)
	a.linkTo(w.relays[0])
	w.settle()
	a.quiet()
	b.saw(2, "user 1 send:last words")
	if len(a.sessions) > 0 {
		t.Errorf("sessions left: %v", a.sessions)
	}
}
