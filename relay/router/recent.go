package router

import "github.com/edgerelay/edgerelay/shared/protocol"

// recent is a topic's state about publications that are under way or came lately. Most topics are
// silent most of the time, and have no recent state.
type recent struct {
	// The field recent.known is the highest position known to this relay, if it is beyond the top.
	// It may be a position that an edge has told.
	known protocol.Position
	// The field recent.said is the highest position in an answer to a publish. A position that the
	// top had reached before the answer does not count.
	said     protocol.Position
	tail     tail
	rewind   *rewind  // the last rewind noted; nil: none
	answered []*frame // published notices for completeAnswered, in the order of the answers
	unheard  unheard
	notices  int32 // number of joins and leaves whose echo is awaited
	blind    int32 // publications that pace.take counted while the topic was not subscribed
}

// recently returns t's recent state for changing, and creates it if there is none.
func (r *Router) recently(t *topic) *recent {
	if t.recent == nil {
		// The tail is empty and begins after the top. Followers that are behind may still have
		// numbers of an earlier tail, so the new tail's numbers begin above those.
		t.recent = &recent{tail: tail{base: t.top, next: r.tails.added()}}
		if r.directory.has(t) { // t may have been dropped
			r.directory.active[t] = struct{}{}
		}
	}
	return t.recent
}

// compact forgets t's recent state if it is idle.
func (r *Router) compact(t *topic) {
	if n := t.recent; n != nil && n.idle(t.top) {
		t.recent = nil
		r.directory.rest(t)
	}
}

func (n *recent) idle(top protocol.Position) bool {
	return len(n.tail.items) == 0 && !n.tail.torn && n.tail.base == top && n.unheard.idle() && n.notices == 0 && len(n.answered) == 0 && n.blind == 0 &&
		n.rewind == nil && !top.Before(n.known) && !top.Before(n.said)
}

// known returns the highest position of the topic that this relay knows of, from publications or
// from edges. runLane passes it to the broker as Publish.Known, unless the lane knows of a higher
// one.
func (t *topic) known() protocol.Position {
	if t.recent != nil && t.top.Before(t.recent.known) {
		return t.recent.known
	}
	return t.top
}

// Router.knows takes the position p of a publication of t. If p is above t's highest known
// position, p becomes the highest known position.
func (r *Router) knows(t *topic, p protocol.Position) {
	if t.known().Before(p) {
		r.recently(t).known = p
	}
}

// forgetNotice ends the wait for a notice's echo.
func (t *topic) forgetNotice(fr *frame) {
	if fr.effect == effectAwaited {
		fr.effect = effectPlacing
		t.recent.notices--
	}
}
