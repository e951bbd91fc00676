package router

import (
	"cmp"
	"maps"
	"slices"

	"github.com/edgerelay/edgerelay/relay/broker"
)

// outage is the router's state that concerns outages of the broker. docs/outage.md describes
// outages. Nobody knows beforehand when the broker goes away. So this relay's publications are kept
// in recent.unheard even while there is no outage.
type outage struct {
	away         bool    // the broker is away, as its last State says
	deafened     int     // number of topics whose subscription is lost
	unheardBytes int     // total cost of all unheard frames, in bytes
	waking       []*lane // work queue of giveAhead
	moment       moment  // the present moment, see tick
	pace         pace    // paces publishing after the broker came back
}

// state handles the news that the broker has gone away or is back.
func (r *Router) state(ev broker.State) {
	if r.outage.away == ev.Away {
		return
	}
	r.outage.away = ev.Away
	r.m.away.Set(gauge(ev.Away))
	for _, e := range r.directory.inOrder() {
		r.sendStatus(e)
	}
	if r.outage.away {
		// This call comes before openUnconfirmed. The sessions that openUnconfirmed binds need not
		// get the messages that this call gives ahead.
		r.goAhead()
		for _, e := range r.directory.inOrder() {
			if e.outbox.ready {
				r.openUnconfirmed(e)
				r.answerAway(e)
			}
		}
		for _, t := range slices.SortedFunc(maps.Keys(r.comebacks), func(a, b *topic) int { return cmp.Compare(a.name, b.name) }) {
			r.wakeTopic(t)
		}
		for _, e := range r.directory.inOrder() {
			if e.outbox.ready {
				r.advanceAll(e)
			}
		}
		return
	}
	r.comeBack()
	r.outage.pace.begin(r)
	for _, e := range r.directory.inOrder() {
		r.tellLive(e)
		for _, l := range e.lanesInOrder() {
			l.backoff = 0
			r.runLane(l)
		}
	}
}
