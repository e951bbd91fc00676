package router

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// In TestASubscribeBindsAndAnUnsubscribeEndsThat, a client subscribes to a group that has a member
// of the chat. Then the client publishes to the group, and unsubscribes. The client may publish and
// receive only while it is subscribed.
func TestASubscribeBindsAndAnUnsubscribeEndsThat(t *testing.T) {
	w, e := serving(t, 1)
	e.client(1, "7", "x")
	e.cut()
	e.linkTo(w.relays[0])
	e.channel(2, "2")
	w.settle()
	e.join(2, "g")
	e.say(1, "tell 1 group:g before")
	e.say(1, "unbind 2 group:g")
	w.settle()
	e.saw(1, "1 not-member", "2 not-member")
	e.say(1, "bind 3 group:g of-g")
	e.say(1, "tell 4 group:g hello")
	w.settle()
	e.saw(1, "3 done", "group:g 7c1: hello", "4 done")
	e.say(1, "bind 5 group:g")
	e.say(1, "bind 6 x")
	e.group(2, "g", "hi")
	w.settle()
	e.saw(1, "5 already", "6 already", "group:g 2: hi")
	e.saw(2, protocol.JoinText("2", "g"), inGroup("g", "7", "hello"))
	e.say(1, "unbind 7 group:g")
	e.say(1, "tell 8 group:g after")
	e.group(2, "g", "more")
	w.settle()
	e.saw(1, "7 done", "8 not-member")
	e.saw(2)
	if len(e.keeps) != 0 {
		t.Errorf("keeps are left: %v", e.keeps)
	}
	w.done(e)
}

// In TestWhatWaitsToBeBound, a subscribe or a connect waits, since its topic is not subscribed.
// Each row ends the wait in another way.
func TestWhatWaitsToBeBound(t *testing.T) {
	for _, c := range []struct {
		name string
		then func(w *world, rl *testRelay, e *testEdge)
		// The client must receive the texts of the first list if a subscribe waits, and those of
		// the second list if a connect waits. The text "last" is published after the wait.
		bind, connect []string
	}{
		{"the topic is subscribed", func(w *world, rl *testRelay, e *testEdge) { rl.broker.slow = false },
			[]string{"1 done", "x 9c9: last"}, []string{"1 done", "x 9c9: last"}},
		{"the broker goes away", func(w *world, rl *testRelay, e *testEdge) {
			rl.leave(false)
			w.settle()
			e.saw(1, "1 done")
			rl.comeBack()
			rl.broker.slow = false
		}, []string{"x 9c9: last"}, []string{"x 9c9: last"}},
		{"the link ends", func(w *world, rl *testRelay, e *testEdge) {
			e.cut()
			w.settle()
			rl.broker.slow = false
			w.settle()
			e.saw(1)
			e.linkTo(rl)
		}, []string{"1 done", "x 9c9: last"}, []string{"1 done", "x 9c9: last"}},
		{"the relay dies", func(w *world, rl *testRelay, e *testEdge) {
			w.kill(rl)
			e.linkTo(w.relays[0])
		}, []string{"1 done", "x 9c9: last"}, []string{"1 done", "x 9c9: last"}},
		{"the session ends", func(w *world, rl *testRelay, e *testEdge) {
			e.end(1)
			w.settle()
			w.wait(bindWait)
			rl.broker.slow = false
		}, []string{"1 late"}, nil},
		{"4 s pass", func(w *world, rl *testRelay, e *testEdge) {
			w.wait(bindWait - time.Millisecond)
			e.saw(1)
			w.wait(time.Millisecond)
			rl.broker.slow = false
		}, []string{"1 late"}, []string{"1 done", "x 9c9: last"}},
		{"the edge does not come back", func(w *world, rl *testRelay, e *testEdge) {
			e.cut()
			w.settle()
			w.wait(rl.router.cfg.Grace)
			if n := len(rl.router.directory.topics); n != 0 {
				w.t.Errorf("%d topics are left of an edge that is gone", n)
			}
			rl.broker.slow = false
			e.linkTo(rl)
		}, []string{"1 done", "x 9c9: last"}, []string{"1 done", "x 9c9: last"}},
	} {
		for _, connects := range []bool{false, true} {
			t.Run(fmt.Sprint(c.name, ", connects ", connects), func(t *testing.T) {
				w, e := serving(t, 2)
				rl := w.relays[0]
				want := c.bind
				if connects {
					e.guest(1)
					want = c.connect
				} else {
					e.tellClient(link.Client{ID: 1, Confirmed: true, User: "7"})
				}
				w.settle()
				rl.broker.slow = true
				if connects {
					e.say(1, "connect 1 7 0 keep y=of-y x")
				} else {
					e.say(1, "bind 1 x of-x")
				}
				w.settle()
				e.saw(1)
				c.then(w, rl, e)
				w.settle()
				w.wait(paceFor)
				e.tellClient(link.Client{ID: 9, Confirmed: true, User: "9"})
				e.say(9, "say 1 x last")
				w.settle()
				e.saw(1, want...)
				w.done(e)
			})
		}
	}
}

// TestWhoIsBehindIsBoundOnceLevel binds a session while the edge's members of the topic lag behind,
// because the link is full. If the broker is in reach, the session must not be given the message
// that was published before its Bound. If the broker is away, the session must be bound at once, at
// the position of the members, and must be given that message.
func TestWhoIsBehindIsBoundOnceLevel(t *testing.T) {
	for _, away := range []bool{false, true} {
		w, e := serving(t, 1)
		rl := w.relays[0]
		e.client(2, "2", "x")
		e.cut()
		e.linkTo(rl)
		w.settle()
		e.tellClient(link.Client{ID: 1, Confirmed: true, User: "1"})
		e.tellClient(link.Client{ID: 3, Confirmed: true, User: "3"})
		w.settle()
		e.stuck = 64 << 20
		e.say(3, "say 1 x early")
		w.settle()
		if away {
			rl.leave(false)
			w.settle()
		}
		e.say(1, "bind 1 x")
		w.settle()
		if away {
			e.saw(1, "1 done")
		} else {
			e.saw(1)
		}
		e.stuck = 0
		w.wait(lookAgainAfter)
		e.saw(2, "x 3c3: early")
		if away {
			e.saw(1, "x 3c3: early")
		} else {
			e.saw(1, "1 done")
		}
		rl.comeBack()
		w.settle()
		w.wait(paceFor)
		e.say(3, "say 2 x last")
		w.settle()
		e.saw(1, "x 3c3: last")
		e.saw(2, "x 3c3: last")
		w.done(e)
	}
}

// In TestWhoWaitsForMembersThatLeaveIsBound, a subscribe waits because a member at the same edge
// lags behind. Then the member's session ends. The session that subscribes must begin at the end of
// the topic.
func TestWhoWaitsForMembersThatLeaveIsBound(t *testing.T) {
	w, e := serving(t, 1)
	e.client(2, "2", "x")
	e.cut()
	e.linkTo(w.relays[0])
	w.settle()
	e.tellClient(link.Client{ID: 1, Confirmed: true, User: "1"})
	w.settle()
	e.stuck = 64 << 20
	e.say(2, "tell 1 x early")
	w.settle()
	e.say(1, "bind 1 x")
	w.settle()
	e.saw(1)
	e.end(2)
	w.settle()
	e.saw(1, "1 done")
	e.stuck = 0
	e.say(1, "tell 2 x late")
	w.settle()
	e.saw(1, "x 1c1: late", "2 done")
	w.done(e)
}

// TestASubscribeThatWasParkedForTooLongIsLate parks a subscribe behind an unsubscribe, which waits
// for the broker's answer to a publish. After the unsubscribe, the topic has no follower any more,
// so the subscribe would have to wait for a new subscription. If bindWait is over by then, the
// subscribe must be refused at once. Otherwise it must be answered when the topic is subscribed.
func TestASubscribeThatWasParkedForTooLongIsLate(t *testing.T) {
	for _, late := range []bool{false, true} {
		w, e := serving(t, 1)
		rl := w.relays[0]
		e.client(1, "7", "x")
		e.cut()
		e.linkTo(rl)
		w.settle()
		var answer broker.Event
		rl.broker.onEvent = func(ev broker.Event) bool {
			if _, ok := ev.(broker.Published); ok {
				answer = ev
			}
			return answer != ev
		}
		e.say(1, "tell 1 x Hello")
		e.say(1, "unbind 2 x")
		e.say(1, "bind 3 x")
		w.settle()
		if late {
			w.wait(bindWait)
		}
		e.saw(1, "x 7c1: Hello")
		rl.broker.onEvent = nil
		rl.broker.slow = true
		rl.inputs = append(rl.inputs, FromBroker{answer})
		w.settle()
		want := []string{"1 done", "2 done"}
		if late {
			want = append(want, "3 late")
		}
		e.saw(1, want...)
		rl.broker.slow = false
		w.settle()
		if !late {
			e.saw(1, "3 done")
		}
		w.done(e)
	}
}

// In TestALateSubscribeWaitsForWhatItPermitted, a client publishes while its subscribe waits. The
// subscribe becomes late while the broker's answer to the publish is on its way. In one case the
// link is cut, and the answer is lost. The publish must never be judged as a stranger's.
func TestALateSubscribeWaitsForWhatItPermitted(t *testing.T) {
	for _, cut := range []bool{false, true} {
		w, e := serving(t, 1)
		rl := w.relays[0]
		e.tellClient(link.Client{ID: 1, Confirmed: true, User: "7"})
		w.settle()
		var answer broker.Event
		rl.broker.onEvent = func(ev broker.Event) bool {
			if _, ok := ev.(broker.Published); ok {
				answer = ev
			}
			return answer != ev
		}
		rl.broker.slow = true
		e.say(1, "bind 1 x")
		e.say(1, "tell 2 x Hello")
		w.settle()
		w.wait(bindWait)
		e.saw(1)
		rl.broker.onEvent = nil
		if cut {
			e.cut()
			e.linkTo(rl)
			w.settle()
			e.saw(1, "2 done")
			w.wait(bindWait)
			e.saw(1, "1 late")
		} else {
			rl.inputs = append(rl.inputs, FromBroker{answer})
			w.settle()
			e.saw(1, "2 done", "1 late")
		}
		rl.broker.slow = false
		w.done(e)
	}
}

// In TestASubscribeLetsWhatWaitedForAFollowerGo, a client publishes to a topic while the broker is
// away. The topic has no follower at the relay. The publish is answered. Then another client of the
// edge subscribes, and must be given the message ahead.
func TestASubscribeLetsWhatWaitedForAFollowerGo(t *testing.T) {
	w, e := serving(t, 1)
	e.tellClient(link.Client{ID: 1, Confirmed: true, User: "7"})
	e.tellClient(link.Client{ID: 2, Confirmed: true, User: "8"})
	w.settle()
	w.relays[0].leave(false)
	w.settle()
	e.say(2, "say 1 x Hello")
	w.settle()
	e.saw(2, "1 done")
	e.say(1, "bind 1 x")
	w.settle()
	e.saw(1, "1 done", "x 8c2: Hello")
	w.relays[0].comeBack()
	w.settle()
	w.wait(paceFor)
	e.saw(1)
	e.saw(2)
	w.done(e)
}

// In TestP6_WhoSubscribedWhileTheBrokerWasAwayMissesNothing, a client subscribes at a relay whose
// broker is away. The client is given a message ahead, and the client's edge loses its link before
// the relay tells the edge a position. Then somebody publishes, and the edge links to another
// relay. The client must receive that publication, and must not receive the first message again.
func TestP6_WhoSubscribedWhileTheBrokerWasAwayMissesNothing(t *testing.T) {
	w, e := serving(t, 2)
	here, there := w.relays[0], w.relays[1]
	b := w.edge("b")
	b.linkTo(there)
	b.tellClient(link.Client{ID: 1, Confirmed: true, User: "9"})
	e.tellClient(link.Client{ID: 1, Confirmed: true, User: "7"})
	e.tellClient(link.Client{ID: 2, Confirmed: true, User: "8"})
	w.settle()
	here.leave(false)
	w.settle()
	e.say(1, "bind 1 x")
	e.say(2, "say 1 x Hello")
	w.settle()
	e.saw(1, "1 done", "x 8c2: Hello")
	e.cut()
	here.comeBack()
	w.settle()
	w.wait(paceFor)
	b.say(1, "say 1 x more")
	w.settle()
	e.linkTo(there)
	w.settle()
	e.saw(1, "x 9c1: more")
	w.done(e)
}

// TestWhoIsBoundInAnOutageMissesNothingOfItsEnd binds a session to a topic while the broker is
// away. When the broker is back, another session publishes to the topic before the topic is
// subscribed. The first session must be sent that publication.
func TestWhoIsBoundInAnOutageMissesNothingOfItsEnd(t *testing.T) {
	w, e := serving(t, 1)
	rl := w.relays[0]
	e.tellClient(link.Client{ID: 1, Confirmed: true, User: "7"})
	e.tellClient(link.Client{ID: 2, Confirmed: true, User: "8"})
	w.settle()
	rl.leave(false)
	w.settle()
	e.say(1, "bind 1 x")
	w.settle()
	e.saw(1, "1 done")
	rl.broker.slow = true
	rl.comeBack()
	w.settle()
	e.say(2, "say 1 x Hello")
	w.settle()
	rl.broker.slow = false
	w.settle()
	w.wait(paceFor)
	w.settle()
	e.saw(1, "x 8c2: Hello")
	w.done(e)
}

// TestP5_WhoComesInAnOutageIsAnsweredThoughMembersAreBehind kills a relay. At the next relay the
// broker is away, so the members of a topic stay behind until the broker is back. Meanwhile a
// client connects to that topic, and another client subscribes to it. Both must be answered before
// the broker is back. The two clients must miss nothing that is said afterwards.
func TestP5_WhoComesInAnOutageIsAnsweredThoughMembersAreBehind(t *testing.T) {
	w, e := serving(t, 2)
	here, there := w.relays[0], w.relays[1]
	e.client(2, "2", "x")
	e.cut()
	e.linkTo(here)
	w.settle()
	e.say(2, "tell 1 x early")
	w.settle()
	e.saw(2, "x 2c2: early", "1 done")
	there.leave(false)
	w.settle()
	w.kill(here)
	e.linkTo(there)
	w.settle()
	e.guest(1)
	e.say(1, "connect 1 7 0 keep user:7 x")
	e.tellClient(link.Client{ID: 3, Confirmed: true, User: "3"})
	e.say(3, "bind 1 x")
	w.settle()
	e.saw(1, "1 done")
	e.saw(3, "1 done")
	e.say(3, "tell 2 x late")
	w.settle()
	there.comeBack()
	w.settle()
	w.wait(paceFor)
	e.saw(1, "x 3c3: late")
	e.saw(2, "x 3c3: late")
	if got := e.received[3]; !slices.Contains(got, "x 3c3: late") || !slices.Contains(got, "2 done") {
		t.Errorf("who said it got %q", got)
	}
	delete(e.received, 3)
	w.done(e)
}
