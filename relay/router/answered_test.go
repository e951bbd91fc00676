package router

import (
	"fmt"
	"slices"
	"testing"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/chat"
	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// In TestOnlyWhatPublishesCanBeGranted, an edge sends a subscribe with Again set, as if an earlier
// relay had granted it. No relay grants a subscribe. So the relay must bind the session and answer,
// as it does for a subscribe whose Again is not set.
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

// TestAPublishIsAnsweredOnce cuts the link while two publishes of a client are answered. Each run
// cuts the link at another frame. In some runs the relay dies too. The client must be told once for
// each publish that its message is published, and receivers must get each message once.
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

// In TestALeaveOfAnotherSessionAnswersWhatWasPublishedBefore, a client publishes to a group, and a
// chat session of the same edge leaves the group. The broker's answers are lost. The echo of the
// leave shows that the earlier message was published, so the client must be answered.
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

// In TestWhileTheBrokerIsAwayAPublishIsAnsweredWhenGranted, a relay grants and answers publishes
// while the broker is away. In one case the relay then dies, and the edge links to another relay.
// In the other case the relay lives on. The messages must be published when the broker is back, and
// no publish may be answered again.
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
		if e.say(1, "ping 7"); stays { // this relay has sent Close, so it does not parse the ping
			w.settle()
			e.saw(1)
		} else { // the unbind need not wait for granted publishes
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

// In TestP5_APublishThatCannotBeGivenAheadIsAnswered, a client publishes three messages to a topic
// that has no follower at its relay. The first publish is under way when the broker goes away. The
// others come while the broker is away. All publishes must be answered before the broker is back.
// When the broker is back, the messages must be published, once and in order. In some runs the edge
// has then moved to another relay. No publish may be answered again.
func TestP5_APublishThatCannotBeGivenAheadIsAnswered(t *testing.T) {
	for _, moves := range []string{"", "meanwhile", "later"} {
		w, e := serving(t, 2)
		here, there := w.relays[0], w.relays[1]
		e.client(1, "7", "x")
		e.cut()
		e.linkTo(here)
		b := w.edge("b")
		b.linkTo(there)
		b.client(2, "8", "y")
		b.cut()
		b.linkTo(there)
		w.settle()
		here.broker.away = true // the relay has not been told yet
		e.say(1, "say 1 y one")
		w.settle()
		e.saw(1)
		here.broker.away = false
		here.leave(false)
		there.leave(false)
		w.settle()
		e.saw(1, "1 done")
		e.say(1, "say 2 y two")
		e.say(1, "say 3 y three")
		w.settle()
		e.saw(1, "2 done", "3 done")
		b.saw(2)
		if moves == "meanwhile" {
			w.kill(here)
			e.linkTo(there)
			w.settle()
		}
		if there.comeBack(); moves == "later" {
			w.kill(here)
			e.linkTo(there)
		} else {
			here.comeBack()
		}
		w.settle()
		w.wait(paceFor)
		e.saw(1)
		b.saw(2, "y 7c1: one", "y 7c1: two", "y 7c1: three")
		w.done(e, b)
	}
}

// In TestP5_APublishBehindAGapIsAnswered, a client publishes to a topic of which it is a member,
// while the broker is away. An echo of that topic may be missing, so nothing can be given ahead.
// The publish must be answered all the same, and an unsubscribe behind it need not wait.
func TestP5_APublishBehindAGapIsAnswered(t *testing.T) {
	w, e := serving(t, 1)
	e.client(1, "7", "x")
	e.client(2, "8", "x")
	e.cut()
	e.linkTo(w.relays[0])
	w.settle()
	w.relays[0].router.recently(w.relays[0].router.directory.topics["x"]).unheard.blurred = true
	w.relays[0].leave(false)
	w.settle()
	e.say(1, "tell 1 x Hello")
	e.say(1, "unbind 2 x")
	w.settle()
	e.saw(1, "1 done", "2 done")
	e.saw(2)
	w.relays[0].comeBack()
	w.settle()
	w.wait(paceFor)
	e.saw(1)
	e.saw(2, "x 7c1: Hello")
	w.done(e)
}

// In TestAStrangersPublishIsRefusedAtOnce, a session publishes to a topic of which it is no member,
// and then binds to the topic. The publish must be answered with a refusal before the bind is
// answered. So the relay must not ask the broker whether the topic has other members: the bind
// would take effect before the broker answers.
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

// TestP15_ARefusedPublishIsNotAnsweredAsPublished loses the answers of a relay that refuses a
// publish. A later publish of the edge to the same topic moves the mark past the refused publish.
// The next relay does not refuse the replay, but the broker takes the replay for a duplicate. The
// client must be told that nobody knows whether its message was published. In some runs the broker
// is away when the edge links to the next relay, or when that relay looks for the publish.
func TestP15_ARefusedPublishIsNotAnsweredAsPublished(t *testing.T) {
	for _, away := range []string{"", "at the look-up", "at the link"} {
		w := newWorld(t, 0)
		here := w.addSpeaking(Config{MaxAddressed: 1}, speakers()...)
		there := w.addSpeaking(Config{}, speakers()...)
		e := w.edge("a")
		e.linkTo(here)
		e.tellClient(link.Client{ID: 1, Confirmed: true, User: "7"})
		e.tellClient(link.Client{ID: 2, Confirmed: true, User: "8"})
		w.settle()
		e.deaf = true
		e.say(1, "say 1 x kept")
		e.say(1, "say 2 y refused")
		for i := range 100 { // more than a page of history
			e.say(2, fmt.Sprint("say ", i, " y kept", i))
		}
		w.settle()
		if w.kill(here); away == "at the link" {
			there.leave(false)
			w.settle()
		}
		if e.linkTo(there); away == "at the look-up" {
			there.broker.onEvent = func(ev broker.Event) bool {
				if _, page := ev.(broker.History); page {
					there.leave(false)
					there.broker.onEvent = nil
					there.broker.held = append(there.broker.held, broker.History{Token: ev.(broker.History).Token, Err: errAway})
					return false
				}
				return true
			}
		}
		w.settle()
		if away != "" {
			if slices.Contains(e.received[1], "2 unsure") {
				t.Errorf("in the outage the client is told %q", e.received[1])
			}
			there.comeBack()
			w.wait(paceFor)
			w.wait(retryMost)
			w.wait(retryMost)
		}
		got := slices.Sorted(slices.Values(e.received[1]))
		if want := []string{"1 done", "2 unsure"}; !slices.Equal(got, want) {
			t.Errorf("away %q: got %q, want %q", away, got, want)
		}
		for i := range 100 {
			if !slices.Contains(e.received[2], fmt.Sprint(i, " done")) {
				t.Errorf("away %q: publish %d is not answered", away, i)
			}
		}
		w.done(e)
	}
}

// TestP15_AReplayThatMayBePublishedIsNotRefusedForGood loses the answers to two publishes. One of
// them is a member's, since its client subscribes before it. The next relay refuses the subscribe,
// or its rules refuse the other publish. Both publishes are published, so neither may be told that
// it is not permitted. The same commands are refused when they come for the first time.
func TestP15_AReplayThatMayBePublishedIsNotRefusedForGood(t *testing.T) {
	w := newWorld(t, 0)
	here := w.addSpeaking(Config{}, speakers()...)
	there := w.addSpeaking(Config{}, chat.Dialect{}, lines{most: 1, forbids: true})
	e := w.edge("a")
	e.linkTo(here)
	for id := uint64(1); id <= 2; id++ {
		e.tellClient(link.Client{ID: id, Confirmed: true, User: fmt.Sprint("u", id)})
		e.say(id, "bind 1 y")
	}
	w.settle()
	e.saw(1, "1 done")
	e.saw(2, "1 done")
	e.deaf = true
	e.say(1, "bind 2 x")
	e.say(1, "tell 3 x Hello")
	e.say(1, "say 4 z Hello")
	w.settle()
	if n := len(here.broker.published); n != 2 {
		t.Fatalf("%d messages are published", n)
	}
	w.kill(here)
	e.linkTo(there)
	w.settle()
	e.say(2, "tell 3 x Hello")
	e.say(2, "say 4 z Hello")
	w.settle()
	for id, want := range map[uint64][]string{
		1: {"2 many-topics", "3 unsure", "4 unsure"},
		2: {"3 not-member", "4 forbidden"},
	} {
		if got := slices.Sorted(slices.Values(e.received[id])); !slices.Equal(got, want) {
			t.Errorf("client %d: got %q, want %q", id, got, want)
		}
		delete(e.received, id)
	}
	w.done(e)
}
