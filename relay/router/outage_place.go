package router

import (
	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// place gives a position to members who came while nobody knew their topic's position. Usually they
// begin at the end of the topic, which is the parameter top. But members who joined before this
// link may have missed messages since then, perhaps at another relay. So their position is looked
// for in history. While f waits for its turn in a taking, only top is noted.
func (r *Router) place(f *follower, top protocol.Position) {
	switch {
	case !f.position.IsUnplaced():
	case f.edge.tables.taking.notes(f, top):
	case f.adopted && f.joined():
		// The number of an unplaced position names the edge's last frame from before the members
		// came. 0 stands for the last frame that was acknowledged before this link.
		number := f.position.Number()
		if number == 0 {
			number = f.edge.inbox.acked
		}
		f.seeking = true
		f.position = protocol.Position{}
		r.fallBehind(f)
		f.lag().older, f.lag().end = number, top
	default:
		r.placeAt(f, top)
	}
}

// placeAt gives f a position. If f has members, it also tells the edge where they begin.
func (r *Router) placeAt(f *follower, at protocol.Position) {
	f.position = at
	f.numbered = false
	if f.bound > 0 {
		r.number(f)
	}
}

// seekPlace looks in a page of history for the position of members whom their edge told as
// unplaced. They begin just before the first publication that is of their edge and has a number
// above lag.older. If history has none, they begin at lag.end, or at the end of history if that is
// earlier. seekPlace reports whether the page is to be sent, from the position on.
func (r *Router) seekPlace(f *follower, ev broker.History) bool {
	for _, p := range ev.Publications {
		if p.Instance == f.edge.instance && p.Number > f.lag().older {
			before := p.Position
			before.Offset--
			r.placeAt(f, before)
			r.stopSeeking(f)
			return true
		}
	}
	if ev.More {
		f.position = ev.Through
		r.read(f)
		return false
	}
	// History has no such publication. The members begin where the topic was when its end became
	// known to this relay. What came since is for them.
	at := ev.Top
	if at.Before(ev.Through) {
		at = ev.Through
	}
	if at.Before(f.position) {
		at = f.position
	}
	if end := f.lag().end; end.Before(at) {
		at = end
	}
	r.placeAt(f, at)
	r.stopSeeking(f)
	r.advance(f)
	r.readOn(f.edge)
	return false
}

// stopSeeking ends the search for f's position, if there is one, and resumes the publications that
// waited for it.
func (r *Router) stopSeeking(f *follower) {
	if f.seeking {
		f.seeking = false
		r.runLanes(f.topic.name)
	}
}
