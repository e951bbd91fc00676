package router

import "github.com/edgerelay/edgerelay/shared/protocol"

// recent is what a topic has that is under way or was published lately. Most topics are silent most of the time, and have none.
type recent struct {
	known    protocol.Position // the highest known to anyone here, told positions included, if it is beyond the top
	said     protocol.Position // the highest that was published here
	tail     tail
	rewind   *rewind  // the last one
	answered []*frame // those of notices that are published, in the order of the answers
	unheard  unheard
	notices  int32 // joins and leaves whose echo is awaited
	blind    int32 // publications made here while it is not confirmed
}

// recently returns what t has of late, to be added to.
func (r *Router) recently(t *topic) *recent {
	if t.recent == nil {
		// Nothing is in its tail: it begins behind the top. Followers that are behind may know numbers of an earlier tail, which are lower.
		t.recent = &recent{tail: tail{base: t.top, next: r.tails.added()}}
		if r.topics[t.name] == t { // else it was dropped in this step
			r.active[t] = struct{}{}
		}
	}
	return t.recent
}

// rest forgets what t has of late, if it has nothing. Whoever takes something away calls it in the end.
func (r *Router) rest(t *topic) {
	if n := t.recent; n != nil && n.idle(t.top) {
		t.recent = nil
		if delete(r.active, t); len(r.active) == 0 {
			r.active = make(map[*topic]struct{}) // a map does not shrink
		}
	}
}

func (n *recent) idle(top protocol.Position) bool {
	return len(n.tail.items) == 0 && !n.tail.torn && n.tail.base == top && n.unheard.idle() && n.notices == 0 && len(n.answered) == 0 && n.blind == 0 &&
		n.rewind == nil && !top.Before(n.known) && !top.Before(n.said)
}

// known is the highest position known to anyone here, told ones included: what publishers pass.
func (t *topic) known() protocol.Position {
	if t.recent != nil && t.top.Before(t.recent.known) {
		return t.recent.known
	}
	return t.top
}

// knows notes that there is a position.
func (r *Router) knows(t *topic, p protocol.Position) {
	if t.known().Before(p) {
		r.recently(t).known = p
	}
}

// forgetNotice ends that a notice's echo is awaited.
func (t *topic) forgetNotice(fr *frame) {
	if fr.awaited {
		fr.awaited = false
		t.recent.notices--
	}
}
