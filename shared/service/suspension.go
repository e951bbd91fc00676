package service

import "time"

// Suspended is the time not lived through from which on a process should not believe what it knew before.
const Suspended = 5 * time.Second

// Suspension notices time that the process did not live through: it was stopped, so that a tick comes late by both clocks, or its machine was, so that the wall
// clock went on and the monotonic one need not have. The wall clock being set back, or forth by less, is nothing. It is stepped by one caller.
type Suspension struct {
	Every time.Duration // between two steps

	wall time.Time
	mono time.Duration
}

// Step is called at regular times with both clocks, the monotonic one since any fixed moment. It returns the time lost before it, 0 when that is less than
// Suspended.
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
