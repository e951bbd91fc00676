package router

import (
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// lane is one edge's unfinished publications to one topic, in number order.
//
// A mark is one number, so a frame must never be published before a lower one of its lane: each names the one before it, and the broker
// refuses it if that one was not published. After a failure the lane waits until nothing is in flight and starts again at its first.
type lane struct {
	edge  *edge
	topic protocol.Topic

	entries
	waking  bool   // in Router.waking
	stalled bool   // in Router.stalled
	flying  int    // given to the broker, not answered
	done    uint64 // the last number known to be published
	known   protocol.Position

	failed  bool // since something in flight failed, until the pause is over
	backoff time.Duration
}

// enlane puts a frame into its lane: numbers arrive in order, so at the end.
func (r *Router) enlane(fr *frame) {
	e := fr.session.edge
	l := e.lanes[fr.topic]
	if l == nil {
		l = &lane{edge: e, topic: fr.topic}
		e.lanes[fr.topic] = l
	}
	fr.lane = l
	l.add(fr)
}

// leaveLane takes out a frame that will not be published, and lets those behind it go.
func (r *Router) leaveLane(fr *frame) {
	l := fr.lane
	if l == nil {
		return
	}
	fr.lane = nil
	l.remove(fr) // never sent nor given ahead: it was not ready
	r.runLane(l)
	r.giveAhead(l)
}

// ready lets a frame be published when its turn in its lane comes.
func (r *Router) ready(fr *frame) {
	if fr.lane == nil {
		r.enlane(fr)
	}
	fr.ready = true
	r.runLane(fr.lane)
	r.giveAhead(fr.lane)
}

// runLane gives the broker what can be given now.
func (r *Router) runLane(l *lane) {
	if l.failed || r.away || r.orphaned[l.edge.instance] > l.edge.logSize {
		return
	}
	t := r.topics[l.topic]
	for l.unsent != nil && l.flying < laneWindow {
		fr := l.unsent
		if fr.answered { // one before it was not
			l.unsent = fr.behind
			continue
		}
		if fr.finished { // its echo was heard
			l.remove(fr)
			continue
		}
		if !fr.ready {
			break
		}
		if fr.joins() && !l.placed(t) || !r.pace.take(r, l.topic, t) {
			r.stall(l)
			break
		}
		p := broker.Publish{
			Token:    r.token(),
			Topic:    l.topic,
			From:     fr.session.user,
			Msg:      fr.msg(),
			Instance: l.edge.instance,
			Number:   fr.number,
			Floor:    max(l.edge.numbers.through, l.done),
			Known:    l.known,
		}
		if fr.before != nil {
			p.Predecessor = fr.before.number
		}
		if t != nil && p.Known.Before(t.known()) {
			p.Known = t.known()
		}
		r.publishes[p.Token] = fr
		fr.flying = true
		l.unsent = fr.behind
		l.flying++
		r.brk.Publish(p)
	}
	r.trim(l)
	if l.first == nil && l.flying == 0 && l.edge.lanes[l.topic] == l {
		delete(l.edge.lanes, l.topic)
		r.unstall(l)
	}
}

// placed reports whether the edge's members of t, the lane's topic, have their place, or there is nobody who needs one: an acknowledgement of a join comes behind
// that. t may be nil.
func (l *lane) placed(t *topic) bool {
	if t == nil {
		return true
	}
	f := t.find(l.edge)
	return t.subscribed && (f == nil || !f.seeking)
}

// published takes the broker's answer to a publish.
func (r *Router) published(ev broker.Published) {
	fr := r.publishes[ev.Token]
	delete(r.publishes, ev.Token)
	if fr == nil {
		return
	}
	fr.flying = false
	if fr.forgotten {
		r.orphanAnswered(fr)
		return
	}
	l := fr.lane
	l.flying--
	r.m.published(ev.Outcome)
	switch ev.Outcome {
	case broker.Done, broker.Duplicate:
		fr.answered, fr.at = true, ev.Position
		l.done = max(l.done, fr.number)
		if l.known.Before(ev.Position) {
			l.known = ev.Position
		}
		l.backoff = 0
		t := r.topics[fr.topic]
		if fr.notice() && t != nil {
			n := r.recently(t)
			n.answered = append(n.answered, fr)
		} else {
			r.finish(fr)
		}
		if t != nil {
			r.saidAt(t, ev.Position)
		}
		r.trim(l)
		if t != nil {
			r.completeAnswered(t)
		}
	default:
		if ev.Err != nil && !r.away && l.backoff == 0 {
			r.log.Warn("publish failed; it will be repeated", "topic", l.topic, "error", ev.Err)
		}
		l.failed = true
	}
	if l.failed {
		if l.flying == 0 {
			r.restart(l)
		}
		return
	}
	r.runLane(l)
}

// orphanAnswered takes note of the answer to a frame of an earlier link. The lanes go on when few enough are left: an edge that links again and again to a relay whose broker is slow
// does not fill its queues.
func (r *Router) orphanAnswered(fr *frame) {
	instance := fr.session.edge.instance
	had := r.orphaned[instance]
	left := had - fr.size
	if r.orphaned[instance] = left; left == 0 {
		delete(r.orphaned, instance)
	}
	if e := r.edges[instance]; e != nil && had > e.logSize && left <= e.logSize {
		for _, l := range e.inOrder() {
			r.runLane(l)
		}
	}
}

// trim takes out what a lane begins with and is published.
func (r *Router) trim(l *lane) {
	for l.first != nil && l.first.answered {
		if t := r.topics[l.topic]; t != nil {
			r.noteUnheard(t, l.first, l.first != l.ungiven)
		}
		l.remove(l.first)
	}
}

// restart begins again at a lane's first unpublished frame, after a pause.
func (r *Router) restart(l *lane) {
	l.unsent = l.first
	l.backoff = min(max(l.backoff*2, retryFirst), retryMost)
	r.after(l.backoff, func() {
		l.failed = false
		r.runLane(l)
	})
}
