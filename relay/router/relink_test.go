package router

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// pair returns two edges. The first is linked to ra and has session 1 of user 1. The second is
// linked to rb and has session 2 of user 2. Both sessions are in group g.
func pair(w *world, ra, rb *testRelay) (a, b *testEdge) {
	a, b = w.edge("a"), w.edge("b")
	a.linkTo(ra)
	b.linkTo(rb)
	a.channel(1, "1")
	b.channel(2, "2")
	w.settle()
	a.join(1, "g")
	w.settle()
	b.join(2, "g")
	w.settle()
	clear(a.received)
	clear(b.received)
	return a, b
}

func TestReplayIsPublishedAndAnsweredOnce(t *testing.T) {
	for _, other := range []bool{false, true} {
		t.Run(fmt.Sprint("to another relay ", other), func(t *testing.T) {
			w := newWorld(t, 2)
			a, b := pair(w, w.relays[0], w.relays[1])
			a.deaf = true // the relay gets the next frames, but its answers are lost
			a.group(1, "g", "1")
			a.join(1, "g")
			a.say(1, "{")
			a.group(1, "g", "2")
			a.leave(1, "g")
			a.group(1, "g", "3")
			a.group(1, "nobody", "4")
			w.settle()
			to := w.relays[0]
			if other {
				to = w.relays[1]
			}
			a.linkTo(to)
			w.settle()
			a.quiet()
			if got := a.received[1]; len(got) != 5 || got[0] != "user 【1】 add to group 【g】" || got[1][:6] != "error:" ||
				got[2] != "user 【1】 leave group 【g】" || got[3] != "user 【1】 not in 【g】" || got[4] != "group【nobody】 not exists" {
				t.Errorf("the sender got %q", got)
			}
			b.saw(2, "group 【g】 user 【1】 send:1", "group 【g】 user 【1】 send:user 【1】 add to group 【g】",
				"group 【g】 user 【1】 send:2", "group 【g】 user 【1】 send:user 【1】 leave group 【g】")
		})
	}
}

func TestAnswerToARefusedMessageIsRepeated(t *testing.T) {
	w := newWorld(t, 1)
	a, b := pair(w, w.relays[0], w.relays[0])
	a.channel(3, "3")
	w.settle()
	a.deaf = true
	a.group(3, "g", "refused")
	a.group(1, "g", "published") // so that the topic's mark is above the refused number
	w.settle()
	a.linkTo(w.relays[0])
	w.settle()
	a.saw(3, "user 【3】 not in 【g】")
	b.saw(2, "group 【g】 user 【1】 send:published")
	a.quiet()
}

func TestWhatWasPublishedBeforeALeaveIsAcknowledgedBeforeIt(t *testing.T) {
	w := newWorld(t, 1)
	rl := w.relays[0]
	a, b := pair(w, rl, rl)
	// The slice late keeps the broker's answers, so that they come after the echoes.
	var late []broker.Event
	rl.broker.onEvent = func(ev broker.Event) bool {
		if _, ok := ev.(broker.Published); ok {
			late = append(late, ev)
			return false
		}
		return true
	}
	a.say(1, "{")
	a.group(1, "g", "last")
	a.leave(1, "g")
	w.settle()
	a.linkTo(rl) // this comes before the broker's answers
	rl.broker.onEvent, rl.broker.held = nil, late
	w.settle()
	if got := a.received[1]; len(got) != 2 || got[1] != "user 【1】 leave group 【g】" {
		t.Errorf("got %q", got)
	}
	b.saw(2, "group 【g】 user 【1】 send:last", "group 【g】 user 【1】 send:user 【1】 leave group 【g】")
	a.quiet()
}

func TestWhatWasMissedComesFromHistoryInOrder(t *testing.T) {
	for _, kill := range []bool{false, true} {
		t.Run(fmt.Sprint("relay killed ", kill), func(t *testing.T) {
			w := newWorld(t, 2)
			a, b := pair(w, w.relays[0], w.relays[1])
			if kill {
				w.kill(w.relays[1])
				w.addRelay(Config{})
			} else {
				b.cut()
			}
			var want []string
			for i := range 200 {
				a.group(1, "g", fmt.Sprint(i))
				want = append(want, fmt.Sprint("group 【g】 user 【1】 send:", i))
			}
			w.settle()
			b.saw(2)
			b.linkTo(w.relays[1])
			a.group(1, "g", "newer")
			w.settle()
			b.saw(2, append(want, "group 【g】 user 【1】 send:newer")...)
		})
	}
}

func TestLossBeyondHistoryIsTold(t *testing.T) {
	w := newWorld(t, 2)
	a, b := pair(w, w.relays[0], w.relays[1])
	w.kill(w.relays[1])
	for i := range 300 {
		a.group(1, "g", fmt.Sprint(i))
	}
	w.settle()
	w.addRelay(Config{})
	b.linkTo(w.relays[1])
	w.settle()
	got := b.received[2]
	if len(got) != 257 || got[0] != "error: messages lost in group 【g】" || got[1] != "group 【g】 user 【1】 send:44" {
		t.Errorf("got %d messages, first %q", len(got), got[:2])
	}
}

func TestNewcomerGetsNothingOlder(t *testing.T) {
	w := newWorld(t, 1)
	a, b := pair(w, w.relays[0], w.relays[0])
	b.cut()
	a.group(1, "g", "missed")
	w.settle()
	b.channel(3, "3")
	b.linkTo(w.relays[0])
	b.join(3, "g")
	w.settle()
	b.saw(2, "group 【g】 user 【1】 send:missed", "group 【g】 user 【3】 send:user 【3】 add to group 【g】")
	b.saw(3, "user 【3】 add to group 【g】")
}

func TestStalledEdgeIsBehindAndCatchesUp(t *testing.T) {
	for _, n := range []int{10, 200} { // numbers of messages below and above what a tail keeps
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			w := newWorld(t, 1)
			a, b := pair(w, w.relays[0], w.relays[0])
			b.channel(3, "3")
			w.settle()
			b.stuck = 4 << 20
			before := b.bytes
			var want []string
			for i := range n {
				a.group(1, "g", fmt.Sprint(i))
				want = append(want, fmt.Sprint("group 【g】 user 【1】 send:", i))
				w.settle()
			}
			b.join(3, "g") // the join is not in effect until the edge has caught up
			w.settle()
			b.saw(2)
			b.saw(3)
			if b.bytes-before > 1000 {
				t.Errorf("%d bytes were sent to a stalled edge", b.bytes-before)
			}
			b.stuck = 0
			w.relays[0].inputs = append(w.relays[0].inputs, Writable{b.conn})
			w.settle()
			b.saw(2, append(want, "group 【g】 user 【3】 send:user 【3】 add to group 【g】")...)
			b.saw(3, "user 【3】 add to group 【g】")
			b.quiet()
		})
	}
}

func TestFailedPublishIsNeverOvertaken(t *testing.T) {
	w := newWorld(t, 1)
	rl := w.relays[0]
	a, b := pair(w, rl, rl)
	// The third publish is lost on its way. The twelfth reaches the broker, but its answer is lost.
	n := 0
	rl.broker.onPublish = func(p broker.Publish) bool {
		n++
		switch n {
		case 3:
			rl.broker.held = append(rl.broker.held, broker.Published{Token: p.Token, Err: errors.New("connection reset")})
			return false
		case 12:
			p := p
			rl.broker.onPublish = nil
			rl.broker.Handle.Publish(p)
			rl.broker.onEvent = func(ev broker.Event) bool {
				done, ok := ev.(broker.Published)
				if ok && done.Token == p.Token {
					rl.broker.onEvent = nil
					rl.broker.held = append(rl.broker.held, broker.Published{Token: p.Token, Err: errors.New("timeout")})
					return false
				}
				return true
			}
			return false
		}
		return true
	}
	var want []string
	for i := range 20 {
		a.group(1, "g", fmt.Sprint(i))
		want = append(want, fmt.Sprint("group 【g】 user 【1】 send:", i))
	}
	w.settle()
	for range 50 {
		w.wait(100 * time.Millisecond)
	}
	b.saw(2, want...)
	a.quiet()
}

func TestP6_ConnectIsAnsweredWhenInForce(t *testing.T) {
	w := newWorld(t, 1)
	rl := w.relays[0]
	a := w.edge("a")
	a.linkTo(rl)
	w.settle()
	var late []broker.Event
	rl.broker.onEvent = func(ev broker.Event) bool {
		if s, ok := ev.(broker.Subscribed); ok && s.Topic == "user:1" {
			late = append(late, ev)
			return false
		}
		return true
	}
	a.channel(1, "1")
	w.settle()
	if a.confirmed[1] {
		t.Fatal("the connect was answered before the subscription was confirmed")
	}
	rl.broker.onEvent, rl.broker.held = nil, late
	w.settle()
	if !a.confirmed[1] {
		t.Fatal("the connect was not answered")
	}
}

func TestBrokerAwayOpensUnconfirmedAndResumes(t *testing.T) {
	w := newWorld(t, 1)
	rl := w.relays[0]
	a, b := pair(w, rl, rl)
	rl.broker.held = []broker.Event{broker.Deaf{All: true}, broker.State{Away: true, Cause: errors.New("refused")}}
	w.settle()
	if !slices.Equal(a.status, []string{"broker"}) {
		t.Errorf("status %q, want broker", a.status)
	}
	a.group(1, "g", "waits")
	a.group(1, "h", "x")
	a.channel(5, "5")
	w.settle()
	b.saw(2, "group 【g】 user 【1】 send:waits")
	if _, waits := a.confirmed[5]; waits {
		t.Error("a connect was confirmed while the broker was away")
	}
	back := []broker.Event{broker.State{}}
	for name, topic := range rl.router.directory.topics {
		back = append(back, broker.Subscribed{Topic: name, Token: topic.number})
	}
	rl.broker.held = back
	w.settle()
	b.saw(2)
	if got := a.received[1]; len(got) != 1 || got[0][:6] != "error:" {
		t.Errorf("a message to an unknown group while the broker is away: %q", got)
	}
	if !a.confirmed[5] || len(a.status) != 0 {
		t.Error("the connect was not confirmed afterwards, or the status stayed")
	}
	a.quiet()
}

func TestDeafTimeIsMadeUpFromHistory(t *testing.T) {
	w := newWorld(t, 2)
	a, b := pair(w, w.relays[0], w.relays[1])
	rl := w.relays[1]
	rl.broker.held = []broker.Event{broker.Deaf{All: true}}
	rl.broker.onEvent = exceptEchoes
	w.settle()
	var want []string
	for i := range 5 {
		a.group(1, "g", fmt.Sprint(i))
		want = append(want, fmt.Sprint("group 【g】 user 【1】 send:", i))
	}
	w.settle()
	b.saw(2)
	rl.broker.onEvent = nil
	rl.broker.Subscribe("group:g", rl.router.directory.topics["group:g"].number, false)
	w.settle()
	b.saw(2, want...)
}

func TestLostReceivedIsAHoleAndFilled(t *testing.T) {
	w := newWorld(t, 2)
	a, b := pair(w, w.relays[0], w.relays[1])
	lost := 0
	w.relays[1].broker.onEvent = func(ev broker.Event) bool {
		if _, ok := ev.(broker.Received); ok && lost < 3 {
			lost++
			return false
		}
		return true
	}
	for i := range 5 {
		a.group(1, "g", fmt.Sprint(i))
	}
	w.settle()
	b.saw(2, "group 【g】 user 【1】 send:0", "group 【g】 user 【1】 send:1", "group 【g】 user 【1】 send:2",
		"group 【g】 user 【1】 send:3", "group 【g】 user 【1】 send:4")
}

func TestP9_DeadEdgeLeavesAfterGrace(t *testing.T) {
	w := newWorld(t, 1)
	a, b := pair(w, w.relays[0], w.relays[0])
	a.end(1)
	w.settle()
	a.channel(3, "3")
	w.settle()
	b.cut()
	w.wait(14 * time.Second)
	a.group(3, "g", "x")
	w.settle()
	a.saw(3, "user 【3】 not in 【g】") // the session of edge b still counts as a member
	w.wait(2 * time.Second)
	a.group(3, "g", "x")
	w.settle()
	a.saw(3, "group【g】 not exists")
	if n := len(w.relays[0].router.directory.edges); n != 1 {
		t.Errorf("%d edges left, want 1", n)
	}
}

func TestTwoEdgesWithOneNodeIDAreBothServed(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.edge("same"), w.edge("same")
	a.linkTo(w.relays[0])
	b.linkTo(w.relays[0])
	a.channel(1, "1")
	b.channel(1, "2")
	w.settle()
	a.one(1, "2", "x")
	b.one(1, "1", "y")
	w.settle()
	a.saw(1, "user 2 send:y")
	b.saw(1, "user 1 send:x")
}

func TestLaterLinkOfOneBootReplacesTheOlder(t *testing.T) {
	w := newWorld(t, 1)
	a, b := pair(w, w.relays[0], w.relays[0])
	a.linkTo(w.relays[0]) // the old link has not ended
	w.settle()
	if !slices.Equal(a.closed, []link.Code{link.CodeSuperseded}) {
		t.Errorf("the older link was closed with %v", a.closed)
	}
	a.group(1, "g", "x")
	w.settle()
	b.saw(2, "group 【g】 user 【1】 send:x")
}

// In TestOlderLinkOfOneBootBringsNothing, one boot of an edge has two links. The link with the
// higher generation must stay, no matter which link the relay sees first. Frames of the other link
// must not count.
func TestOlderLinkOfOneBootBringsNothing(t *testing.T) {
	w := newWorld(t, 1)
	rl := w.relays[0]
	a, b := pair(w, rl, rl)
	old, next := a.conn, a.number+1
	late := func(text string) Received {
		return Received{old, []any{link.Message{Number: next, Session: 1, Payload: []byte(`{"Method":"Group","Group":"g","MsgBody":"` + text + `"}`)}}}
	}
	a.linkTo(rl)
	w.settle()
	rl.inputs = append(rl.inputs, late("by the older link"), Disconnected{old, w.now, errors.New("closed")})
	w.settle()

	slow := &testLink{edge: a} // this link was dialled before the link in use, and arrives after it
	rl.inputs = append(rl.inputs, Connected{slow, link.Hello{Instance: a.instance, Node: a.node, Generation: a.generation - 1, LogSize: 4 << 20}})
	w.settle()
	old = slow
	rl.inputs = append(rl.inputs, late("by one that was refused"), Disconnected{slow, w.now, errors.New("closed")})
	w.settle()
	if !slices.Equal(a.closed, []link.Code{link.CodeSuperseded, link.CodeSuperseded}) {
		t.Errorf("the relay closed links with %v", a.closed)
	}

	w.wait(time.Minute) // long after the grace of an edge without a link
	a.group(1, "g", "by the link in use")
	w.settle()
	b.saw(2, "group 【g】 user 【1】 send:by the link in use")
	a.quiet()
}

// tooManyTopics returns the frames of an edge that tells of two sessions and 1003 memberships. One
// session has all of these memberships. That is one more than a session may have, but fewer than
// two sessions together may have.
func tooManyTopics() (frames []any) {
	frames = append(frames, link.Session{ID: 1, Endpoint: 1, User: "1"}, link.Session{ID: 2, Endpoint: 1, User: "2"})
	for i := range 1003 {
		frames = append(frames, link.Held{Topic: protocol.GroupTopic(fmt.Sprint(i)), Sessions: []uint64{1}})
	}
	return append(frames, link.Synced{First: 1, Sessions: 2, Held: 1003})
}
