package router

import (
	"errors"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
)

// TestLaneEndsWithItsLink checks that the pending retry of a lane publishes nothing once the edge
// has linked again.
func TestLaneEndsWithItsLink(t *testing.T) {
	w := newWorld(t, 2)
	rl := w.relays[0]
	a, _ := pair(w, rl, rl)
	failing := true
	rl.broker.onPublish = func(p broker.Publish) bool {
		if failing {
			rl.broker.held = append(rl.broker.held, broker.Published{Token: p.Token, Err: errors.New("lost")})
		}
		return !failing
	}
	a.group(1, "g", "1")
	a.group(1, "g", "2")
	rl.step()
	rl.step()
	a.cut()
	a.linkTo(w.relays[1])
	w.settle()
	failing = false
	rl.broker.published = nil
	a.linkTo(rl)
	w.settle()
	a.quiet()
	w.wait(3 * time.Second)
	if n := len(rl.broker.published); n != 0 {
		t.Errorf("%d publications of a link that is over", n)
	}
}
