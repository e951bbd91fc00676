package router

import "time"

// window has the long answers that were sent to an edge lately, and are not drained. It paces long
// answers: while the window is full, further ones wait. Otherwise many of them would stand in the
// kernel's buffers of the link and in the edge's writers, and others' messages behind them.
//
// An answer leaves the window when the edge says Drained, or when it is old. So clients that take
// their answers slowly do not keep the window full.
type window struct {
	bytes int
	sent  []sentAnswer // ascending by time, without those that are old
	timer bool         // a timer will go on with what waits for the window
	// The field since is the time since when answers have waited without a break, by Router.clock.
	// It is 0 if none waits.
	since time.Duration
}

type sentAnswer struct {
	at      time.Duration // by Router.clock
	session uint64
	bytes   int
}

// A window is full at windowLeast bytes. A link with a long round trip has windowRate bytes a
// second of it in addition, so that a far edge gets answers at that rate. While answers wait, all
// of this doubles each windowDoubles, up to windowMost times in all. So commands of a crowd that
// takes long do not wait until they are refused as late. An answer is old after a round trip and
// windowAge.
const (
	windowLeast   = 64 << 10
	windowRate    = 32 << 20
	windowDoubles = 500 * time.Millisecond
	windowMost    = 256
	windowAge     = 20 * time.Millisecond
)

// size returns the size at which the window is full.
func (w *window) size(now, rtt time.Duration) int {
	size := windowLeast + int(rtt.Seconds()*windowRate)
	if w.since > 0 {
		size *= min(1<<min((now-w.since)/windowDoubles, 30), windowMost)
	}
	return size
}

// roomInWindow reports whether a long answer may be sent to an edge now. If it may not, answerOn is
// called when there is room.
func (r *Router) roomInWindow(e *edge) bool {
	w := &e.answers.window
	if w.bytes < windowLeast || e.outbox.link == nil {
		return true
	}
	rtt := e.outbox.link.RTT()
	e.answers.age(r.clock - rtt - windowAge)
	if w.bytes < w.size(r.clock, rtt) {
		return true
	}
	if w.since == 0 {
		w.since = max(r.clock, 1)
	}
	if !w.timer {
		w.timer = true
		r.paced++
		r.after(w.sent[0].at+rtt+windowAge-r.clock, func() {
			w.timer = false
			r.paced--
			r.answerOn(e)
		})
	}
	return false
}

// Paced reports whether answers wait for a moment that is nearer than the next tick. It must be
// called by the caller of Step.
func (r *Router) Paced() bool { return r.paced > 0 }

// ageWindow keeps the list of answers in a window short if the window is never full.
func (r *Router) ageWindow(e *edge) {
	if len(e.answers.window.sent) >= windowLooks && e.outbox.link != nil {
		e.answers.age(r.clock - e.outbox.link.RTT() - windowAge)
	}
}

// windowLooks is how many answers a window has before ageWindow looks for old ones.
const windowLooks = 256

// age takes the answers that were sent up to a time out of the window.
func (a *answers) age(upTo time.Duration) {
	w := &a.window
	n := 0
	for n < len(w.sent) && w.sent[n].at <= upTo {
		// Of an answer that is drained, nothing is in the window any more.
		if p, ok := a.pending[w.sent[n].session]; ok && p.fresh > 0 {
			fresh := min(w.sent[n].bytes, p.fresh)
			p.fresh -= fresh
			a.pending[w.sent[n].session] = p
			w.bytes -= fresh
		}
		n++
	}
	if w.sent = w.sent[n:]; len(w.sent) == 0 {
		w.sent = nil
	}
}
