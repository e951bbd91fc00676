package router

import (
	"fmt"
	"slices"
	"testing"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// TestP6_AJoinBeginsAtItsNotice loses the notices of some joins on their way back from the broker.
// Each new member must still get all that was published after its own notice, once and in order.
func TestP6_AJoinBeginsAtItsNotice(t *testing.T) {
	const n = 6
	notice := func(i int) string {
		user := fmt.Sprint(i)
		return fmt.Sprintf("group 【g】 user 【%s】 send:%s", user, protocol.JoinText(user, "g"))
	}
	for _, members := range []int{0, 1} { // number of members before the joins
		for lost := 1; lost < n; lost++ {
			t.Run(fmt.Sprintf("%d members, %d notices lost", members, lost), func(t *testing.T) {
				w := newWorld(t, 1)
				rl := w.relays[0]
				a := w.edge("a")
				a.linkTo(rl)
				a.channel(100, "100")
				for i := range n {
					a.channel(uint64(i), fmt.Sprint(i))
				}
				w.settle()
				if members > 0 {
					a.join(100, "g")
					w.settle()
				}
				seen := 0
				rl.broker.onEvent = func(ev broker.Event) bool {
					if ev, ok := ev.(broker.Received); ok && ev.Publication.Topic == "group:g" {
						seen++
						return seen > lost
					}
					return true
				}
				for i := range n {
					a.join(uint64(i), "g")
				}
				w.settle()
				var all []string
				for i := range n {
					all = append(all, notice(i))
				}
				if members > 0 {
					a.saw(100, append([]string{protocol.JoinText("100", "g")}, all...)...)
				}
				for i := range n {
					want := append([]string{protocol.JoinText(fmt.Sprint(i), "g")}, all[i+1:]...)
					if got := a.received[uint64(i)]; !slices.Equal(got, want) {
						t.Errorf("%d got\n%q, want\n%q", i, got, want)
					}
				}
				a.quiet()
			})
		}
	}
}
