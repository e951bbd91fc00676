package router

import (
	"errors"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
)

// In TestAParkedFrameIsAnsweredBesideALeave, the former relay of an edge publishes the leave of one
// session late. On the edge's new relay, a frame of another session is parked. The parked frame has
// a lower number than the leave. The relay must answer the parked frame all the same, since it
// refuses this frame and does not publish it.
func TestAParkedFrameIsAnsweredBesideALeave(t *testing.T) {
	w := newWorld(t, 2)
	ra, rb := w.relays[0], w.relays[1]
	a, b := w.edge("a"), w.edge("b")
	a.linkTo(ra)
	b.linkTo(rb)
	a.channel(1, "1")
	a.channel(3, "3")
	b.channel(2, "2")
	w.settle()
	a.join(3, "g")
	b.join(2, "g")
	w.settle()
	clear(a.received)
	a.deaf = true
	var leave []broker.Publish
	ra.broker.onPublish = func(p broker.Publish) bool {
		if p.Topic == "group:g" { // the publication takes long on its way to Redis
			leave = append(leave, p)
			return false
		}
		return true
	}
	a.join(1, "h")
	a.group(1, "g", "x") // session 1 is not in g
	a.leave(3, "g")
	w.settle()
	if len(leave) != 1 {
		t.Fatalf("%d publications held", len(leave))
	}
	rb.broker.onPublish = func(p broker.Publish) bool { return p.Topic != "group:h" }
	a.linkTo(rb)
	w.settle()
	ra.broker.Handle.Publish(leave[0])
	w.settle()
	rb.broker.onPublish = nil
	rb.broker.held = append(rb.broker.held, broker.Published{Token: rb.broker.published[len(rb.broker.published)-1].Token, Err: errors.New("lost")})
	w.settle()
	w.wait(time.Second)
	a.quiet()
	a.saw(1, "user 【1】 add to group 【h】", "user 【1】 not in 【g】")
}
