package router

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

var lostInG = protocol.LostText(protocol.GroupTopic("g"))

// In TestP4_LossOfAnExpiredHistoryIsTold, messages of a topic expire while an edge has no link.
// When the edge links again, its members must be told the loss once, although its relay has
// forgotten the edge. If no message has expired, no loss may be told.
func TestP4_LossOfAnExpiredHistoryIsTold(t *testing.T) {
	for _, c := range []struct {
		name  string
		lost  int // number of messages said while b had no link; they expire
		later int // number of messages said after the expiry, before b links again
		want  []string
	}{
		{"nothing was said", 0, 0, nil},
		{"one message", 1, 0, []string{lostInG}},
		{"several", 4, 0, []string{lostInG}},
		{"and more that is still there", 4, 1, []string{lostInG, "group 【g】 user 【1】 send:later"}},
		{"nothing but what is still there", 0, 1, []string{"group 【g】 user 【1】 send:later"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 2)
				a, b := pair(w, w.relays[0], w.relays[1])
				a.group(1, "g", "before")
				w.settle()
				clear(b.received)
				was := b.topics["group:g"].position
				b.cut()
				w.settle()
				for range c.lost {
					a.group(1, "g", "lost")
				}
				w.settle()
				w.wait(time.Minute) // b's relay forgets b
				time.Sleep(10 * time.Minute)
				for range c.later {
					a.group(1, "g", "later")
				}
				w.settle()
				b.linkTo(w.relays[1])
				w.settle()
				b.saw(2, c.want...)
				if got, want := b.topics["group:g"].position.Offset, was.Offset+uint64(c.lost+c.later); got != want {
					t.Errorf("%d offsets after %v, of %d lost and %d later", got-was.Offset, was, c.lost, c.later)
				}
				a.group(1, "g", "after")
				w.settle()
				b.saw(2, "group 【g】 user 【1】 send:after")
			})
		})
	}
}

// TestP4_UnreadableEntriesAreToldAsLost makes some entries of a history unreadable. A relay must
// skip these entries, and tell them as lost.
func TestP4_UnreadableEntriesAreToldAsLost(t *testing.T) {
	const missed = 2*broker.PageSize + 10
	for _, c := range []struct {
		name        string
		first, last int // number of the first and the last unreadable message
		told        []int
	}{
		{"at the beginning", 1, 3, []int{1}},
		{"in the middle of a page", 10, 12, []int{10}},
		{"a page's end", broker.PageSize - 1, broker.PageSize, []int{broker.PageSize - 1}},
		{"a whole page", broker.PageSize + 1, 2 * broker.PageSize, []int{broker.PageSize + 1}},
		{"two pages, each told", 1, 2 * broker.PageSize, []int{1, broker.PageSize + 1}},
		{"the last", missed, missed, []int{missed}},
		{"all", 1, missed, []int{1, broker.PageSize + 1, 2*broker.PageSize + 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 2)
			a, b := pair(w, w.relays[0], w.relays[1])
			was := b.topics["group:g"].position.Offset
			b.cut()
			w.wait(time.Minute) // b's relay forgets b
			for n := 1; n <= missed; n++ {
				a.group(1, "g", fmt.Sprint(n))
			}
			w.settle()
			pages := 0
			unreadable(w.relays[1], func(p broker.Publication) bool {
				n := int(p.Position.Offset - was)
				return c.first <= n && n <= c.last
			}, func() {
				if pages++; pages > 3 {
					t.Fatalf("page %d was read, of 3", pages)
				}
			})
			b.linkTo(w.relays[1])
			w.settle()
			var want []string
			for n := 1; n <= missed; n++ {
				if slices.Contains(c.told, n) {
					want = append(want, lostInG)
				}
				if n < c.first || n > c.last {
					want = append(want, fmt.Sprint("group 【g】 user 【1】 send:", n))
				}
			}
			b.saw(2, want...)
			a.group(1, "g", "after")
			w.settle()
			b.saw(2, "group 【g】 user 【1】 send:after")
		})
	}
}

// unreadable removes publications from the pages of history that a relay reads. The first function
// says which publications to remove. The second function is called for each page.
func unreadable(rl *testRelay, is func(broker.Publication) bool, page func()) {
	rl.broker.onEvent = func(ev broker.Event) bool {
		h, ok := ev.(broker.History)
		if !ok {
			return true
		}
		page()
		h.Publications = slices.DeleteFunc(h.Publications, is)
		rl.inputs = append(rl.inputs, FromBroker{h})
		return false
	}
}
