package router

import (
	"time"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// paceFor is how long after the broker came back publishing is paced: other relays subscribe again meanwhile.
const paceFor = 2 * time.Second

// pace holds publications back that nobody might hear and history could not keep: what waited while the broker was away would pass, all at once, topics whose
// followers, here or on other relays, are not subscribed again. For as long it lets a quarter of a topic's history pass, so that they find it there.
//
// It is bounded by the topics that are published to in paceFor.
type pace struct {
	quarter int
	spent   map[protocol.Topic]int // since the broker is back; nil: it has been for long enough
	rounds  uint64
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
		for _, e := range r.inOrder() {
			for _, l := range e.inOrder() {
				r.runLane(l)
			}
		}
	})
}

// take counts one more publication to a topic, unless it has to wait. t is the topic if it is followed here, else nil.
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
