package router

import (
	"bytes"
	"slices"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// stall notes that a lane waits for something about its topic: only those are looked at when that comes, not the lanes of all edges.
func (r *Router) stall(l *lane) {
	if !l.stalled {
		l.stalled = true
		r.stalled[l.topic] = append(r.stalled[l.topic], l)
	}
}

// unstall takes out a lane that waits for nothing any more.
func (r *Router) unstall(l *lane) {
	if !l.stalled {
		return
	}
	l.stalled = false
	list := r.stalled[l.topic]
	i := slices.Index(list, l)
	if list = slices.Delete(list, i, i+1); len(list) == 0 {
		delete(r.stalled, l.topic)
	} else {
		r.stalled[l.topic] = list
	}
}

// resumed takes the lanes to a topic that wait for something about it, in the order of their edges' instances: so that the same inputs have the same outputs.
func (r *Router) resumed(t protocol.Topic) []*lane {
	list := r.stalled[t]
	if list == nil {
		return nil
	}
	delete(r.stalled, t)
	for _, l := range list {
		l.stalled = false
	}
	slices.SortFunc(list, func(a, b *lane) int { return bytes.Compare(a.edge.instance[:], b.edge.instance[:]) })
	return list
}

// runLanes runs the lanes to a topic that wait for something about it. While the broker is away they go on waiting: all run when it is back.
func (r *Router) runLanes(t protocol.Topic) {
	if r.away {
		return
	}
	for _, l := range r.resumed(t) {
		r.runLane(l)
	}
}
