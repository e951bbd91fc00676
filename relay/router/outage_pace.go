package router

import (
	"time"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// paceFor is how long publishing is paced after the broker came back. In that time other relays are
// expected to subscribe again.
const paceFor = 2 * time.Second

// pace holds back publications after the broker came back. Otherwise this relay could publish all
// waiting messages at once, before it and other relays have subscribed again. A topic's history may
// be too short for so many messages. So for paceFor this relay publishes to each topic at most a
// quarter of the publications that a history keeps. Followers find these publications in history.
// While a topic is followed here but not subscribed, the same bound holds, even after paceFor.
//
// The map pace.spent has one entry for each topic that this relay publishes to within paceFor.
type pace struct {
	quarter int                    // a quarter of the length of a history, at least 1
	spent   map[protocol.Topic]int // publications since the broker's return; nil: not pacing
	rounds  uint64                 // number of times that the broker came back
}

// begin is called each time the broker comes back. It starts pacing. When paceFor has passed since
// the last call, the pacing ends and all lanes are run.
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

// take counts one more publication to a topic, and returns true. If that publication has to wait,
// take counts nothing and returns false. The parameter t is nil if nobody here follows the topic.
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
