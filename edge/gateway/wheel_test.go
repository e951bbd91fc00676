package gateway

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestTimersFireWithinATickAndNeverEarly(t *testing.T) {
	w := newWheel()
	random := rand.New(rand.NewPCG(1, 2))
	timers := map[*Session]bool{}
	set := func(now time.Duration) {
		s := new(Session)
		s.timer.session = s
		w.set(&s.timer, now+rand.N(3*wheelSlots*wheelTick))
		timers[s] = true
	}
	for now := time.Duration(0); now < 10*wheelSlots*wheelTick; now += time.Duration(random.Int64N(int64(2 * wheelTick))) {
		for _, s := range w.step(now, nil) {
			if !timers[s] || s.timer.due > now {
				t.Fatalf("at %v: fired a timer due %v, set: %v", now, s.timer.due, timers[s])
			}
			delete(timers, s)
		}
		for s := range timers {
			switch {
			case s.timer.due < now-wheelTick:
				t.Fatalf("at %v: a timer due %v has not fired", now, s.timer.due)
			case random.IntN(200) == 0:
				w.stop(&s.timer)
				delete(timers, s)
			case random.IntN(200) == 0:
				w.set(&s.timer, now+wheelTick)
			}
		}
		set(now)
	}
}

func TestAStepOverManyRevolutionsFiresEverythingOnce(t *testing.T) {
	w := newWheel()
	const n = 1000
	for i := range n {
		s := new(Session)
		s.timer.session = s
		w.set(&s.timer, time.Duration(i)*wheelTick)
	}
	if got := len(w.step(time.Hour, nil)); got != n {
		t.Errorf("fired %d, want %d", got, n)
	}
	if got := len(w.step(2*time.Hour, nil)); got != 0 {
		t.Errorf("fired %d again", got)
	}
}

func TestATimerOfThePastFiresAtTheNextStep(t *testing.T) {
	w := newWheel()
	w.step(time.Minute, nil)
	s := new(Session)
	s.timer.session = s
	w.set(&s.timer, time.Second)
	if got := len(w.step(time.Minute+wheelTick, nil)); got != 1 {
		t.Errorf("fired %d, want 1", got)
	}
}
