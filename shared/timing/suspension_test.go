package timing

import (
	"testing"
	"time"
)

func TestSuspensionIsTimeNotLivedThrough(t *testing.T) {
	const tick = 500 * time.Millisecond
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		what       string
		wall, mono time.Duration // since the last step
		want       time.Duration
	}{
		{"a tick", tick, tick, 0},
		{"a late tick", 4 * time.Second, 4 * time.Second, 0},
		{"the process was stopped", time.Minute + tick, time.Minute + tick, time.Minute},
		{"the machine was suspended, and its monotonic clock", time.Hour + tick, tick, time.Hour},
		{"the wall clock is set back", -time.Hour, tick, 0},
		{"the wall clock is set by a second", time.Second, tick, 0},
		{"stopped while the wall clock was set back", -time.Hour, 10*time.Second + tick, 10 * time.Second},
	} {
		s := Suspension{Every: tick}
		s.Step(begin, time.Hour)
		if lost := s.Step(begin.Add(c.wall), time.Hour+c.mono); lost != c.want {
			t.Errorf("%s: lost %v, want %v", c.what, lost, c.want)
		}
		if lost := s.Step(begin.Add(c.wall+tick), time.Hour+c.mono+tick); lost != 0 {
			t.Errorf("%s, the tick after: lost %v", c.what, lost)
		}
	}
}
