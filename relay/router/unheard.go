package router

import "github.com/edgerelay/edgerelay/shared/protocol"

// maxUnheard bounds what is kept of publications whose echo has not come, of all topics together, in bytes.
const maxUnheard = 8 << 20

// unheard are publications that were made here and have not come back: when the broker is away they are given ahead first, since their echo may be lost until it
// is back. A subscription that is deaf without a word has them for seconds.
type unheard struct {
	frames  []*frame // in order of their positions, beyond the topic's top
	given   int      // while the broker is away: how many of them were given ahead
	blurred bool     // there was no room for one: what is missing is not known until the top is past said
}

// saidAt notes where a publication of ours is.
func (t *topic) saidAt(p protocol.Position) {
	if t.said.Before(p) {
		t.said = p
	}
	if t.known.Before(p) {
		t.known = p
	}
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
		t.unheard.blurred = true
		return
	}
	r.unheardBytes += size
	u := &t.unheard
	u.frames = append(u.frames, fr)
	if given && u.given == len(u.frames)-1 {
		u.given++
	} else if r.away {
		r.giveUnheard(t)
	}
}

// heardTo forgets those that the topic's top has reached.
func (r *Router) heardTo(t *topic) {
	u := &t.unheard
	for len(u.frames) > 0 && !t.top.Before(u.frames[0].at) {
		r.unheardBytes -= u.frames[0].cost()
		u.frames[0] = nil
		u.frames = u.frames[1:]
		u.given = max(u.given-1, 0)
	}
	if len(u.frames) == 0 {
		u.frames = nil
	}
	if !t.top.Before(t.said) {
		u.blurred = false
	}
}

// forgetUnheard forgets all of a topic that goes.
func (r *Router) forgetUnheard(t *topic) {
	for _, fr := range t.unheard.frames {
		r.unheardBytes -= fr.cost()
	}
	t.unheard = unheard{}
}

// giveUnheard gives ahead what was published here and not heard; notices among it take effect.
func (r *Router) giveUnheard(t *topic) {
	if t.unheard.blurred {
		return
	}
	for u := &t.unheard; u.given < len(u.frames); {
		fr := u.frames[u.given]
		u.given++
		if !fr.session.edge.whole {
			continue // nor is what follows of it
		}
		r.spread(t, fr)
		if _, waits := t.notices[fr]; !waits {
			continue
		}
		if f := fr.session.edge.followers[t.name]; f.isBehind && f.bound > 0 {
			r.heardNotice(t, fr) // it waits for what comes before
		} else {
			r.takeEffect(fr, f)
		}
	}
	r.wakeAhead(t.name)
}

// level reports, while the broker is away, whether everything that was published here was heard, or given ahead.
func (t *topic) level() bool { return !t.unheard.blurred && t.unheard.given == len(t.unheard.frames) }

// cost is what a frame counts in a bound.
func (fr *frame) cost() int { return int(fr.size) + frameCost }

// giveAllUnheard gives what is unheard of all topics, from the first on: who has it knows it by its ID.
func (r *Router) giveAllUnheard() {
	for _, t := range r.topicsInOrder(func(t *topic) bool { return len(t.unheard.frames) > 0 }) {
		t.unheard.given = 0
		r.giveUnheard(t)
	}
}
