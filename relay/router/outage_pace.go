package router

import (
	"time"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// paceFor is how long publishing is paced after the broker came back. In that time other relays
// subscribe again.
const paceFor = 2 * time.Second

// pace holds back publications that nobody might hear and that history could not keep. When the
// broker comes back, all that waited could pass a topic at once. The topic's followers, here or on
// other relays, might not be subscribed again yet. For paceFor a topic may therefore publish only a
// quarter of its history, so that its followers find the publications there.
//
// Its size is bounded by the topics that are published to in paceFor.
type pace struct {
	quarter int                    // a quarter of the length of a history
	spent   map[protocol.Topic]int // publications since the broker is back; nil: not pacing
	rounds  uint64                 // number of times that the broker came back
}

// begin is called when the broker is back.
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

// take counts one more publication to a topic, or returns false if it has to wait. t is the topic
// if somebody here follows it, else nil.
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
