package router

import (
	"time"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// paceFor is how long publishing is paced after the broker came back. In that time other relays are
// expected to subscribe again.
const paceFor = 2 * time.Second

// pace holds back publications after the broker came back. Otherwise all that waited for a topic
// could be published at once. The topic's followers, here or on other relays, might not be
// subscribed again yet, and history might be too short for all that waited. So for paceFor this
// relay publishes to each topic at most a quarter of what a history keeps. Followers find these
// publications in history. While a topic that is followed here is not subscribed, this relay
// publishes no more than such a quarter to it either, however long that takes.
//
// The size of spent is bounded by the number of topics that are published to in paceFor.
type pace struct {
	quarter int                    // a quarter of the length of a history, at least 1
	spent   map[protocol.Topic]int // publications since the broker's return; nil: not pacing
	rounds  uint64                 // number of times that the broker came back
}

// begin starts pacing, when the broker is back. After paceFor it ends the pacing and runs all
// lanes, unless the broker has come back once more by then.
func (p *pace) begin(r *Router) {
	p.rounds++
	round := p.rounds
	p.spent = make(map[protocol.Topic]int)
	r.after(paceFor, func() {
		if p.rounds != round {
			return
		}
		p.spent = nil
		for _, e := range r.directory.inOrder() {
			for _, l := range e.lanesInOrder() {
				r.runLane(l)
			}
		}
	})
}

// take counts one more publication to a topic, or returns false if that publication has to wait. t
// is the topic if somebody here follows it, else nil.
func (p *pace) take(r *Router, name protocol.Topic, t *topic) bool {
	blind := t != nil && !t.subscribed
	if blind && int(r.recently(t).blind) >= p.quarter || p.spent != nil && p.spent[name] >= p.quarter {
		return false
	}
	if blind {
		t.recent.blind++
	}
	if p.spent != nil {
		p.spent[name]++
	}
	return true
}
