package router

import "github.com/edgerelay/edgerelay/shared/protocol"

// rewind is a loss of publications of one topic at the broker, or several such losses that overlap
// or touch. The lost publications lie after the position rewind.from, up to and including the
// position rewind.to. This relay may still have them in its tail. After several losses the broker
// may have some of them again. A position p with from <= p < to is ambiguous, since an edge may be
// there for two reasons:
//   - It missed these publications.
//   - Its members came after the loss, and were placed at the end of the remaining history. Then
//     the publications may be older than the members.
//
// passRewind tells such an edge a loss, and takes it past the publications.
type rewind struct{ from, to protocol.Position }

// ambiguous reports whether p is an ambiguous position: at w.from or after it, and before w.to. An
// unplaced position is not ambiguous.
func (w rewind) ambiguous(p protocol.Position) bool {
	return !p.IsUnplaced() && !p.Before(w.from) && p.Before(w.to)
}

// wentBack compares the given position, which is the topic's top at the broker, with this relay's
// tail. If the tail has publications beyond that top, the broker has lost them, and wentBack notes
// a rewind. A follower that is behind at an ambiguous position is taken past the loss, unless it
// reads the tail already.
func (r *Router) wentBack(t *topic, top protocol.Position) {
	if t.recent == nil {
		return
	}
	end := t.recent.tail.end()
	if !top.Before(end) {
		return
	}
	t.recent.rewound(rewind{top, end})
	for f := range t.all {
		if f.isBehind && !f.lag().inTail && f.bound > 0 && f.edge.outbox.ready {
			r.passRewind(f)
		}
	}
}

// rewound notes a rewind. Earlier rewinds still count, since members may have come between two
// losses: the position of such a member is ambiguous because of the earlier loss alone. Earlier
// rewinds that overlap or touch w become one with it. Earlier rewinds whose publications have left
// the tail are forgotten.
func (n *recent) rewound(w rewind) {
	kept := n.rewinds[:0]
	for _, earlier := range n.rewinds {
		switch {
		case !earlier.to.Before(w.from):
			if earlier.from.Before(w.from) {
				w.from = earlier.from
			}
		case n.tail.base.Before(earlier.to):
			kept = append(kept, earlier)
		}
	}
	n.rewinds = append(kept, w)
}

// If a follower is at an ambiguous position, passRewind tells its edge a loss, and moves the
// follower past the lost publications.
func (r *Router) passRewind(f *follower) {
	if f.topic.recent == nil || f.seeking {
		return
	}
	for _, w := range f.topic.recent.rewinds {
		if w.ambiguous(f.position) {
			lost, _ := missing(f.position, w.to)
			r.gap(f, w.to, lost+1)
			return
		}
	}
}
