package router

import (
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
)

// TestP11_APositionBeyondTheTop resumes after positions that this relay has not heard of. If the
// broker knows them, the client must wait until the relay has heard of them too. Otherwise the
// client must be told at once that nothing was recovered.
func TestP11_APositionBeyondTheTop(t *testing.T) {
	s := resuming(t, Config{}, 1, 2, 3)
	s.stay()
	s.publish("x", 10)
	s.rl.broker.slow = true
	s.publish("x", 5)
	s.say(1, "bind 1 x k most=1000 since=A-15")
	s.say(2, "bind 1 x k most=1000 since=A-12")
	s.say(3, "bind 1 x k most=1000 since=A-16")
	s.settle()
	s.saw(1)
	s.saw(2)
	s.saw(3, "1 done A-10")
	if n := s.rl.broker.histories; n != 1 {
		t.Errorf("history was asked %d times", n)
	}
	s.rl.broker.slow = false
	s.settle()
	s.saw(1, "1 done A-15 recovered")
	s.saw(2, missedTo("A-15", 13, 15))
	s.saw(3, "x 9: m11 at A-11", "x 9: m12 at A-12", "x 9: m13 at A-13", "x 9: m14 at A-14", "x 9: m15 at A-15")
	s.finish()
}

// TestP11_TheTopIsAskedForOnceASecond resumes again and again after a position that nobody knows.
// The broker must be asked once a second at most. When the position is there, it must be asked
// again, and the client must wait until the relay has heard of it.
func TestP11_TheTopIsAskedForOnceASecond(t *testing.T) {
	s := resuming(t, Config{})
	s.stay()
	s.publish("x", 10)
	s.resume(1, "A-11", "1 done A-10")
	s.wait(lookAge * 3 / 4)
	s.resume(2, "A-11", "1 done A-10")
	if n := s.rl.broker.histories; n != 1 {
		t.Errorf("the broker was asked %d times", n)
	}
	s.wait(lookAge / 2)
	s.rl.broker.slow = true
	s.publish("x", 1)
	s.come(3)
	s.say(3, "bind 1 x k most=1000 since=A-11")
	s.settle()
	s.saw(3)
	s.rl.broker.slow = false
	s.settle()
	s.saw(3, "1 done A-11 recovered")
	s.saw(1, "x 9: m11 at A-11")
	s.finish()
}

// TestP11_APositionOfAnEpochThatHasEnded resumes beyond what this relay has heard. The broker has
// begun another epoch meanwhile. The client must be told at once that nothing is recovered, since
// nobody knows how the earlier epoch has ended.
func TestP11_APositionOfAnEpochThatHasEnded(t *testing.T) {
	s := resuming(t, Config{})
	s.stay()
	s.publish("x", 10)
	s.restore()
	s.rl.broker.slow = true
	s.publish("x", 1)
	s.resume(1, "A-15", "1 done A-10")
	s.rl.broker.slow = false
	s.settle()
	s.saw(1, "x 9: m11 at B-1")
	s.finish()
}

// TestP11_WhatIsHeardOfLateIsAnswered resumes after a position of which this relay hears just
// before the client would be late. The client must be recovered then.
func TestP11_WhatIsHeardOfLateIsAnswered(t *testing.T) {
	s := resuming(t, Config{}, 1)
	s.stay()
	s.publish("x", 10)
	s.rl.broker.slow = true
	s.publish("x", 5)
	s.say(1, "bind 1 x k most=1000 since=A-15")
	for range int(bindWait/time.Second) - 1 {
		s.wait(time.Second)
	}
	s.saw(1)
	s.rl.broker.slow = false
	s.settle()
	s.saw(1, "1 done A-15 recovered")
	s.finish()
}

// TestP11_WhoWaitsForWhatDoesNotComeIsLate resumes after a position that the broker knows, and that
// this relay does not hear of. The client must be refused as late after bindWait, and history must
// not be asked too often.
func TestP11_WhoWaitsForWhatDoesNotComeIsLate(t *testing.T) {
	s := resuming(t, Config{}, 1, 2)
	s.stay()
	s.publish("x", 10)
	s.rl.broker.onEvent = exceptEchoes
	s.publish("x", 5)
	s.say(1, "bind 1 x k most=1000 since=A-15")
	s.settle()
	for range int(bindWait/time.Second) - 1 {
		s.wait(time.Second)
	}
	s.saw(1)
	s.wait(time.Second)
	s.saw(1, "1 late")
	if n := s.rl.broker.histories; n > 6 {
		t.Errorf("history was asked %d times", n)
	}
	s.rl.broker.onEvent = nil
	s.publish("x", 1)
	s.finish()
}

// TestP11_WhoWaitsForAPublicationLearnsOfItBySubscribed lets a client wait for publications that
// this relay misses, since it loses its subscription. The client must be answered when the topic is
// subscribed anew.
func TestP11_WhoWaitsForAPublicationLearnsOfItBySubscribed(t *testing.T) {
	s := resuming(t, Config{}, 1)
	s.stay()
	s.publish("x", 10)
	s.rl.broker.onEvent = exceptEchoes
	s.publish("x", 5)
	s.say(1, "bind 1 x k most=100 since=A-15")
	s.settle()
	s.saw(1)
	s.rl.broker.onEvent = nil
	s.rl.broker.held = append(s.rl.broker.held, broker.Deaf{Topic: "x"})
	s.rl.broker.Unsubscribe("x")
	s.rl.broker.Subscribe("x", s.rl.router.directory.topics["x"].number, false)
	s.settle()
	s.saw(1, "1 done A-15 recovered")
	delete(s.e.received, 999)
	s.finish()
}
