package router

import (
	"testing"

	"github.com/edgerelay/edgerelay/relay/broker"
)

// In TestP6_ReplayOfAnsweredNotices, an edge replays joins and leaves that were answered. Their
// acknowledgements were lost. If the session's last answer said that it joined, the session must
// get every message of the group, also during the replay. If that answer said that it left, the
// session must get none.
func TestP6_ReplayOfAnsweredNotices(t *testing.T) {
	for _, c := range []struct {
		name   string
		rejoin bool
	}{{"left", false}, {"joined again", true}} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 2)
			a, b := pair(w, w.relays[0], w.relays[0])
			a.noAcks = true
			a.leave(1, "g")
			a.join(1, "g")
			a.leave(1, "g")
			if c.rejoin {
				a.join(1, "g")
			}
			w.settle()
			a.noAcks = false
			clear(a.received)
			// The answers came, but the acknowledgements did not. Somebody speaks while the other
			// relay works through the replay.
			a.cut()
			w.settle()
			said := 0
			w.relays[1].broker.onPublish = func(p broker.Publish) bool {
				if said < 8 {
					said++
					b.group(2, "g", "hi")
					w.relays[0].step()
				}
				return true
			}
			a.linkTo(w.relays[1])
			w.settle()
			b.group(2, "g", "hi")
			said++
			w.settle()
			a.quiet()
			got := len(a.received[1])
			want := 0
			if c.rejoin {
				want = said
			}
			if got != want {
				t.Errorf("%d messages were said, the session was to get %d and got %q", said, want, a.received[1])
			}
		})
	}
}
