package uplink

import (
	"context"
	"slices"
)

// State is what an Uplink's readiness depends on.
type State struct {
	Linked     bool
	EverLinked bool
	KeyRefused bool     // there is no link, and every relay refused the key
	Degraded   []string // "relay" without a link, and what the relay says of itself, in words of the metrics
}

// State returns the state now.
func (u *Uplink) State() State {
	u.mu.Lock()
	defer u.mu.Unlock()
	s := State{Linked: u.up != nil, EverLinked: u.ever, KeyRefused: u.refused && u.up == nil, Degraded: slices.Clone(u.degraded)}
	if !s.Linked {
		s.Degraded = []string{"relay"}
	}
	if u.divided {
		s.Degraded = append(s.Degraded, "brokers differ")
	}
	return s
}

// Degraded returns what is degraded; empty: nothing.
func (u *Uplink) Degraded() []string { return u.State().Degraded }

// Linked reports whether there is a link now, and whether there ever was one.
func (s *Links) Linked() (now, ever bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.up != nil, s.ever
}

// Flush waits until the relay has acknowledged everything in the log, and returns how many messages it has not when ctx is done. It does not wait
// for ends of sessions when there is no link: without one the relay removes them by itself. New messages prolong it.
func (s *Links) Flush(ctx context.Context) (left int) {
	for {
		s.mu.Lock()
		left = s.log.Messages()
		if left == 0 && (s.log.Ends() == 0 || s.up == nil) {
			s.mu.Unlock()
			return 0
		}
		if s.changed == nil {
			s.changed = make(chan struct{})
		}
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return left
		}
	}
}

// notify lets Flush look again. mu must be held.
func (s *Links) notify() {
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}
