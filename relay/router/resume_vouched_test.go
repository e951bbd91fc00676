package router

import (
	"testing"

	"github.com/edgerelay/edgerelay/relay/broker"
)

// TestP11_OnlyAGenuineTopVouches subscribes to a topic whose top is not known to be genuine. The
// broker's next answer says that its top is, and tells another top. The client may be recovered
// only if that top is not before the one that this relay knows.
func TestP11_OnlyAGenuineTopVouches(t *testing.T) {
	for top, want := range map[uint64]string{90: "1 done A-100", 100: "1 done A-100 recovered", 105: "1 done A-100 recovered"} {
		s := resuming(t, Config{})
		s.publish("x", 100)
		s.change(func(ev broker.Event) broker.Event {
			switch ev := ev.(type) {
			case broker.Subscribed:
				ev.Genuine = false
				return ev
			case broker.History:
				ev.Top.Offset, ev.Genuine = top, true
				return ev
			}
			return ev
		})
		s.resume(1, "A-100", want)
		s.rl.broker.onEvent = nil
		s.finish()
	}
}

// TestP11_APublicationOfTheSameEpochVouchesForNothing publishes to a topic whose top is not known
// to be genuine. Nothing may be recovered, since publications before that top may be lost.
func TestP11_APublicationOfTheSameEpochVouchesForNothing(t *testing.T) {
	s := resuming(t, Config{})
	s.publish("x", 10)
	s.change(func(ev broker.Event) broker.Event {
		switch ev := ev.(type) {
		case broker.Subscribed:
			ev.Genuine = false
			return ev
		case broker.History:
			ev.Genuine = false
			return ev
		}
		return ev
	})
	s.stay()
	s.publish("x", 5)
	s.resume(1, "A-15", "1 done A-15")
	s.resume(2, "A-12", "1 done A-15")
	s.rl.broker.onEvent = nil
	s.finish()
}

// TestP11_ATopThatAnEdgeHasPassedIsNotGenuine links an edge to a relay whose broker says that its
// top is genuine, and that tells a top before the edge's position. Nothing may be recovered.
func TestP11_ATopThatAnEdgeHasPassedIsNotGenuine(t *testing.T) {
	s := resuming(t, Config{}, 1)
	s.stay()
	s.publish("x", 15)
	s.rl = s.addSpeaking(Config{}, showing()...)
	s.change(func(ev broker.Event) broker.Event {
		switch ev := ev.(type) {
		case broker.Subscribed:
			ev.Top.Offset, ev.Genuine = 10, true
			return ev
		case broker.History:
			ev.Genuine = false
			return ev
		}
		return ev
	})
	s.e.linkTo(s.rl)
	s.settle()
	s.say(1, "bind 1 x k most=100 since=A-15")
	s.settle()
	s.saw(1, "1 done A-15")
	s.rl.broker.onEvent = nil
	s.finish()
}
