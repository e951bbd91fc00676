package gateway

import "time"

// wheelTick is the wheel's precision: a timer fires up to one tick late, never early.
const wheelTick = 250 * time.Millisecond

// wheelSlots bounds how many timers one step looks at: those further away than a revolution are passed once per revolution.
const wheelSlots = 256

// timer is a session's place in the wheel. It is in at most one list.
type timer struct {
	prev, next *timer
	due        time.Duration
	session    *Session
}

// wheel fires timers at their time, with O(1) work to set, move and stop one. Times are durations since a start that its owner chooses.
// It has no clock and no lock of its own.
type wheel struct {
	tick  int64             // the last tick that was stepped over
	slots [wheelSlots]timer // heads of rings
}

func newWheel() *wheel {
	w := new(wheel)
	for i := range w.slots {
		w.slots[i].prev, w.slots[i].next = &w.slots[i], &w.slots[i]
	}
	return w
}

// set makes t fire at due, or at the next step when that has passed; it moves a timer that was set before.
func (w *wheel) set(t *timer, due time.Duration) {
	w.stop(t)
	t.due = due
	tick := max(int64((due+wheelTick-1)/wheelTick), w.tick+1)
	head := &w.slots[tick%wheelSlots]
	t.prev, t.next = head.prev, head
	t.prev.next, t.next.prev = t, t
}

// stop makes sure that t does not fire. A timer that was not set stays so.
func (w *wheel) stop(t *timer) {
	if t.next == nil {
		return
	}
	t.prev.next, t.next.prev = t.next, t.prev
	t.prev, t.next = nil, nil
}

// step appends to fired the sessions of all timers due by now, which stops them.
func (w *wheel) step(now time.Duration, fired []*Session) []*Session {
	to := int64(now / wheelTick)
	from := max(w.tick+1, to-wheelSlots+1) // no slot twice
	w.tick = max(w.tick, to)
	for tick := from; tick <= to; tick++ {
		head := &w.slots[tick%wheelSlots]
		for t := head.next; t != head; {
			next := t.next
			if t.due <= now {
				w.stop(t)
				fired = append(fired, t.session)
			}
			t = next
		}
	}
	return fired
}
