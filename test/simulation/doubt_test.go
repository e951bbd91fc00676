package simulation

import "time"

// doubt begins the search for another relay, because the given link has fallen silent. The call has
// no effect if the edge is searching already, or does not use this link any more.
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

// seek dials another relay to replace the given silent link. Now and then it dials the relay of the
// silent link itself. It retries until the edge has moved. It stops early if bytes come on the
// silent link again, or if this link is no longer in use.
func (e *edge) seek(a *attachment) {
	if !e.alive || e.used != a || e.calledOff(a) {
		return
	}
	again := func() { e.w.after(e.w.between(200*time.Millisecond, 400*time.Millisecond), func() { e.seek(a) }) }
	if e.w.chance(20) { // now and then a frozen silent relay is dialled first
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
			case e.takeOver(a, next):
				e.w.doubts.moved++
			case r != a.relay:
				e.seek(a) // tries the next relay at once
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

// knock dials the frozen relay of the given silent link. When the relay is thawed, it accepts the
// dial, even if the edge has given up by then. If the old link is still silent 0.5 s after the
// Welcome on the new link, the edge moves to the new link.
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
				if e.takeOver(a, next) {
					e.w.doubts.moved++
				}
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

// calledOff reports whether bytes have come on the given silent link since the doubt began. If they
// have, calledOff ends the doubt, and the edge stays on this link.
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

// promisedSilence is the longest time for which an edge may hear nothing while some relay takes
// links. The time before that relay began to take links does not count.
const promisedSilence = 3 * time.Second

// watchSilence fails the run if the edge has heard nothing for longer than promisedSilence while a
// relay takes links. An edge that knows clients of SDKs may need a relay that knows them, so the
// other relays do not count for it. A stalled edge is not checked.
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
			if could := latest(heard, r.since); r.takes() && (e.old || !r.old) && !e.stalled && e.w.now.Sub(could) > promisedSilence {
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
