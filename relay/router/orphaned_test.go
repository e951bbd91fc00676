package router

import (
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
)

// In TestP8_AnEdgeThatLinksAgainAndAgainDoesNotFillTheBrokersQueue, the broker is slow, and an edge
// replays its waiting frames on each new link. Together the messages that wait at the broker may
// take at most twice the size of the edge's log, plus one message.
func TestP8_AnEdgeThatLinksAgainAndAgainDoesNotFillTheBrokersQueue(t *testing.T) {
	w := newWorld(t, 1)
	rl := w.relays[0]
	e := w.edge("e")
	e.linkTo(rl)
	e.channel(1, "a")
	w.settle()
	rl.broker.onPublish = func(broker.Publish) bool { return false }
	const each, most = 100 << 10, 4 << 20 // the constant most is the log size that testEdge tells
	for range 30 {
		e.one(1, "a", strings.Repeat("x", each))
	}
	w.settle()
	for i := range 20 {
		if i%2 == 1 { // no link until the relay has forgotten the edge
			e.cut()
			w.settle()
			w.wait(20 * time.Second)
		}
		e.linkTo(rl)
		w.settle()
	}
	waiting := rl.broker.published
	if n := len(waiting) * each; n > 2*most+each {
		t.Errorf("%d bytes wait at the broker, want no more than %d", n, 2*most)
	}
	rl.broker.onPublish = nil
	for _, p := range waiting { // the broker answers after all
		rl.broker.Handle.Publish(p)
	}
	w.settle()
	e.quiet()
	if n := len(e.received[1]); n != 30 {
		t.Errorf("%d of 30 messages came", n)
	}
	if n := len(rl.router.requests.orphaned); n != 0 {
		t.Errorf("%d edges' bytes are still waited for", n)
	}
}
