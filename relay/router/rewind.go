package router

import "github.com/edgerelay/edgerelay/shared/protocol"

// rewind is what the back end has lost of a topic and this relay may still have in its tail: after from, through to. An edge that tells a position in there may miss
// it; or its members came when it was lost already, and were placed at the end of what is left. It is not given what may be older than they are, and told a loss.
type rewind struct{ from, to protocol.Position }

// ambiguous reports whether a position does not tell which of the two it is.
func (w rewind) ambiguous(p protocol.Position) bool {
	return p != protocol.Unplaced && !p.Before(w.from) && p.Before(w.to)
}

// wentBack is told where history ends now, and notes if that is before what was received from it. Followers that were told while the subscription was lost are as
// ambiguous as those that come; those on their way through the tail had begun before.
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
		if f.isBehind && !f.lag().inTail && f.bound > 0 && f.edge.ready {
			r.passRewind(f)
		}
	}
}

// passRewind takes an ambiguous follower past what was lost.
func (r *Router) passRewind(f *follower) {
	if n := f.topic.recent; n != nil && n.rewind != nil && !f.seeking && n.rewind.ambiguous(f.position) {
		w := n.rewind
		lost, _ := missing(f.position, w.to)
		r.gap(f, w.to, lost+1)
	}
}
