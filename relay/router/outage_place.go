package router

import (
	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// place gives a position to members who came while nobody knew their topic's position. They begin
// at top. But members of a group who came at another relay may have missed messages since, so their
// position is looked for in history.
func (r *Router) place(f *follower, top protocol.Position) {
	switch {
	case !f.position.IsUnplaced():
	case f.adopted && f.topic.name.IsGroup() && f.bound > 0:
		number := f.position.Number()
		if number == 0 { // their age is not known
			number = f.edge.inbox.acked
		}
		f.seeking = true
		f.position = protocol.Position{}
		r.fallBehind(f)
		f.lag().older = number
	default:
		r.placeAt(f, top)
	}
}

// placeAt tells the edge where its members begin.
func (r *Router) placeAt(f *follower, at protocol.Position) {
	f.position = at
	f.numbered = false
	if f.bound > 0 {
		r.number(f)
	}
}

// seekPlace looks in a page of history for the position of members who came at another relay. They
// begin before the first publication of their edge that is younger than they are. If their age is
// not known, they begin before the first one that was not acknowledged when the edge linked here.
// The notices of their joins were not acknowledged either, so they do not lie before that one.
// seekPlace reports whether the page is to be sent, from the position on.
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
	// The publication sought is not published yet.
	at := ev.Top
	if at.Before(ev.Through) {
		at = ev.Through
	}
	if at.Before(f.position) {
		at = f.position
	}
	r.placeAt(f, at)
	r.stopSeeking(f)
	r.advance(f)
	r.readOn(f.edge)
	return false
}

// stopSeeking ends the search for f's position, and resumes the publications that waited for it.
func (r *Router) stopSeeking(f *follower) {
	if f.seeking {
		f.seeking = false
		r.runLanes(f.topic.name)
	}
}
