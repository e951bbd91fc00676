package router

import "github.com/edgerelay/edgerelay/shared/protocol"

// rewind is a loss of the back end on one topic: the publications after from, up to and including
// to. This relay may still have them in its tail. A position before to, but not before from, is
// ambiguous. An edge at such a position may have missed these publications, or its members came
// after the loss and were placed at the end of what was left. It is told a loss, and is not given
// the publications, which may be older than its members.
type rewind struct{ from, to protocol.Position }

// ambiguous reports whether p does not tell which of the two cases it is.
func (w rewind) ambiguous(p protocol.Position) bool {
	return !p.IsUnplaced() && !p.Before(w.from) && p.Before(w.to)
}

// wentBack takes the present end of history. If this relay has received publications beyond it, the
// back end has lost them, and a rewind is noted. A follower that is behind at an ambiguous position
// is taken past the loss. A follower that already reads the tail began before the loss, and goes
// on.
func (r *Router) wentBack(t *topic, top protocol.Position) {
	if t.recent == nil {
		return
	}
	end := t.recent.tail.end()
	if !top.Before(end) {
		return
	}
	t.recent.rewind = &rewind{top, end}
	for f := range t.all {
		if f.isBehind && !f.lag().inTail && f.bound > 0 && f.edge.outbox.ready {
			r.passRewind(f)
		}
	}
}

// passRewind takes a follower at an ambiguous position past the loss.
func (r *Router) passRewind(f *follower) {
	if n := f.topic.recent; n != nil && n.rewind != nil && !f.seeking && n.rewind.ambiguous(f.position) {
		w := n.rewind
		lost, _ := missing(f.position, w.to)
		r.gap(f, w.to, lost+1)
	}
}
