package simulation

import "time"

// doubt begins to look for another relay, since the link a is silent. If the edge looks for one
// already, doubt does nothing.
func (e *edge) doubt(a *attachment) {
	if e.used != a || e.seeking || !e.alive {
		return
	}
	e.w.tracef("%s: doubts %s", e.name, a.relay.name)
	e.w.doubts.begun++
	e.seeking = true
	a.leaving = e.w.now
	a.link.Leaving()
	e.w.after(e.w.between(0, 50*time.Millisecond), func() { e.seek(a) })
}

// seek dials another relay, or now and then a's relay again. It tries again until the edge has
// moved. It stops early if a is heard again, or is not in use any more.
func (e *edge) seek(a *attachment) {
	if !e.alive || e.used != a || e.calledOff(a) {
		return
	}
	again := func() { e.w.after(e.w.between(200*time.Millisecond, 400*time.Millisecond), func() { e.seek(a) }) }
	if e.w.chance(20) { // a relay that does not answer is dialled first
		if a.relay.alive && a.relay.frozen {
			e.knock(a)
		}
		e.w.after(100*time.Millisecond, func() { e.seek(a) })
		return
	}
	r := e.choose(a.relay)
	if r == nil || e.w.chance(10) {
		r = e.choose(nil)
	}
	if r == nil {
		again()
		return
	}
	e.handshake(r, func(next *attachment) {
		decide := func() {
			switch {
			case !e.alive || e.used != a || e.calledOff(a) || next.end.closed:
				next.end.shut()
			default:
				e.w.doubts.moved++
				e.takeOver(a, next)
			}
		}
		switch {
		case next == nil:
			again()
		case r == a.relay:
			e.w.after(500*time.Millisecond, func() {
				if decide(); e.alive && e.used == a && e.seeking {
					again()
				}
			})
		default:
			decide()
		}
	})
}

// knock dials a's relay, which is frozen. The relay accepts the link when it is thawed. The edge
// may have given up the dial by then. If a is silent 0.5 s after Welcome, the edge moves to the new
// link.
func (e *edge) knock(a *attachment) {
	r := a.relay
	c, hello := e.connect(r)
	taken := false
	r.waiting = append(r.waiting, func() {
		taken = true
		r.accept(c, hello)
		if c.edge.closed {
			e.w.after(e.w.between(0, time.Second), c.relay.lose)
			return
		}
		e.welcome(r, c, func(next *attachment) {
			if next == nil {
				return
			}
			e.w.after(500*time.Millisecond, func() {
				if !e.alive || e.used != a || !a.end.silent() || next.end.closed {
					next.end.shut()
					return
				}
				e.w.doubts.moved++
				e.takeOver(a, next)
			})
		})
	})
	e.w.after(1200*time.Millisecond, func() {
		if !taken {
			e.w.tracef("%s: gives up", c.name)
			c.edge.paused, c.edge.closed = false, true
		}
	})
}

// calledOff reports whether a has been heard again. If so, the edge stays on a.
func (e *edge) calledOff(a *attachment) bool {
	if a.end.silent() {
		return false
	}
	e.w.tracef("%s: has heard %s again", e.name, a.relay.name)
	e.w.doubts.cancelled++
	e.seeking = false
	a.leaving = time.Time{}
	a.link.Staying()
	return true
}

// promisedSilence is how long an edge may hear nothing while a relay takes links. The time before
// that relay took links does not count.
const promisedSilence = 3 * time.Second

// watchSilence fails the run if the edge has heard nothing for longer than promisedSilence while a
// relay takes links. A stalled edge is left out.
func (e *edge) watchSilence() {
	e.w.after(100*time.Millisecond, func() {
		if !e.alive {
			return
		}
		heard := e.unlinked
		if e.used != nil {
			heard = latest(heard, e.used.end.began.Add(e.used.end.received))
		}
		for _, r := range e.w.relays {
			if could := latest(heard, r.since); r.takes() && !e.stalled && e.w.now.Sub(could) > promisedSilence {
				e.w.fail("P12: %s has heard nothing for %v, and %s takes links", e.name, e.w.now.Sub(heard), r.name)
			}
		}
		e.watchSilence()
	})
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
