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

// serving returns a world with relays that serve clients of SDKs, and an edge that is linked to the
// first one.
func serving(t *testing.T, relays int) (*world, *testEdge) {
	w := newWorld(t, 0)
	for range relays {
		w.addSpeaking(Config{}, speakers()...)
	}
	e := w.edge("a")
	e.linkTo(w.relays[0])
	w.settle()
	return w, e
}

// done checks at the end of a test that all frames of the edge are finished and that its tables are
// those of its relay.
func (w *world) done(edges ...*testEdge) {
	w.t.Helper()
	w.settle()
	for _, e := range edges {
		e.quiet()
		e.digests = 0
	}
	w.wait(w.relays[0].router.cfg.DigestEvery)
	for _, e := range edges {
		if e.digests == 0 {
			w.t.Errorf("%s: tables were not compared", e.node)
		}
		tables := &e.link.router.directory.edges[e.instance].tables
		keeps := 0
		for _, c := range e.clients {
			keeps += len(c.Keep)
		}
		for _, k := range e.keeps {
			keeps += len(k)
		}
		if tables.keeps != keeps {
			w.t.Errorf("%s: keeps of %d bytes are counted, there are %d", e.node, tables.keeps, keeps)
		}
	}
	for _, rl := range w.relays {
		rl.idle()
	}
}

// idle checks that nothing waits at a relay whose frames are all finished.
func (rl *testRelay) idle() {
	rl.w.t.Helper()
	for _, e := range rl.router.directory.links {
		for _, s := range e.tables.sessions {
			x := s.client()
			if x != nil && (len(x.ways) != 0 || x.held != 0 || x.coming != 0 || x.confirming != nil || len(x.last) != 0) {
				rl.w.t.Errorf("%s, session %d: something is left to wait for: %+v", e.node, s.id, x)
			}
		}
		for _, f := range e.followers {
			if f.rare != nil && (f.rare.binders.first != nil || f.rare.notices != 0) {
				rl.w.t.Errorf("%s: something waits at %s: %+v", e.node, f.topic.name, f.rare)
			}
		}
	}
}

// TestAConnectIsConfirmed connects a guest at one edge, and lets a user of another edge write to
// the topics to which the connect binds it.
func TestAConnectIsConfirmed(t *testing.T) {
	w, a := serving(t, 2)
	b := w.edge("b")
	b.linkTo(w.relays[1])
	b.channel(1, "9")
	w.settle()
	a.guest(1)
	a.say(1, "connect 1 7 1234 of-it user:7=own all news=of-news")
	w.settle()
	a.saw(1, "1 done")
	if got := a.clients[1]; !got.Confirmed || got.User != "7" || got.Until != 1234 || string(got.Keep) != "of-it" {
		t.Errorf("the client is %+v", got)
	}
	if got := string(a.keeps[ofMember{1, "user:7"}]) + string(a.keeps[ofMember{1, "news"}]); got != "ownof-news" {
		t.Errorf("keeps of the memberships: %q", got)
	}
	b.one(1, "7", "hi")
	b.say(1, `{"MsgBody":"everybody"}`)
	w.settle()
	a.saw(1, "user:7 9: hi", "all 9: everybody")
	a.say(1, "say 2 user:9 hello")
	a.say(1, "renew 3 99 other")
	a.say(1, "ping 4")
	w.settle()
	a.saw(1, "3 done", "4 done", "2 done")
	b.saw(1, "user 7 send:hello")
	if got := a.clients[1]; got.Until != 99 || string(got.Keep) != "other" || !got.Confirmed {
		t.Errorf("after the refresh the client is %+v", got)
	}
	w.done(a, b)
	a.end(1)
	w.done(a, b)
}

// TestASubscribeBindsAndAnUnsubscribeEndsThat has a client subscribe to a group of a chat session,
// publish there, and unsubscribe. The client may publish and receive only while it is subscribed.
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

// TestWhatWaitsToBeBound has a subscribe or a connect wait, since its topic is not subscribed. Each
// row ends the wait in another way.
func TestWhatWaitsToBeBound(t *testing.T) {
	for _, c := range []struct {
		name string
		then func(w *world, rl *testRelay, e *testEdge)
		// The texts that the client must receive: bind if it waits with a subscribe, and connect if
		// it waits with a connect. The text "last" is published after the wait.
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

// TestAConnectWaitsForAllItsTopics has a connect with three topics, which are subscribed one after
// another. The session must not be bound to any of them before all are subscribed.
func TestAConnectWaitsForAllItsTopics(t *testing.T) {
	w, e := serving(t, 1)
	rl := w.relays[0]
	var held []broker.Event
	rl.broker.onEvent = func(ev broker.Event) bool {
		if _, ok := ev.(broker.Subscribed); ok {
			held = append(held, ev)
			return false
		}
		return true
	}
	e.guest(1)
	e.say(1, "connect 1 7 0 k x=1 y=2 z=3")
	e.guest(2)
	e.say(2, "connect 1 8 0 k z y")
	w.settle()
	for i := range held {
		e.saw(1)
		e.saw(2)
		rl.inputs = append(rl.inputs, FromBroker{held[len(held)-1-i]}) // z, y, x
		w.settle()
		if i == 1 {
			e.saw(2, "1 done")
		}
	}
	e.saw(1, "1 done")
	rl.broker.onEvent = nil
	w.done(e)
}

// TestWhoIsBehindIsBoundOnceLevel binds a session while the edge's members of the topic lag behind,
// because the link is full. The session must not be given what was published before its Bound. Even
// while the broker is away, the session waits until the members have caught up.
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
		e.saw(1)
		e.stuck = 0
		w.wait(lookAgainAfter)
		e.saw(2, "x 3c3: early")
		e.saw(1, "1 done")
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

// TestWhoWaitsForMembersThatLeaveIsBound has a subscribe wait for a member of the same edge that
// lags behind. Then that member's session ends. The session that subscribes begins at the end of
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

// TestOrderOnOneTopic gives a relay commands of one session on a topic that is not subscribed yet,
// and on another topic. A command is answered as soon as no earlier command on the same topic holds
// it up.
func TestOrderOnOneTopic(t *testing.T) {
	w, e := serving(t, 1)
	rl := w.relays[0]
	e.client(1, "7", "y")
	e.cut()
	e.linkTo(rl)
	w.settle()
	rl.broker.slow = true
	e.say(1, "bind 1 x")
	e.say(1, "tell 2 x as-a-member") // a member's publish does not wait for the topic
	e.say(1, "bind 3 x")
	e.say(1, "tell 4 x waits")
	e.say(1, "unbind 5 x")
	e.say(1, "tell 6 x refused")
	e.say(1, "tell 7 y passes")
	e.say(1, "ping 8")
	e.say(1, "bind 9 z")
	e.say(1, "renew 10 5")
	w.settle()
	e.saw(1, "8 done", "10 done", "2 done", "7 done")
	rl.broker.slow = false
	w.settle()
	got := e.received[1]
	delete(e.received, 1)
	order := func(before, after string) {
		i, j := slices.Index(got, before), slices.Index(got, after)
		if i < 0 || j < i {
			t.Errorf("%q is not before %q in %q", before, after, got)
		}
	}
	order("1 done", "3 already")
	order("3 already", "4 done")
	order("4 done", "5 done")
	order("5 done", "6 not-member")
	order("1 done", "9 done")
	if slices.Contains(got, "x 7c1: refused") || !slices.Contains(got, "x 7c1: waits") {
		t.Errorf("got %q", got)
	}
	w.done(e)
}

// TestAnUnsubscribeWaitsForTheSubscribeBeforeIt sends a subscribe and then an unsubscribe while the
// topic is not subscribed.
func TestAnUnsubscribeWaitsForTheSubscribeBeforeIt(t *testing.T) {
	w, e := serving(t, 1)
	e.tellClient(link.Client{ID: 1, Confirmed: true, User: "7"})
	w.settle()
	w.relays[0].broker.slow = true
	e.say(1, "bind 1 x of-x")
	e.say(1, "unbind 2 x")
	w.settle()
	e.saw(1)
	w.relays[0].broker.slow = false
	w.settle()
	e.saw(1, "1 done", "2 done")
	w.done(e)
	if n := len(w.relays[0].router.directory.topics); n != 0 {
		t.Errorf("%d topics are followed", n)
	}
}

// TestWhatIsParkedKeepsItsPlace has a session publish while an earlier subscribe of the session is
// parked. Then another session of the edge publishes to the same topic. Both messages must be
// published, in this order.
func TestWhatIsParkedKeepsItsPlace(t *testing.T) {
	w, e := serving(t, 1)
	e.tellClient(link.Client{ID: 1, Confirmed: true, User: "7"})
	e.tellClient(link.Client{ID: 2, Confirmed: true, User: "8"})
	w.settle()
	w.relays[0].broker.slow = true
	e.say(1, "bind 1 x")
	e.say(1, "bind 2 x")
	e.say(1, "tell 3 x first")
	e.say(2, "say 4 x second")
	w.settle()
	e.saw(1)
	e.saw(2)
	w.relays[0].broker.slow = false
	w.settle()
	e.saw(1, "1 done", "2 already", "x 7c1: first", "3 done", "x 8c2: second")
	e.saw(2, "4 done")
	w.done(e)
}

// TestASubscribeThatWasParkedForTooLongIsLate has a subscribe wait behind an unsubscribe, which
// waits for the broker's answer to a publish. When the turn of the subscribe comes, the topic has
// no follower any more and is subscribed anew.
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

// TestALateSubscribeWaitsForWhatItPermitted has a client publish while its subscribe waits. The
// subscribe becomes late while the broker's answer to the publish is on its way, or lost together
// with the link. The publish is never judged as a stranger's.
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

// TestASubscribeLetsWhatWaitedForAFollowerGo has a client publish to a topic that nobody here
// follows, while the broker is away. When another client of the edge subscribes, the message is
// granted.
func TestASubscribeLetsWhatWaitedForAFollowerGo(t *testing.T) {
	w, e := serving(t, 1)
	e.tellClient(link.Client{ID: 1, Confirmed: true, User: "7"})
	e.tellClient(link.Client{ID: 2, Confirmed: true, User: "8"})
	w.settle()
	w.relays[0].leave(false)
	w.settle()
	e.say(2, "say 1 x Hello")
	w.settle()
	e.saw(2)
	e.say(1, "bind 1 x")
	w.settle()
	e.saw(1, "1 done", "x 8c2: Hello")
	e.saw(2, "1 done")
	w.relays[0].comeBack()
	w.settle()
	w.wait(paceFor)
	e.saw(1)
	w.done(e)
}

// TestOnlyWhatPublishesCanBeGranted has an edge send a subscribe with Again set. The relay must
// treat it as one without Again.
func TestOnlyWhatPublishesCanBeGranted(t *testing.T) {
	w, e := serving(t, 1)
	e.tellClient(link.Client{ID: 1, Confirmed: true, User: "7"})
	e.number++
	m := link.Message{Number: e.number, Session: 1, Payload: []byte("bind 1 x"), Again: true}
	e.log = append(e.log, m)
	e.send(m)
	w.settle()
	e.saw(1, "1 done")
	w.done(e)
}

// TestWhatIsForgottenIsNotReleased has an unsubscribe wait for the broker's answer to a publish.
// The answer comes in the step in which the edge links anew. The edge sends the unsubscribe again.
func TestWhatIsForgottenIsNotReleased(t *testing.T) {
	w, e := serving(t, 1)
	rl := w.relays[0]
	e.client(1, "7", "x")
	e.client(2, "8", "x")
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
	w.settle()
	rl.broker.onEvent = nil
	rl.inputs = append(rl.inputs, FromBroker{answer})
	e.cut()
	e.linkTo(rl)
	w.settle()
	e.saw(1, "x 7c1: Hello", "1 done", "2 done")
	w.done(e)
}

// TestP6_WhoSubscribedWhileTheBrokerWasAwayMissesNothing has a client subscribe at a relay whose
// broker is away, and be given a message ahead. The edge loses its link before it is told a
// position. Somebody publishes, and the edge links to another relay.
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

// TestAnUnsubscribeWaitsForWhatWasPublishedBefore has a client publish and then unsubscribe. The
// broker's answer to the publish is lost, and then the link or the relay. In the replay the publish
// must be judged as a member's.
func TestAnUnsubscribeWaitsForWhatWasPublishedBefore(t *testing.T) {
	for _, dies := range []bool{false, true} {
		w, e := serving(t, 2)
		rl := w.relays[0]
		e.client(1, "7", "x")
		e.client(2, "8", "x")
		e.cut()
		e.linkTo(rl)
		w.settle()
		rl.broker.onEvent = func(ev broker.Event) bool {
			_, answer := ev.(broker.Published)
			return !answer
		}
		e.say(1, "tell 1 x Hello")
		e.say(1, "unbind 2 x")
		e.say(1, "tell 3 x later")
		w.settle()
		e.saw(1, "x 7c1: Hello")
		e.saw(2, "x 7c1: Hello")
		rl.broker.onEvent = nil
		if dies {
			w.kill(rl)
		} else {
			e.cut()
		}
		e.linkTo(w.relays[len(w.relays)-1])
		w.settle()
		e.saw(1, "1 done", "2 done", "3 not-member")
		e.saw(2)
		w.done(e)
	}
}

// TestWhatWasSaidIsFinishedBeforeLeft has a session publish without being answered, and then
// unsubscribe. In round n the link is lost at the n-th frame that the relay then sends. In the
// replay the message must not be judged as a stranger's.
func TestWhatWasSaidIsFinishedBeforeLeft(t *testing.T) {
	for cut := 1; cut < 12; cut++ {
		w, e := serving(t, 1)
		e.client(1, "7", "x")
		e.client(2, "8", "x")
		e.cut()
		e.linkTo(w.relays[0])
		w.settle()
		e.cutIn = cut
		e.say(1, "hint 1 x Hello")
		e.say(1, "unbind 2 x")
		w.settle()
		if e.link == nil {
			e.linkTo(w.relays[0])
		}
		e.cutIn = 0
		w.settle()
		e.saw(2, "x 7c1: Hello")
		for _, text := range e.received[1] {
			if text == "1 not-member" {
				t.Errorf("cut at frame %d: the replay is refused", cut)
			}
		}
		w.done(e)
	}
}

// TestAPublishIsAnsweredOnce loses a link or a relay around the answer to a publish. The client is
// told once that its message is published, and receivers get the message once.
func TestAPublishIsAnsweredOnce(t *testing.T) {
	for cut := range 12 {
		for _, dies := range []bool{false, true} {
			w, e := serving(t, 2)
			e.client(1, "7", "x")
			e.channel(2, "2")
			e.cut()
			e.linkTo(w.relays[0])
			w.settle()
			e.cutIn = cut
			e.say(1, "say 1 user:2 Hello")
			e.say(1, "tell 2 x Hello")
			w.settle()
			if e.link == nil {
				if dies {
					w.kill(w.relays[0])
				}
				e.linkTo(w.relays[0])
			}
			e.cutIn = 0
			w.settle()
			got := slices.Sorted(slices.Values(e.received[1]))
			if want := []string{"1 done", "2 done", "x 7c1: Hello"}; !slices.Equal(got, want) {
				t.Errorf("cut at %d, dies %v: got %q", cut, dies, got)
			}
			e.saw(2, "user 7 send:Hello")
			delete(e.received, 1)
			w.done(e)
		}
	}
}

// TestALeaveOfAnotherSessionAnswersWhatWasPublishedBefore has a client publish to a group, and a
// chat session of the same edge leave the group. The broker's answers are lost. The echo of the
// leave shows that the earlier message was published, so the client is answered.
func TestALeaveOfAnotherSessionAnswersWhatWasPublishedBefore(t *testing.T) {
	w, e := serving(t, 1)
	rl := w.relays[0]
	e.client(1, "7", "group:g")
	e.channel(2, "2")
	e.cut()
	e.linkTo(rl)
	w.settle()
	e.join(2, "g")
	w.settle()
	clear(e.received)
	rl.broker.onEvent = func(ev broker.Event) bool {
		_, answer := ev.(broker.Published)
		return !answer
	}
	e.say(1, "tell 1 group:g Hello")
	e.leave(2, "g")
	w.settle()
	e.saw(1, "group:g 7c1: Hello", "group:g 2: "+protocol.LeaveText("2", "g"), "1 done")
	e.saw(2, inGroup("g", "7", "Hello"), protocol.LeaveText("2", "g"))
	e.quiet()
}

// TestWhileTheBrokerIsAwayAPublishIsAnsweredWhenGranted has a relay grant and answer publishes. The
// relay then dies or, if stays is set, lives on. The messages are published when the broker is
// back, and no publish is answered again.
func TestWhileTheBrokerIsAwayAPublishIsAnsweredWhenGranted(t *testing.T) {
	for _, stays := range []bool{false, true} {
		w, e := serving(t, 2)
		here, there := w.relays[0], w.relays[1]
		e.client(1, "7", "x")
		e.channel(2, "2")
		e.cut()
		e.linkTo(here)
		w.settle()
		here.leave(false)
		there.leave(false)
		w.settle()
		e.say(1, "tell 1 x Hello")
		e.say(1, "hint 2 x quiet")
		e.say(1, "unbind 3 x")
		e.say(1, "tell 4 x refused")
		e.say(1, "bind 5 y of-y")
		e.say(1, "tell 6 y Hi")
		e.say(1, "close 3000 bye")
		w.settle()
		e.saw(1, "x 7c1: Hello", "1 done", "x 7c1: quiet", "3 done", "4 not-member", "5 done", "y 7c1: Hi", "6 done")
		if len(e.closes[1]) != 1 {
			t.Errorf("closed with %v", e.closes[1])
		}
		if !stays {
			w.kill(here)
			e.linkTo(there)
			w.settle()
		}
		if e.say(1, "ping 7"); stays { // this relay has sent Close, so it does not read the ping
			w.settle()
			e.saw(1)
		} else { // the new relay knows no earlier Close, and granted publishes hold up no unbind
			e.say(1, "unbind 8 y")
			w.settle()
			e.saw(1, "7 done", "8 done")
		}
		w.relays[0].comeBack()
		w.settle()
		w.wait(paceFor)
		e.saw(1)
		published := w.relays[0].broker.published
		if n := len(published); n < 3 {
			t.Errorf("stays %v: %d of 3 messages are published", stays, n)
		}
		w.done(e)
	}
}

// TestACloseWaitsAndEndsWhatFollows has a dialect close a session whose subscribe waits. Then the
// relay dies. The next relay must answer the subscribe, and then send the Close. Later commands of
// the session must not be answered.
func TestACloseWaitsAndEndsWhatFollows(t *testing.T) {
	w, e := serving(t, 2)
	rl := w.relays[0]
	e.tellClient(link.Client{ID: 1, Confirmed: true, User: "7"})
	w.settle()
	rl.broker.slow = true
	e.say(1, "bind 1 x")
	e.say(1, "close 3501 bad")
	e.say(1, "ping 2")
	e.say(1, "close 3502 unread")
	w.settle()
	e.saw(1)
	if len(e.closes[1]) > 0 {
		t.Errorf("closed before the subscribe is answered: %v", e.closes[1])
	}
	w.kill(rl)
	e.linkTo(w.relays[0])
	w.settle()
	e.saw(1, "1 done")
	want := []link.Close{{Session: 1, Code: 3501, Reason: "bad"}}
	if !slices.Equal(e.closes[1], want) {
		t.Errorf("closed with %v, want %v", e.closes[1], want)
	}
	e.say(1, "ping 3")
	w.settle()
	e.saw(1)
	e.end(1)
	w.done(e)
}

// TestACloseComesAgainIfItsLinkWasLost cuts the link at the Close. The edge sends the command
// again, and gets the Close on the next link.
func TestACloseComesAgainIfItsLinkWasLost(t *testing.T) {
	w, e := serving(t, 1)
	e.guest(1)
	w.settle()
	e.cutIn = 1
	e.say(1, "ping 1")
	w.settle()
	if e.link != nil || len(e.closes[1]) > 0 {
		t.Fatal("the link was not cut at the Close")
	}
	e.linkTo(w.relays[0])
	w.settle()
	if want := []link.Close{{Session: 1, Code: 3501, Reason: "not-confirmed"}}; !slices.Equal(e.closes[1], want) {
		t.Errorf("closed with %v, want %v", e.closes[1], want)
	}
	e.end(1)
	w.done(e)
}

// TestARefusedConnectIsAnsweredAndClosed has connects that exceed a bound, and one that the dialect
// refuses. In each case the client gets an answer, and then the session is closed.
func TestARefusedConnectIsAnsweredAndClosed(t *testing.T) {
	for frame, want := range map[string]string{
		"connect 1 7 0 k a b c d e f g h i":         "1 many-topics",
		"connect 1 7 0 k a=" + string(keepOf(2048)): "1 many-keeps",
		"connect 1 7 0 " + string(keepOf(2049)):     "1 many-keeps",
		"close 0 an-answer":                         "an-answer",
	} {
		w, e := serving(t, 1)
		e.guest(1)
		e.say(1, frame)
		e.say(1, "ping 2")
		w.settle()
		e.saw(1, want)
		if !slices.Equal(e.closes[1], []link.Close{{Session: 1}}) {
			t.Errorf("%.30s: closed with %v", frame, e.closes[1])
		}
		if n := len(w.relays[0].router.directory.topics); n != 0 {
			t.Errorf("%.30s: %d topics are followed", frame, n)
		}
		w.done(e)
		e.end(1)
		w.done(e)
	}
}

// TestP8_WhatAClientMayHaveIsBounded has a client subscribe until it has as many topics, or as many
// bytes of keeps, as it may have. Subscribes that wait count too. After an unsubscribe there is
// room again.
func TestP8_WhatAClientMayHaveIsBounded(t *testing.T) {
	for _, slow := range []bool{false, true} {
		w, e := serving(t, 1)
		rl := w.relays[0]
		e.tellClient(link.Client{ID: 1, Confirmed: true, User: "7", Keep: keepOf(48)})
		w.settle()
		rl.broker.slow = slow
		for i := range 9 {
			e.say(1, fmt.Sprintf("bind %d t%d %s", i, i, keepOf(225)))
		}
		w.settle()
		rl.broker.slow = false
		w.settle()
		e.saw(1, "8 many-topics", "0 done", "1 done", "2 done", "3 done", "4 done", "5 done", "6 done", "7 done")
		e.say(1, "renew 1 0 "+string(keepOf(249)))
		e.say(1, "renew 2 0 "+string(keepOf(248)))
		e.say(1, "unbind 3 t1")
		e.say(1, "bind 4 t1 "+string(keepOf(226)))
		e.say(1, "bind 5 t1 "+string(keepOf(225)))
		w.settle()
		e.saw(1, "1 many-keeps", "2 done", "3 done", "4 many-keeps", "5 done")
		w.done(e)
		e.end(1)
		w.done(e)
	}
}

// TestP8_KeepsOfAnEdgeAreBounded has clients subscribe with keeps until the edge has no room, and
// relinks the edge. The edge must be able to tell all the keeps that it was given.
func TestP8_KeepsOfAnEdgeAreBounded(t *testing.T) {
	w, e := serving(t, 1)
	rl := w.relays[0]
	full := keepOf(link.MaxKeeps)
	const room = 3
	for id := range uint64(link.MaxEdgeKeeps/link.MaxKeeps - room) {
		e.client(id+100, "7")
		c := e.clients[id+100]
		c.Keep = full
		e.clients[id+100] = c
	}
	e.cut()
	e.linkTo(rl)
	w.settle()
	rl.broker.slow = true
	for id := range uint64(room + 1) {
		e.tellClient(link.Client{ID: id + 1, Confirmed: true, User: "8"})
		e.say(id+1, "bind 1 x "+string(full))
	}
	e.guest(9)
	e.say(9, "connect 1 9 0 k")
	w.settle()
	e.saw(room+1, "1 many-memberships")
	e.saw(9, "1 many-memberships")
	rl.broker.slow = false
	w.settle()
	for id := range uint64(room) {
		e.saw(id+1, "1 done")
	}
	e.cut()
	e.linkTo(rl)
	w.done(e)
	if len(e.closed) > 0 {
		t.Errorf("the edge cannot link again: %v", e.closed)
	}
}

// TestP8_MembershipsOfClientsAreBounded has clients subscribe to topics of any name until the edge
// could hardly tell its tables.
func TestP8_MembershipsOfClientsAreBounded(t *testing.T) {
	w := newWorld(t, 0)
	rl := w.addSpeaking(Config{TellBytes: 2 << 10}, speakers()...)
	e := w.edge("a")
	e.linkTo(rl)
	e.tellClient(link.Client{ID: 1, Confirmed: true, User: "7"})
	e.tellClient(link.Client{ID: 2, Confirmed: true, User: "8"})
	w.settle()
	for i := range 8 {
		e.say(1, fmt.Sprintf("bind %d user:%d %s", i, i, keepOf(10)))
		w.settle()
	}
	if got := e.received[1]; len(got) != 8 || got[6] != "6 done" || got[7] != "7 many-memberships" {
		t.Errorf("got %q", got)
	}
	e.saw(2)
	e.cut()
	e.linkTo(rl)
	w.done(e)
}

// TestWhoIsBoundInAnOutageMissesNothingOfItsEnd binds a session to a topic while the broker is
// away, and has another session publish there when the broker is back, before the topic is
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

// TestAStrangersPublishIsRefusedAtOnce has a session publish to a topic, and then bind to it. The
// broker must not be asked who else is there, since the bind would be in effect before the broker's
// answer.
func TestAStrangersPublishIsRefusedAtOnce(t *testing.T) {
	w, e := serving(t, 1)
	e.tellClient(link.Client{ID: 1, Confirmed: true, User: "7"})
	w.settle()
	e.say(1, "tell 1 x lost")
	e.say(1, "bind 2 x")
	e.say(1, "tell 3 x kept")
	w.settle()
	if got := e.received[1]; len(got) == 0 || got[0] != "1 not-member" {
		t.Errorf("the first answer is %q", got)
	}
}
