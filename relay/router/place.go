package router

import (
	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// place gives members who came while nobody could say where their topic is a position. Those who came to this relay begin at the topic's top. Those of a group who
// came to another may have missed something since: their place is looked for.
func (r *Router) place(f *follower, top protocol.Position) {
	switch {
	case f.position != protocol.Unplaced:
	case f.adopted && f.topic.name.IsGroup() && f.bound > 0:
		f.seeking = true
		f.position = protocol.Position{}
		r.fallBehind(f)
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

// seekPlace looks in a page of history for the place of members who joined at another relay: before the first that their edge published of what was not
// acknowledged to it when it linked here, the notices of their joins among it. An acknowledgement of these comes behind the place. It reports whether the page is to
// be sent, from there on.
func (r *Router) seekPlace(f *follower, ev broker.History) bool {
	for _, p := range ev.Publications {
		if p.Instance == f.edge.instance && p.Number > f.edge.acked {
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
	// It is not published yet.
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

// stopSeeking lets the publications go on that waited for the place.
func (r *Router) stopSeeking(f *follower) {
	if f.seeking {
		f.seeking = false
		r.runLanes(f.topic.name)
	}
}
