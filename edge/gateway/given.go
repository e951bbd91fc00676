package gateway

import "time"

const (
	givenAhead  = 1 << 16   // IDs of what was given ahead and is not published; of more, what comes ahead is not given until it is published
	givenAge    = time.Hour // for so long at least they are kept when Redis is back, as long as a relay recognises a replay
	givenRecent = 1 << 15   // IDs of what was published last: more than is under way when a relay or Redis is lost
	givenEarly  = 4096      // of the first publications of an epoch so many may be such as were under way when another ended
)

// given knows by their IDs the publications that members were given and that may come again under another position, or without one: what was given ahead comes
// when it is published, and what was published comes ahead from a relay that does not know it, or once more from a Redis that has lost it. It is a plain
// structure, stepped under the Hub's lock.
type given struct {
	ahead  map[uint64]struct{}
	before map[uint64]struct{} // those of outages that ended an hour before the last one did, and more
	since  time.Time           // when ahead was begun
	epochs time.Time           // when an epoch was last seen to follow another: Redis has lost something then
	full   bool                // since there was no room: until Redis is back, else a sender's messages would overtake those that found none

	recent []uint64 // a ring
	next   int
	index  map[uint64]int32 // how often an ID is in recent; nil until it is asked for
}

// brokerBack notes that an outage ended: what was given ahead is published now, and what was so in outages before that is not waited for any more.
func (g *given) brokerBack(now time.Time) {
	g.full = false
	if now.Sub(g.since) > givenAge {
		g.before, g.ahead, g.since = g.ahead, nil, now
	}
}

// takeAhead notes what a relay gives ahead: repeat, they had it; excess, there is no room to remember it.
func (g *given) takeAhead(id uint64) verdict {
	if g.has(id) || g.wasRecent(id) {
		return repeat
	}
	waiting := len(g.ahead) + len(g.before)
	if g.full = g.full && waiting > 0 || waiting >= givenAhead; g.full {
		return excess
	}
	if g.ahead == nil {
		g.ahead = make(map[uint64]struct{})
	}
	g.ahead[id] = struct{}{}
	return pass
}

// aftermath reports whether Redis may have lost what it had within givenAge: what waits in a log may be published again, on any topic, also to members who have left it and come back since.
func (g *given) aftermath() bool {
	if !g.epochs.IsZero() && time.Since(g.epochs) > givenAge {
		g.epochs = time.Time{}
	}
	return !g.epochs.IsZero()
}

// takePublished notes a publication, and reports whether its members were given it before. early: it is one of the first of an epoch that began in an aftermath.
func (g *given) takePublished(id uint64, early bool) (had bool) {
	if had = len(g.ahead)+len(g.before) > 0 && g.has(id); had {
		delete(g.ahead, id)
		delete(g.before, id)
	} else if early {
		had = g.wasRecent(id)
	}
	if g.index != nil {
		g.index[id]++
	}
	if len(g.recent) < givenRecent {
		g.recent = append(g.recent, id)
		return had
	}
	if old := g.recent[g.next]; g.index != nil {
		if g.index[old]--; g.index[old] == 0 {
			delete(g.index, old)
		}
	}
	g.recent[g.next] = id
	g.next = (g.next + 1) % givenRecent
	return had
}

func (g *given) has(id uint64) bool {
	_, ahead := g.ahead[id]
	_, before := g.before[id]
	return ahead || before
}

// wasRecent is asked while Redis is away, or was lost: until then there is no index to keep.
func (g *given) wasRecent(id uint64) bool {
	if g.index == nil {
		g.index = make(map[uint64]int32, len(g.recent))
		for _, other := range g.recent {
			g.index[other]++
		}
	}
	return g.index[id] > 0
}
