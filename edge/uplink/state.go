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
	s := State{Linked: u.up != nil, EverLinked: u.ever, KeyRefused: u.refused, Degraded: slices.Clone(u.degraded)}
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
func (u *Uplink) Linked() (now, ever bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.up != nil, u.ever
}

// Flush waits until the relay has acknowledged everything in the log, and returns how many messages it has not when ctx is done. It does not wait
// for ends of sessions when there is no link: without one the relay removes them by itself. New messages prolong it.
func (u *Uplink) Flush(ctx context.Context) (left int) {
	for {
		u.mu.Lock()
		left = u.log.Messages()
		if left == 0 && (u.log.Ends() == 0 || u.up == nil) {
			u.mu.Unlock()
			return 0
		}
		if u.changed == nil {
			u.changed = make(chan struct{})
		}
		changed := u.changed
		u.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return left
		}
	}
}

// notify lets Flush look again. mu must be held.
func (u *Uplink) notify() {
	if u.changed != nil {
		close(u.changed)
		u.changed = nil
	}
}
