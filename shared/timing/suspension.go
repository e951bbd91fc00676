package timing

import "time"

// Suspended is a length of time. A process that has lost this much time, or more, should distrust
// what it knew before.
const Suspended = 5 * time.Second

// Suspension notices time in which the process did not run. If the process was stopped, the next
// step is late by both clocks. If its machine was suspended, the wall clock has gone on, and the
// monotonic clock may have stood still. Setting the wall clock back does not count. Setting it
// forward by Suspended or more is taken for a suspension. Only one caller may step a Suspension.
type Suspension struct {
	Every time.Duration // the time between two steps

	wall time.Time
	mono time.Duration
}

// Step is given the times of both clocks, and must be called at intervals of Every. The monotonic
// time counts from any fixed moment. Step returns the time lost since the last call. It returns 0
// if less than Suspended was lost, and at the first call.
func (s *Suspension) Step(wall time.Time, mono time.Duration) (lost time.Duration) {
	wall = wall.Round(0)
	if !s.wall.IsZero() {
		lost = max(mono-s.mono, wall.Sub(s.wall)) - s.Every
	}
	s.wall, s.mono = wall, mono
	if lost < Suspended {
		return 0
	}
	return lost
}
