package router

import "github.com/edgerelay/edgerelay/shared/protocol"

// maxUnheard bounds what is kept of publications whose echo has not come, of all topics together, in bytes.
const maxUnheard = 8 << 20

// unheard are publications that were made here and have not come back: when the broker is away they are given ahead first, since their echo may be lost until it
// is back. A subscription that is deaf without a word has them for seconds.
type unheard struct {
	frames  []*frame // in order of their positions, beyond the topic's top
	given   int32    // while the broker is away: how many of them were given ahead
	blurred bool     // there was no room for one: what is missing is not known until the top is past said
}

// saidAt notes where a publication of ours is.
func (r *Router) saidAt(t *topic, p protocol.Position) {
	if !t.top.Before(p) {
		return // it was heard
	}
	if n := r.recently(t); n.said.Before(p) {
		n.said = p
	}
	r.knows(t, p)
}

// heard reports whether a frame's publication has come back, or was before what did.
func (t *topic) heard(fr *frame) bool { return fr.answered && !t.top.Before(fr.at) }

// noteUnheard notes a publication whose lane is done with it, and everything before it, unless its echo was heard. given: it was given ahead.
func (r *Router) noteUnheard(t *topic, fr *frame, given bool) {
	if t.heard(fr) {
		return
	}
	size := fr.cost()
	if r.unheardBytes+size > maxUnheard {
		r.recently(t).unheard.blurred = true
		return
	}
	r.unheardBytes += size
	u := &r.recently(t).unheard
	u.frames = append(u.frames, fr)
	if given && int(u.given) == len(u.frames)-1 {
		u.given++
	} else if r.away {
		r.giveUnheard(t)
	}
}

// heardTo forgets those that the topic's top has reached.
func (r *Router) heardTo(t *topic) {
	if t.recent == nil {
		return
	}
	u := &t.recent.unheard
	for len(u.frames) > 0 && !t.top.Before(u.frames[0].at) {
		r.unheardBytes -= u.frames[0].cost()
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

// forgetUnheard forgets all of a topic that goes.
func (r *Router) forgetUnheard(t *topic) {
	if t.recent == nil {
		return
	}
	for _, fr := range t.recent.unheard.frames {
		r.unheardBytes -= fr.cost()
	}
	t.recent.unheard = unheard{}
}

// giveUnheard gives ahead what was published here and not heard; notices among it take effect.
func (r *Router) giveUnheard(t *topic) {
	if t.recent == nil || t.recent.unheard.blurred {
		return
	}
	for u := &t.recent.unheard; int(u.given) < len(u.frames); {
		fr := u.frames[u.given]
		u.given++
		if !fr.session.edge.whole {
			continue // nor is what follows of it
		}
		r.spread(t, fr)
		if !fr.awaited {
			continue
		}
		if f := t.find(fr.session.edge); f.isBehind && f.bound > 0 {
			r.heardNotice(t, fr) // it waits for what comes before
		} else {
			r.takeEffect(fr, f)
		}
	}
	r.wakeAhead(t.name)
}

// level reports, while the broker is away, whether everything that was published here was heard, or given ahead.
func (t *topic) level() bool {
	if t.recent == nil {
		return true
	}
	u := &t.recent.unheard
	return !u.blurred && int(u.given) == len(u.frames)
}

func (u *unheard) idle() bool { return len(u.frames) == 0 && u.given == 0 && !u.blurred }

// cost is what a frame counts in a bound.
func (fr *frame) cost() int { return int(fr.size) + frameCost }

// giveAllUnheard gives what is unheard of all topics, from the first on: who has it knows it by its ID.
func (r *Router) giveAllUnheard() {
	for _, t := range r.activeInOrder(func(n *recent) bool { return len(n.unheard.frames) > 0 }) {
		t.recent.unheard.given = 0
		r.giveUnheard(t)
	}
}
