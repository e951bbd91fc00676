package router

import (
	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// place gives a position to members who came while nobody knew their topic's position. Usually they
// begin at the given position, which is the end of the topic. But members of a group, and clients
// of SDKs, may have come on an earlier link, perhaps at another relay. Then they may have missed
// messages since they came. So their position is looked for in history. While f waits for its turn
// in a taking, place notes the end of the topic and does nothing else.
func (r *Router) place(f *follower, top protocol.Position) {
	switch {
	case !f.position.IsUnplaced():
	case f.edge.tables.taking.notes(f, top):
	case f.adopted && f.joined():
		// An unplaced position has a number: the last number that the edge had used before the
		// members came. If it is 0, the last number that was finished before this link counts
		// instead.
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
// unplaced. It looks for the first publication of their edge that has a number above lag.older, and
// the members begin just before that publication. If history has no such publication, the members
// begin at lag.end, or at the end of history if that is earlier. seekPlace returns true if the page
// is to be sent to the members, from their position on.
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
	// History has no such publication. The members begin at lag.end, which is the top that place
	// was given, or at the end of history if that is earlier. All publications after that position
	// are for the members.
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
