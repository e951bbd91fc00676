package router

import (
	"strings"
	"testing"
)

// crowd makes clients ask at once for 60 publications of 200 bytes, and returns the number of steps
// after which all have their answers.
func (s *resumes) crowd(ids []uint64) (steps int) {
	s.t.Helper()
	for _, id := range ids {
		s.say(id, "bind 1 big k most=1000 since=A-0")
	}
	answered, one := 0, 60*205
	for steps = 1; answered < len(ids); steps++ {
		s.rl.step()
		now, bytes := 0, 0
		for _, id := range ids {
			for _, text := range s.e.received[id] {
				now, bytes = now+1, bytes+len(text)
			}
		}
		if n := now - answered; n > repliedMost/one+1 {
			s.t.Errorf("%d answers of %d bytes came in one step", n, bytes/now)
		}
		if answered = now; steps > 10*len(ids) {
			s.t.Fatalf("%d of %d answers came in %d steps", answered, len(ids), steps)
		}
	}
	return steps
}

// TestP11_OthersPassBetweenTheAnswersOfACrowd brings a hundred clients back at once, from the
// topic's tail and from its past. No step may make more answers than repliedMost allows. What
// another client says while they are answered must be answered in the next step.
func TestP11_OthersPassBetweenTheAnswersOfACrowd(t *testing.T) {
	for _, length := range []int{64, 10} {
		s := resuming(t, Config{TailLength: length}, 1)
		s.come(500)
		s.say(500, "bind 1 big") // so that the topic has a tail
		s.settle()
		for range 60 {
			s.publishText("big", strings.Repeat("m", 200))
		}
		s.settle()
		var ids []uint64
		for id := uint64(100); id < 200; id++ {
			ids = append(ids, id)
		}
		s.come(ids...)
		for _, id := range ids {
			s.say(id, "bind 1 big k most=1000 since=A-0")
		}
		s.rl.step()
		s.say(1, "bind 1 x k most=1000")
		for range 3 {
			s.rl.step()
		}
		if got := s.e.received[1]; len(got) != 1 {
			t.Errorf("with a tail of %d, another client got %q", length, got)
		}
		if got := len(s.e.received[199]); got != 0 {
			t.Errorf("with a tail of %d, the crowd was answered in 4 steps", length)
		}
		s.settle()
		for _, id := range ids {
			if got := s.e.received[id]; len(got) != 1 || strings.Count(got[0], strings.Repeat("m", 200)) != 60 {
				t.Errorf("with a tail of %d, client %d got %.80q", length, id, got)
			}
		}
		s.finish()
	}
}

// TestP11_AStepMakesFewAnswers counts the answers in each step.
func TestP11_AStepMakesFewAnswers(t *testing.T) {
	s := resuming(t, Config{}, 1)
	for range 60 {
		s.publishText("big", strings.Repeat("m", 200))
	}
	var ids []uint64
	for id := uint64(100); id < 200; id++ {
		ids = append(ids, id)
	}
	s.come(ids...)
	if steps := s.crowd(ids); steps < 100*60*200/(2*repliedMost) {
		t.Errorf("the answers came in %d steps", steps)
	}
	s.finish()
}

// TestP11_AnswersWaitForAShortQueue has an edge whose link's buffer holds a sixteenth of
// Config.Outgoing. No answer with publications may be appended. When the buffer is a little
// shorter, the answer must come.
func TestP11_AnswersWaitForAShortQueue(t *testing.T) {
	s := resuming(t, Config{Outgoing: 1 << 20}, 1)
	s.publish("x", 3)
	s.e.stuck = 1 << 16
	s.say(1, "bind 1 x k most=1000 since=A-0")
	s.settle()
	s.saw(1)
	s.wait(lookAgainAfter)
	s.saw(1)
	s.e.stuck--
	s.wait(lookAgainAfter)
	s.saw(1, missedTo("A-3", 1, 3))
	s.e.stuck = 0
	s.finish()
}

// TestTheTextOfAMissedPublicationIsMadeOnce resumes twice from a topic's tail. The dialect must be
// asked for each text once.
func TestTheTextOfAMissedPublicationIsMadeOnce(t *testing.T) {
	s := resuming(t, Config{}, 1, 2, 3)
	s.stay()
	s.publish("x", 20)
	for id := uint64(1); id <= 3; id++ {
		s.say(id, "bind 1 x k most=1000 since=A-0")
		s.settle()
		s.saw(id, missedTo("A-20", 1, 20))
	}
	n := 0
	for _, item := range s.rl.router.directory.topics["x"].recent.tail.items {
		if item.said.listed != "" {
			n++
		}
	}
	if n != 20 {
		t.Errorf("%d texts are kept", n)
	}
	s.finish()
}
