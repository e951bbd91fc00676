package router

import (
	"testing"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/link"
)

// In TestAnUnsubscribeWaitsForTheSubscribeBeforeIt, a client sends a subscribe and then an
// unsubscribe, while the broker has not confirmed the topic's subscription. Both must be answered
// with success, in this order. In the end the relay must follow no topic.
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

// In TestAnUnsubscribeWaitsForWhatWasPublishedBefore, a client publishes and then unsubscribes. The
// broker's answer to the publish is lost. Then the link or the relay is lost. In the replay the
// publish must be judged as a member's. The one behind the unsubscribe is a replay, too, so it is
// not refused for good.
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
		e.saw(1, "1 done", "2 done", "3 unsure")
		e.saw(2)
		w.done(e)
	}
}

// In TestWhatWasSaidIsFinishedBeforeLeft, a session publishes without being answered, and then
// unsubscribes. In round n the link is lost at the n-th frame that the relay then sends. In the
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
