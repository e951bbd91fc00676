package router

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// In TestP8_TopicsThatOneUserMakesAreBounded, a user writes to invented users, and joins and leaves
// invented groups, all through one edge. In one window the user may address Config.MaxAddressed
// users and groups. A new connection does not begin a new count. The user may still write to users
// to whom it has written in that window. The bound of one user does not affect other users.
func TestP8_TopicsThatOneUserMakesAreBounded(t *testing.T) {
	w := newWorld(t, 0)
	rl := w.addRelay(Config{MaxAddressed: 50, HistoryAge: time.Minute})
	a := w.edge("a")
	a.linkTo(rl)
	a.channel(1, "1")
	w.settle()
	refused := func() (n int) {
		w.settle()
		for _, line := range a.received[1] {
			if strings.HasPrefix(line, "error: a user can address 50 different users and groups in 1m0s") {
				n++
			}
		}
		delete(a.received, 1)
		return n
	}
	for i := range 30 {
		a.one(1, fmt.Sprint("invented", i), "x")
		a.join(1, fmt.Sprint("g", i))
		w.settle()
		a.leave(1, fmt.Sprint("g", i))
	}
	if n := refused(); n != 10 {
		t.Errorf("%d refused, want 10 of 60", n)
	}
	a.one(1, "invented3", "x")
	a.say(1, `{"MsgBody":"all"}`)
	if n := refused(); n != 0 {
		t.Errorf("%d of known ones refused", n)
	}
	a.quiet()
	edge := rl.router.directory.edges[a.instance]
	if n := len(edge.addressed["1"].few) + len(edge.addressed["1"].more); n != 50 {
		t.Errorf("%d are remembered", n)
	}
	a.end(1)
	a.linkTo(rl)
	w.settle()
	a.channel(2, "1")
	a.channel(3, "3")
	a.one(2, "yet another", "x")
	a.one(3, "yet another", "x")
	w.settle()
	if got := a.received[2]; len(got) != 1 {
		t.Errorf("on a new connection of the same user: %q", got)
	}
	if got := a.received[3]; len(got) != 0 {
		t.Errorf("another user: %q", got)
	}
	for range 4 {
		w.wait(30 * time.Second)
	}
	if n := len(edge.addressed); n != 0 {
		t.Errorf("%d users are remembered", n)
	}
	a.channel(1, "1")
	a.one(1, "another", "x")
	if n := refused(); n != 0 {
		t.Errorf("%d refused in the next window", n)
	}
	a.quiet()
}

// TestA4_EveryDoorToATopicIsCounted checks that two ways to create a topic count as addressing it.
// In the first, a user connects to an invented group and speaks there. In the second, a user leaves
// a group whose history has expired, and the notice creates the topic anew.
func TestA4_EveryDoorToATopicIsCounted(t *testing.T) {
	const most = 50
	w := newWorld(t, 0)
	rl := w.addRelay(Config{MaxAddressed: most, HistoryAge: time.Minute})
	a := w.edge("a")
	a.linkTo(rl)
	refused := func() (n int) {
		w.settle()
		for _, lines := range a.received {
			for _, line := range lines {
				if strings.HasPrefix(line, "error: a user can address 50 different users and groups in 1m0s") {
					n++
				}
			}
		}
		clear(a.received)
		return n
	}
	for i := range most + 10 {
		id := uint64(i + 1)
		a.open(id, protocol.EndpointGroup, "1", fmt.Sprint("invented", i))
		w.settle()
		a.say(id, "x")
		w.settle()
		a.end(id)
	}
	if n := refused(); n != 10 {
		t.Errorf("%d of the messages to %d invented groups were refused, want 10", n, most+10)
	}

	a.channel(1000, "2")
	for i := range most {
		a.join(1000, fmt.Sprint("g", i))
	}
	if n := refused(); n != 0 {
		t.Fatalf("%d joins were refused", n)
	}
	w.wait(2 * time.Minute)
	for i := range most {
		a.leave(1000, fmt.Sprint("g", i))
	}
	w.settle()
	a.one(1000, "somebody", "x")
	if n := refused(); n != 1 {
		t.Errorf("%d refused: %d leaves make as many topics, and are not refused; one more is", n, most)
	}
	a.quiet()
}
