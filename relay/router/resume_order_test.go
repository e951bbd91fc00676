package router

import (
	"fmt"
	"strings"
	"testing"

	"github.com/edgerelay/edgerelay/relay/broker"
)

// TestP11_OrderBehindAResumeThatWaits sends commands behind a subscribe that waits for a page of
// history. A publish must be carried out at once, since the session counts as a member. Its message
// must be in the answer to the resume, and must not come a second time.
func TestP11_OrderBehindAResumeThatWaits(t *testing.T) {
	s := resuming(t, Config{}, 1)
	s.stay()
	s.publish("x", 100)
	page := s.hold()
	s.say(1, "bind 1 x k most=1000 since=A-20")
	s.say(1, "tell 2 x mine")
	s.say(1, "bind 3 x k most=1000 since=A-20")
	s.settle()
	s.saw(1, "2 done")
	s.publish("x", 1)
	page()
	s.settle()
	s.saw(1, missedTo("A-102", 21, 100)+" 101:mine 102:m101", "3 already")
	s.say(1, "tell 4 x more")
	s.settle()
	s.saw(1, "x u1c1: more at A-103", "4 done")
	delete(s.e.received, 999)
	s.finish()
}

// TestP11_AnUnsubscribeBehindAResumeThatWaits sends an unsubscribe, and then a second resume,
// behind a resume that waits. Each must be answered in its turn.
func TestP11_AnUnsubscribeBehindAResumeThatWaits(t *testing.T) {
	for _, late := range []bool{false, true} {
		s := resuming(t, Config{}, 1)
		s.stay()
		s.publish("x", 100)
		page := s.hold()
		s.say(1, "bind 1 x k most=1000 since=A-20")
		s.say(1, "unbind 2 x")
		s.say(1, "bind 3 x k most=1000 since=A-90")
		s.say(1, "unbind 4 x")
		s.say(1, "bind 5 x k most=1000 since=A-10")
		s.settle()
		s.saw(1)
		if late {
			s.wait(bindWait)
			s.saw(1, "1 late", "2 not-member", strings.Replace(missedTo("A-100", 91, 100), "1 ", "3 ", 1), "4 done", "5 late")
			page()
			s.settle()
			s.saw(1)
			s.finish()
			continue
		}
		page()
		s.settle()
		s.saw(1, missedTo("A-100", 21, 100), "2 done", strings.Replace(missedTo("A-100", 91, 100), "1 ", "3 ", 1),
			"4 done", strings.Replace(missedTo("A-100", 11, 100), "1 ", "5 ", 1))
		s.publish("x", 1)
		s.saw(1, "x 9: m101 at A-101")
		s.finish()
	}
}

// TestP11_NothingIsLostBetweenTheAnswerAndThePushes publishes at each moment of a resume: whenever
// the broker brings an event that is no publication, another relay publishes one more message. The
// answer and the pushes that follow must have everything once.
func TestP11_NothingIsLostBetweenTheAnswerAndThePushes(t *testing.T) {
	for _, since := range []string{"A-5", "A-100", "A-180", "A-200"} {
		for _, stays := range []bool{false, true} {
			s := resuming(t, Config{}, 1)
			if stays {
				s.stay()
			}
			s.publish("x", 200)
			left := 8
			s.rl.broker.onEvent = func(ev broker.Event) bool {
				if _, heard := ev.(broker.Received); !heard && left > 0 {
					left--
					s.next("x")
				}
				return true
			}
			s.say(1, "bind 1 x k most=1000 since="+since)
			s.settle()
			s.publish("x", 3)
			for i, text := range s.e.received[1] {
				s.e.received[1][i] = anEpoch.ReplaceAllStringFunc(text, s.letter)
			}
			got := s.e.received[1]
			delete(s.e.received, 1)
			var at, from, top int
			fmt.Sscanf(since, "A-%d", &from)
			fmt.Sscanf(got[0], "1 done A-%d", &at)
			top = s.said["x"]
			if want := missedTo(fmt.Sprint("A-", at), from+1, at); got[0] != want {
				t.Errorf("since %s: answered %q", since, got[0])
			}
			for i, text := range got[1:] {
				if want := fmt.Sprintf("x 9: m%d at A-%d", at+i+1, at+i+1); text != want {
					t.Errorf("since %s: push %d is %q", since, i, text)
				}
			}
			if len(got)-1 != top-at {
				t.Errorf("since %s: %d pushes after %d, of %d", since, len(got)-1, at, top)
			}
			s.finish()
		}
	}
}
