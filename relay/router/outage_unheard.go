package router

import "github.com/edgerelay/edgerelay/shared/protocol"

// maxUnheard bounds the unheard publications of all topics together, in bytes.
const maxUnheard = 8 << 20

// unheard has publications to one topic. This relay made them, and they have left their lanes, but
// their echoes have not come. When the broker goes away they are given ahead first, since their
// echoes may not come before the broker is back. Such publications may gather for seconds if a
// subscription is lost and the loss is not noticed yet.
type unheard struct {
	frames []*frame // in the order in which they left their lanes
	given  int32    // number of leading frames that were given ahead or skipped in this outage
	// blurred means that the list unheard.frames may lack publications whose echo has not come. It
	// lasts until the top reaches recent.said.
	blurred bool
}

// saidAt notes a position that the broker gave in its answer to a publish.
func (r *Router) saidAt(t *topic, p protocol.Position) {
	if !t.top.Before(p) {
		return // the top has reached p
	}
	if n := r.recently(t); n.said.Before(p) {
		n.said = p
	}
	r.knows(t, p)
}

// heard reports whether the broker has answered that a frame is published, and the topic's top has
// reached the frame's position. Then the publication has come back, or followers read it from
// history.
func (t *topic) heard(fr *frame) bool { return fr.stage == stageAnswered && !t.top.Before(fr.at) }

// noteUnheard keeps a published frame whose echo was not heard. If the frame would exceed
// maxUnheard, or is doubted, noteUnheard sets blurred instead. noteUnheard is called when the first
// frame of a lane leaves the lane. The last argument is true if the frame was given ahead.
func (r *Router) noteUnheard(t *topic, fr *frame, given bool) {
	if t.heard(fr) {
		return
	}
	size := fr.cost()
	if r.outage.unheardBytes+size > maxUnheard || fr.doubted {
		r.recently(t).unheard.blurred = true
		return
	}
	r.outage.unheardBytes += size
	u := &r.recently(t).unheard
	u.frames = append(u.frames, fr)
	if given && int(u.given) == len(u.frames)-1 {
		u.given++
	} else if r.outage.away {
		r.giveUnheard(t)
	}
}

// heardTo forgets t's unheard publications that the top has reached.
func (r *Router) heardTo(t *topic) {
	if t.recent == nil {
		return
	}
	u := &t.recent.unheard
	for len(u.frames) > 0 && !t.top.Before(u.frames[0].at) {
		r.outage.unheardBytes -= u.frames[0].cost()
		u.frames[0] = nil
		u.frames = u.frames[1:]
		u.given = max(u.given-1, 0)
	}
	if len(u.frames) == 0 {
		u.frames = nil
	}
	if !t.top.Before(t.recent.said) {
		u.blurred = false
	}
}

// forgetUnheard forgets all unheard publications of a topic that is being dropped.
func (r *Router) forgetUnheard(t *topic) {
	if t.recent == nil {
		return
	}
	for _, fr := range t.recent.unheard.frames {
		r.outage.unheardBytes -= fr.cost()
	}
	t.recent.unheard = unheard{}
}

// giveUnheard gives ahead t's unheard publications. The first of them, unheard.given in number,
// were given ahead or skipped before, and are left out. While unheard.blurred is set, giveUnheard
// gives none. It skips the publications of edges that are not whole. A notice that is given ahead
// takes effect, or waits in the lag of its follower.
func (r *Router) giveUnheard(t *topic) {
	if t.recent == nil || t.recent.unheard.blurred {
		return
	}
	for u := &t.recent.unheard; int(u.given) < len(u.frames); {
		fr := u.frames[u.given]
		u.given++
		if !fr.session.edge.inbox.whole {
			continue // later frames of this edge are skipped too, so its frames keep their order
		}
		r.spread(t, fr)
		if fr.effect != effectAwaited {
			continue
		}
		if f := t.find(fr.session.edge); f.isBehind && f.bound > 0 {
			r.heardNotice(t, fr) // f is behind, so this puts the notice into f's lag
		} else {
			r.takeEffect(fr, f)
		}
	}
	r.wakeAhead(t.name)
}

// level reports whether giveUnheard has gone through t's unheard publications, and unheard.blurred
// is not set. It is called while the broker is away.
func (t *topic) level() bool {
	if t.recent == nil {
		return true
	}
	u := &t.recent.unheard
	return !u.blurred && int(u.given) == len(u.frames)
}

func (u *unheard) idle() bool { return len(u.frames) == 0 && u.given == 0 && !u.blurred }

// cost returns how many bytes of maxUnheard a frame uses.
func (fr *frame) cost() int { return int(fr.size) + frameCost }

// giveAllUnheard gives ahead the unheard publications of all topics, from the first on. An edge
// that has already received some of them recognizes these by their IDs.
func (r *Router) giveAllUnheard() {
	for _, t := range r.directory.activeInOrder(func(n *recent) bool { return len(n.unheard.frames) > 0 }) {
		t.recent.unheard.given = 0
		r.giveUnheard(t)
	}
}
