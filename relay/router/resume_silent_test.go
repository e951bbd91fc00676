package router

import (
	"errors"
	"fmt"
	"regexp"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/broker/brokertest"
	"github.com/edgerelay/edgerelay/shared/link"
)

// TestP11_ASilentTopicHasAnEpoch subscribes 300 clients to a topic without publications. All must
// be told one epoch, and the broker is asked once: if nobody follows the topic, as it is
// subscribed, and otherwise on its own. A client that leaves before the first publication, and
// comes back after it, must get that publication.
func TestP11_ASilentTopicHasAnEpoch(t *testing.T) {
	for _, followed := range []bool{false, true} {
		t.Run(fmt.Sprint("followed ", followed), func(t *testing.T) { aSilentTopicHasAnEpoch(t, followed) })
	}
}

func aSilentTopicHasAnEpoch(t *testing.T, followed bool) {
	s := resuming(t, Config{})
	once := func() {
		t.Helper()
		wishes, begins := 1, 0
		if followed {
			wishes, begins = 0, 1
		}
		if f := s.rl.broker; f.wishes != wishes || f.begins != begins {
			t.Errorf("asked %d times to begin, and %d times in a Subscribe", f.begins, f.wishes)
		}
	}
	if followed {
		s.hush("x", 999)
	}
	for id := uint64(1); id <= 300; id++ {
		s.e.tellClient(link.Client{ID: id, Confirmed: true, User: fmt.Sprint("u", id)})
	}
	for id := uint64(1); id <= 300; id++ {
		s.say(id, "bind 1 x k most=10")
	}
	s.settle()
	for id := uint64(1); id <= 300; id++ {
		s.saw(id, "1 done A-0")
	}
	once()
	s.resume(400, "A-0", "1 done A-0 recovered")
	s.end(1)
	s.publish("x", 2)
	s.saw(2, "x 9: m1 at A-1", "x 9: m2 at A-2")
	s.resume(401, "A-0", "1 done A-2 recovered 1:m1 2:m2")
	once()
	s.finish()
}

// end ends a client's session.
func (s *resumes) end(id uint64) {
	s.e.end(id)
	s.settle()
}

// TestP11_WhatWasBegunIsTold subscribes to a topic whose epoch another relay has begun. The client
// must be told that epoch. Then a client subscribes to another topic, which is followed already,
// and a publication comes before the answer to Begin. The client's place must be at that
// publication.
func TestP11_WhatWasBegunIsTold(t *testing.T) {
	s := resuming(t, Config{}, 1, 2, 3)
	s.other.Begin("x", 1)
	began := s.other.Take()[0].(broker.Began).Top
	s.letter(fmt.Sprint(began.Epoch))
	s.say(1, "bind 1 x k most=10 since=A-0")
	s.settle()
	s.saw(1, "1 done A-0 recovered")
	if n := s.rl.broker.begins; n != 0 {
		t.Errorf("asked %d times to begin", n)
	}
	var answer broker.Event
	s.rl.broker.onEvent = func(ev broker.Event) bool {
		if _, ok := ev.(broker.Began); ok {
			answer = ev
			return false
		}
		return true
	}
	s.hush("y", 999)
	s.say(2, "bind 1 y k most=10")
	s.settle()
	s.saw(2)
	s.publish("y", 1) // it is the first of the epoch that was begun
	s.rl.broker.onEvent = nil
	s.rl.inputs = append(s.rl.inputs, FromBroker{answer})
	s.settle()
	s.saw(2, "1 done B-1")
	s.say(3, "bind 1 y k most=10 since=B-0")
	s.settle()
	s.saw(3, "1 done B-1 recovered 1:m1")
	s.finish()
}

// TestP11_WhoseRuleShowsNoHistoryIsNotPlaced subscribes with Most 0. The client must be told no
// place, and nothing may be begun for it. With another Most, a client that missed more than that
// must not be recovered.
func TestP11_WhoseRuleShowsNoHistoryIsNotPlaced(t *testing.T) {
	s := resuming(t, Config{}, 1, 2, 3, 4)
	s.say(1, "bind 1 x k")
	s.settle()
	s.saw(1, "1 done")
	s.publish("x", 10)
	s.saw(1, "x 9: m1 at A-1", "x 9: m2 at A-2", "x 9: m3 at A-3", "x 9: m4 at A-4", "x 9: m5 at A-5",
		"x 9: m6 at A-6", "x 9: m7 at A-7", "x 9: m8 at A-8", "x 9: m9 at A-9", "x 9: m10 at A-10")
	s.say(2, "bind 1 x k since=A-11")
	s.say(3, "bind 1 x k most=6 since=A-3")
	s.say(4, "bind 1 x k most=7 since=A-3")
	s.settle()
	s.saw(2, "1 done")
	s.saw(3, "1 done A-10")
	s.saw(4, missedTo("A-10", 4, 10))
	if s.rl.broker.begins+s.rl.broker.wishes+s.rl.broker.histories > 0 {
		t.Error("the broker was asked")
	}
	s.finish()
}

// unbegun returns the event that comes in place of ev if the broker fails to begin an epoch.
func unbegun(ev broker.Event) broker.Event {
	switch ev := ev.(type) {
	case broker.Began:
		return broker.Began{Token: ev.Token, Topic: ev.Topic, Err: errors.New("it fails")}
	case broker.Subscribed:
		return broker.Subscribed{Topic: ev.Topic, Token: ev.Token, Top: ev.Top, Genuine: ev.Genuine && !ev.Top.IsZero()}
	}
	return ev
}

// TestP11_BeginningIsTriedAgain makes the broker fail to begin an epoch: as it subscribes, and when
// it is asked again. If the last try succeeds, the clients must be told the epoch. If it fails too,
// the client must be told that its place is not known.
func TestP11_BeginningIsTriedAgain(t *testing.T) {
	s := resuming(t, Config{}, 1, 2, 3)
	fails := beginsMost - 1
	s.change(func(ev broker.Event) broker.Event {
		switch ev.(type) {
		case broker.Began:
			if fails == 0 {
				return ev
			}
			fails--
		}
		return unbegun(ev)
	})
	s.say(1, "bind 1 x k most=10")
	s.say(2, "bind 1 x k most=10")
	s.settle()
	for range beginsMost - 1 {
		s.saw(1)
		if n := s.rl.broker.begins; n != beginsMost-fails-1 {
			t.Errorf("asked %d times, %d failures are left", n, fails)
		}
		s.wait(askAgainAfter)
	}
	s.saw(1, "1 done A-0")
	s.saw(2, "1 done A-0")
	fails = 1000
	s.say(3, "bind 1 y k most=10")
	s.settle()
	for range beginsMost {
		s.saw(3)
		s.wait(askAgainAfter)
	}
	s.saw(3, "1 done 0-0")
	s.finish()
}

// TestP11_WhoseEpochIsUnknownIsNotLookedFor resumes on a silent topic whose epoch cannot be begun.
// The client must be told that its place is not known, and history must not be asked.
func TestP11_WhoseEpochIsUnknownIsNotLookedFor(t *testing.T) {
	s := resuming(t, Config{}, 1)
	s.publish("other", 1)
	s.change(func(ev broker.Event) broker.Event {
		switch ev := ev.(type) {
		case broker.Subscribed:
			ev.Begun = 0
			return ev
		case broker.Began:
			return broker.Began{Token: ev.Token, Topic: ev.Topic, Err: errors.New("it fails")}
		}
		return ev
	})
	s.say(1, "bind 1 x k most=10 since=A-5")
	s.settle()
	for range beginsMost {
		s.wait(askAgainAfter)
	}
	s.saw(1, "1 done 0-0")
	if n := s.rl.broker.histories; n > 0 {
		t.Errorf("history was asked %d times", n)
	}
	s.rl.broker.onEvent = nil
	s.wait(comebackAge) // then the broker is asked again
	s.come(2)
	s.say(2, "bind 1 x k most=10")
	s.settle()
	s.saw(2, "1 done B-0")
	s.finish()
}

// TestP11_APublicationMayBeTheAnswerToBegin subscribes to a topic whose first publication is made
// before its epoch is asked for. The client's place is at that publication, as soon as this relay
// has heard of it.
func TestP11_APublicationMayBeTheAnswerToBegin(t *testing.T) {
	for _, heard := range []bool{false, true} {
		s := resuming(t, Config{}, 1, 2)
		s.say(1, "bind 1 x k")
		s.settle()
		s.saw(1, "1 done")
		var answer broker.Event
		s.rl.broker.onEvent = func(ev broker.Event) bool {
			if _, ok := ev.(broker.Began); ok && answer == nil {
				answer = ev
				return false
			}
			return true
		}
		s.rl.broker.slow = true
		s.publish("x", 1)
		s.say(2, "bind 1 x k most=10")
		s.settle()
		s.rl.broker.slow = !heard
		s.settle()
		s.rl.inputs = append(s.rl.inputs, FromBroker{answer})
		s.settle()
		if !heard {
			for range beginsMost + 1 {
				s.wait(askAgainAfter)
			}
			s.saw(2)
			s.rl.broker.slow = false
			s.wait(askAgainAfter)
		}
		s.saw(2, "1 done A-1")
		s.saw(1, "x 9: m1 at A-1")
		s.finish()
	}
}

// TestP11_ABegunEpochMustBeGenuine begins an epoch at a broker whose servers do not tell who they
// are. The client is told the epoch, and nothing may be recovered in it.
func TestP11_ABegunEpochMustBeGenuine(t *testing.T) {
	s := resuming(t, Config{})
	s.change(func(ev broker.Event) broker.Event {
		switch ev := ev.(type) {
		case broker.Subscribed:
			ev.Genuine, ev.Begun = false, 0
			return ev
		case broker.Began:
			ev.Genuine = false
			return ev
		case broker.History:
			ev.Genuine = false
			return ev
		}
		return ev
	})
	s.come(1)
	s.say(1, "bind 1 x k most=10")
	s.settle()
	s.saw(1, "1 done A-0")
	s.resume(2, "A-0", "1 done A-0")
	s.rl.broker.onEvent = nil
	s.finish()
}

// TestP11_WhatIsToldLastOfABegunEpochCounts subscribes anew while the answer to Begin is under way.
// Subscribed says that the epoch is genuine, and then that answer says that it is not. From then on
// nothing may be recovered.
func TestP11_WhatIsToldLastOfABegunEpochCounts(t *testing.T) {
	s := resuming(t, Config{}, 1)
	s.hush("x", 999)
	var began broker.Began
	s.rl.broker.onEvent = func(ev broker.Event) bool {
		b, ok := ev.(broker.Began)
		if ok {
			began = b
		}
		return !ok
	}
	s.say(1, "bind 1 x k most=10")
	s.settle()
	s.saw(1)
	s.letter(fmt.Sprint(began.Top.Epoch))
	s.change(func(ev broker.Event) broker.Event {
		switch ev := ev.(type) {
		case broker.Subscribed:
			ev.Begun, ev.Genuine = began.Top.Epoch, true
			return ev
		case broker.History:
			ev.Genuine = false
			return ev
		}
		return ev
	})
	s.rl.broker.held = append(s.rl.broker.held, broker.Deaf{Topic: "x"})
	s.rl.broker.Unsubscribe("x")
	s.rl.broker.Subscribe("x", s.rl.router.directory.topics["x"].number, false)
	s.settle()
	s.saw(1, "1 done A-0")
	s.resume(2, "A-0", "1 done A-0 recovered")
	began.Genuine = false
	s.rl.inputs = append(s.rl.inputs, FromBroker{began})
	s.settle()
	s.resume(3, "A-0", "1 done A-0")
	s.rl.broker.onEvent = nil
	s.finish()
}

// TestP11_FailuresToBeginAreCountedInARow makes Begin fail twice, for one epoch and then for the
// next one. The clients must be told both epochs.
func TestP11_FailuresToBeginAreCountedInARow(t *testing.T) {
	s := resuming(t, Config{}, 1, 2)
	fails := 0
	s.change(func(ev broker.Event) broker.Event {
		switch ev := ev.(type) {
		case broker.Subscribed:
			ev.Begun = 0
			return ev
		case broker.Began:
			if fails--; fails >= 0 {
				return broker.Began{Token: ev.Token, Topic: ev.Topic, Err: errors.New("it fails")}
			}
		}
		return ev
	})
	for i, want := range []string{"1 done A-0", "1 done B-0"} {
		fails = beginsMost - 1
		s.say(uint64(1+i), "bind 1 x k most=10")
		s.settle()
		for range beginsMost - 1 {
			s.wait(askAgainAfter)
		}
		s.saw(uint64(1+i), want)
		s.store.Load(brokertest.Saved{})
		s.relisten()
	}
	s.finish()
}

// TestP11_WhatWasBegunMayBeLost empties Redis after an epoch was begun. What the relay has told
// stays right: a client that names the lost epoch has recovered only if nothing was published
// since.
func TestP11_WhatWasBegunMayBeLost(t *testing.T) {
	for _, deaf := range []bool{false, true} {
		s := resuming(t, Config{}, 1)
		s.say(1, "bind 1 x k most=10")
		s.settle()
		s.saw(1, "1 done A-0")
		s.store.Load(brokertest.Saved{})
		next := "A"
		if deaf {
			s.relisten()
			s.resume(2, "A-0", "1 done B-0")
			s.resume(3, "B-0", "1 done B-0 recovered")
			next = "B"
		} else {
			s.resume(2, "A-0", "1 done A-0 recovered")
		}
		s.publish("x", 1)
		if !deaf {
			next = "B"
		}
		s.saw(1, "x 9: m1 at "+next+"-1")
		s.resume(4, "A-0", "1 done "+next+"-1")
		s.resume(5, next+"-0", "1 done "+next+"-1 recovered 1:m1")
		s.finish()
	}
}

// In TestP11_StrictIsRefused, clients ask to be refused rather than to lose anything. A client that
// might lose something must be refused, and must not become a member.
func TestP11_StrictIsRefused(t *testing.T) {
	s := resuming(t, Config{}, 1, 2, 3, 4)
	s.publish("x", 10)
	s.say(1, "bind 1 x k most=100 strict since=A-11")
	s.settle()
	s.saw(1, "1 unrecoverable")
	if n := len(s.rl.router.directory.topics); n != 0 {
		t.Errorf("%d topics are followed", n)
	}
	s.stay()
	s.say(1, "bind 2 x k most=3 strict since=A-5")
	s.say(1, "tell 3 x refused")
	s.say(2, "bind 1 x k most=100 strict since=A-5")
	s.say(3, "bind 1 x k most=100 strict")
	s.say(4, "bind 1 x k strict since=A-5")
	s.settle()
	s.saw(1, "2 unrecoverable", "3 not-member")
	s.saw(2, missedTo("A-10", 6, 10))
	s.saw(3, "1 unrecoverable")
	s.saw(4, "1 unrecoverable")
	s.e.saw(999)
	s.finish()
}

// TestP11_AConnectResumesAllItsTopics connects clients with several topics. One of these needs
// pages of history, two are silent, and of one the client sees no history.
func TestP11_AConnectResumesAllItsTopics(t *testing.T) {
	s := resuming(t, Config{})
	s.stay()
	s.publish("x", 200)
	s.publish("y", 3)
	s.publish("z", 100)
	for id := uint64(1); id <= 3; id++ {
		s.e.guest(id)
		s.say(id, "connect 1 7 0 keep x=1;most=1000;since=A-190 y;since=B-1 z;most=1000;since=C-95 w;most=5 z2;most=5;since=C-1")
	}
	s.settle()
	x := missedTo("A-200", 191, 200)
	z := missedTo("C-100", 96, 100)[len("1 done"):]
	for id := uint64(1); id <= 3; id++ {
		s.saw(id, x+";;"+z+"; D-0; E-0")
	}
	if n := s.rl.broker.histories; n != 1 { // the page of z after offset 36
		t.Errorf("%d pages were read", n)
	}
	s.publish("w", 1)
	s.publish("z", 1)
	s.publish("y", 1)
	s.saw(1, "w 9: m1 at D-1", "z 9: m101 at C-101", "y 9: m4 at B-4")
	s.finish()
}

// TestP11_AnAnswerHasAMebibyteAtMost connects a client that missed more than a mebibyte in three
// topics together. Two of them must be recovered, and the third one must not.
func TestP11_AnAnswerHasAMebibyteAtMost(t *testing.T) {
	s := resuming(t, Config{}, 1)
	long := func(name, text string) {
		for range 100 {
			s.publishText("x", text)
			s.publishText("y", text)
			s.publishText("z", text)
		}
	}
	text := make([]byte, 5000)
	for i := range text {
		text[i] = 'm'
	}
	long("x", string(text))
	s.settle()
	s.e.guest(2)
	s.say(2, "connect 1 7 0 keep x;most=1000;since=A-0 y;most=1000;since=B-0 z;most=1000;since=C-0 z2;most=5")
	s.settle()
	got := s.e.received[2]
	if len(got) != 1 || len(got[0]) > maxMissed || len(got[0]) < 1_000_000 {
		t.Fatalf("answers: %d", len(got))
	}
	want := s.numbered("; C-100; ")
	if i := len(got[0]) - len(want) - 18; got[0][i:i+len(want)] != want {
		t.Errorf("the answer ends with %q", got[0][len(got[0])-60:])
	}
	delete(s.e.received, 2)
	s.finish()
}

// TestP11_AConnectDoesNotWaitForEver connects a client whose topic the broker does not begin, and
// one whose position this relay does not hear of. Both must be confirmed within placeWait. The
// first client must be told that its place in that topic is not known, and the second one that
// nothing is recovered.
func TestP11_AConnectDoesNotWaitForEver(t *testing.T) {
	s := resuming(t, Config{})
	s.stay()
	s.publish("x", 10)
	s.change(func(ev broker.Event) broker.Event {
		if _, ok := ev.(broker.Received); ok {
			return broker.Counted{}
		}
		return unbegun(ev)
	})
	s.publish("x", 5)
	s.e.guest(1)
	s.e.guest(2)
	s.say(1, "connect 1 7 0 keep x;most=10;since=A-10 silent;most=10")
	s.say(2, "connect 1 7 0 keep x;most=10;since=A-15")
	s.settle()
	for range beginsMost {
		s.saw(1)
		s.wait(askAgainAfter)
	}
	s.saw(1, "1 done A-10 recovered; 0-0")
	for range placeWait/time.Second - 1 {
		s.saw(2)
		s.wait(time.Second)
	}
	s.wait(time.Second)
	s.saw(2, "1 done A-10")
	s.rl.broker.onEvent = nil
	s.finish()
}

// TestP11_AConnectBeginsItsTopics connects clients of SDKs, and one of the chat. Nobody has
// published to their topics. Each topic of a client of an SDK must have an epoch, its user's own
// among them, and no request but the Subscribe may be needed. A topic whose history the client is
// not shown must have none, and neither must those of the chat.
func TestP11_AConnectBeginsItsTopics(t *testing.T) {
	s := resuming(t, Config{})
	s.e.guest(1)
	s.say(1, "connect 1 ann 0 keep user:ann;most=5 x;most=5 y")
	s.settle()
	s.saw(1, "1 done A-0; B-0;")
	if f := s.rl.broker; f.wishes != 2 || f.begins != 0 {
		t.Errorf("asked %d times to begin, and %d times in a Subscribe", f.begins, f.wishes)
	}
	s.e.channel(2, "bob")
	s.settle()
	if f := s.rl.broker; f.wishes != 2 || f.begins != 0 {
		t.Errorf("then asked %d times to begin, and %d times in a Subscribe", f.begins, f.wishes)
	}
	s.end(1)
	s.publish("user:ann", 1)
	s.e.guest(3)
	s.say(3, "connect 1 ann 0 keep user:ann;most=5;since=A-0")
	s.settle()
	s.saw(3, "1 done A-1 recovered 1:m1")
	s.finish()
}

// TestP7_WhoBeginsManyEpochsIsToldNone lets a user connect with more silent topics than the user
// may address. The epochs of the first ones must be begun, and the others must have none. Other
// users must not be touched by that.
func TestP7_WhoBeginsManyEpochsIsToldNone(t *testing.T) {
	s := resuming(t, Config{MaxAddressed: 2})
	for id, user := range map[uint64]string{1: "ann", 2: "bob"} {
		s.e.guest(id)
		s.say(id, "connect 1 "+user+" 0 keep user:"+user+";most=5 x"+user+";most=5 y"+user+";most=5")
		s.settle()
	}
	for id := uint64(1); id <= 2; id++ {
		got := aPlace.FindAllString(fmt.Sprint(s.e.received[id]), -1)
		if len(got) != 3 || got[0] == "0-0" || got[1] == "0-0" || got[2] != "0-0" {
			t.Errorf("client %d is told the places %q", id, got)
		}
		delete(s.e.received, id)
	}
	if f := s.rl.broker; f.wishes != 4 || f.begins != 0 {
		t.Errorf("asked %d times to begin, and %d times in a Subscribe", f.begins, f.wishes)
	}
	s.finish()
}

var aPlace = regexp.MustCompile(`\b\d+-0\b`)
