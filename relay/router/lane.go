package router

import (
	"bytes"
	"maps"
	"slices"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// lane holds the frames by which one edge is to publish to one topic, in number order.
//
// For each topic and each instance the broker keeps a mark, which is a single number. The broker
// assumes that all frames of the lane up to that number are published. So a frame must not be
// published before a frame of its lane that has a lower number. Each publish therefore names the
// frame before it in the lane, if there is one. If that frame was not published, the broker refuses
// the publish. After a failure the lane waits until none of its frames is in flight. Then the lane
// pauses, and starts again at its first unpublished frame.
type lane struct {
	edge  *edge
	topic protocol.Topic

	entries
	waking  bool   // listed in outage.waking, and its turn there has not come
	stalled bool   // listed in Router.stalled
	paced   bool   // listed in topicRates.waiting, and its turn there has not come
	flying  int    // number of frames that were given to the broker and are not answered
	done    uint64 // highest number that the broker answered as published
	known   protocol.Position

	failed  bool // a publish failed, and the pause is not over
	backoff time.Duration
}

// enlane appends a frame to the lane of its edge and topic. The frame's number must be above all
// numbers in the lane.
func (r *Router) enlane(fr *frame) {
	e := fr.session.edge
	l := e.inbox.lanes[fr.topic()]
	if l == nil {
		l = &lane{edge: e, topic: fr.topic()}
		e.inbox.lanes[fr.topic()] = l
	}
	fr.lane = l
	l.add(fr)
}

// leaveLane takes out a frame that will not be published, and lets the frames after it go on.
func (r *Router) leaveLane(fr *frame) {
	l := fr.lane
	if l == nil {
		return
	}
	fr.lane = nil
	l.remove(fr) // fr was not ready, so it was neither sent nor given ahead
	r.runLane(l)
	r.giveAhead(l)
}

// ready allows a frame to be published when its turn in its lane comes.
func (r *Router) ready(fr *frame) {
	if fr.lane == nil {
		r.enlane(fr)
	}
	fr.stage = stageReady
	r.runLane(fr.lane)
	r.giveAhead(fr.lane)
	if r.outage.away {
		r.grantAnswered(fr)
	}
}

// runLane gives the broker the frames of a lane that can be published now.
func (r *Router) runLane(l *lane) {
	if l.failed || r.outage.away || r.requests.orphaned[l.edge.instance] > l.edge.inbox.logSize {
		return
	}
	t := r.directory.topics[l.topic]
	for l.unsent != nil && l.flying < laneWindow {
		fr := l.unsent
		if fr.stage == stageAnswered { // fr was published before the lane was restarted
			l.unsent = fr.next
			continue
		}
		if fr.effect == effectFinished { // an echo has shown that fr is published
			l.remove(fr)
			continue
		}
		if fr.stage < stageReady {
			break
		}
		if !r.mayPublish(l) {
			break
		}
		if fr.joins() && !l.placed(t) || t.awaitsPlace() || !r.outage.pace.take(r, l.topic, t) {
			r.stall(l)
			break
		}
		p := broker.Publish{
			Token:    r.requests.token(),
			Topic:    l.topic,
			Content:  r.content(fr),
			Instance: l.edge.instance,
			Number:   fr.number,
			Floor:    max(l.edge.inbox.numbers.through, l.done),
			Known:    l.known,
		}
		if fr.prev != nil {
			p.Predecessor = fr.prev.number
		}
		if t != nil && p.Known.Before(t.known()) {
			p.Known = t.known()
		}
		r.requests.publishes[p.Token] = fr
		fr.stage = stageFlying
		if fr.sent == 0 {
			fr.sent = r.outage.moment + 1
		}
		l.unsent = fr.next
		l.flying++
		r.spend(l.topic, p.Size())
		r.brk.Publish(p)
	}
	r.trim(l)
	if l.first == nil && l.flying == 0 && l.edge.inbox.lanes[l.topic] == l {
		delete(l.edge.inbox.lanes, l.topic)
		r.unstall(l)
	}
}

// awaitsPlace reports whether publishing to t has to wait until t is subscribed for the first time.
// In an outage a client of an SDK may become a member before t has a position. That client must get
// everything that is published from then on. But its membership will begin where the topic ends
// when t is subscribed. So the client would miss the messages that are published before t is
// subscribed. The receiver may be nil.
func (t *topic) awaitsPlace() bool { return t != nil && !t.placed && t.clients > 0 }

// placed reports whether l may publish a frame for which frame.joins returns true. The parameter t
// is the topic of l. A join must not be acknowledged before the edge's members of t have their
// position. If nobody follows the topic, t is nil, and no position is needed.
func (l *lane) placed(t *topic) bool {
	if t == nil {
		return true
	}
	f := t.find(l.edge)
	return t.subscribed && (f == nil || !f.seeking)
}

// published takes the broker's answer to a publish.
func (r *Router) published(ev broker.Published) {
	fr := r.requests.publishes[ev.Token]
	delete(r.requests.publishes, ev.Token)
	if fr == nil {
		return
	}
	fr.stage = stageReady
	if fr.effect == effectForgotten {
		r.orphanAnswered(fr)
		return
	}
	l := fr.lane
	l.flying--
	r.m.published(ev.Outcome)
	switch ev.Outcome {
	case broker.Done, broker.Duplicate:
		fr.stage, fr.at = stageAnswered, ev.Position
		l.done = max(l.done, fr.number)
		if l.known.Before(ev.Position) {
			l.known = ev.Position
		}
		l.backoff = 0
		t := r.directory.topics[fr.topic()]
		if fr.notice() && t != nil {
			n := r.recently(t)
			n.answered = append(n.answered, fr)
		} else if ev.Outcome == broker.Duplicate && fr.doubtful() {
			r.doubt(fr)
		} else {
			r.finishPublished(fr)
		}
		if t != nil {
			r.saidAt(t, ev.Position)
		}
		r.trim(l)
		if t != nil {
			r.completeAnswered(t)
		}
	default:
		if ev.Err != nil && !r.outage.away && l.backoff == 0 {
			r.cfg.Log.Warn("publish failed; it will be repeated", "topic", l.topic, "err", ev.Err)
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

// orphanAnswered handles the broker's answer to a frame that came on an earlier link. When an edge
// links again, frames of its earlier links may still be in flight. While these take more bytes than
// the edge's log may hold, the edge's lanes wait. Otherwise an edge that links again and again
// would fill the queues of a slow broker. If the answer brings these frames back to the bound, the
// lanes go on.
func (r *Router) orphanAnswered(fr *frame) {
	had, left := r.requests.unorphan(fr)
	if e := r.directory.edges[fr.session.edge.instance]; e != nil && had > e.inbox.logSize && left <= e.inbox.logSize {
		for _, l := range e.lanesInOrder() {
			r.runLane(l)
		}
	}
}

// trim removes the published frames at the head of a lane.
func (r *Router) trim(l *lane) {
	for l.first != nil && l.first.stage == stageAnswered {
		if t := r.directory.topics[l.topic]; t != nil {
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

// lanesInOrder returns the lanes of an edge in the order of their topics.
func (e *edge) lanesInOrder() []*lane {
	lanes := make([]*lane, 0, len(e.inbox.lanes))
	for _, name := range slices.Sorted(maps.Keys(e.inbox.lanes)) {
		lanes = append(lanes, e.inbox.lanes[name])
	}
	return lanes
}

// entries is a linked list of a lane's frames, in number order. Any frame can leave it in constant
// time.
type entries struct {
	first, last *frame
	unsent      *frame // first frame to give to the broker; nil: none
	ungiven     *frame // first frame to give ahead in an outage; nil: none
	bytes       uint64 // sum of frame.size
}

// add puts a frame at the end.
func (es *entries) add(fr *frame) {
	es.bytes += fr.size
	if fr.prev = es.last; es.last != nil {
		es.last.next = fr
	} else {
		es.first = fr
	}
	es.last = fr
	if es.unsent == nil {
		es.unsent = fr
	}
	if es.ungiven == nil {
		es.ungiven = fr
	}
}

// remove takes a frame out and clears its prev and next, so that it keeps no other frame alive.
func (es *entries) remove(fr *frame) {
	es.bytes -= fr.size
	prev, next := fr.prev, fr.next
	fr.prev, fr.next = nil, nil
	if prev != nil {
		prev.next = next
	} else {
		es.first = next
	}
	if next != nil {
		next.prev = prev
	} else {
		es.last = prev
	}
	if es.unsent == fr {
		es.unsent = next
	}
	if es.ungiven == fr {
		es.ungiven = next
	}
}

// stall lists a lane in Router.stalled. The lane waits for a change of its topic, such as a
// confirmed subscription, or for the end of pacing. After a change of a topic, runLanes or
// wakeAhead tries the topic's stalled lanes. At the end of pacing all lanes are run, see
// pace.begin.
func (r *Router) stall(l *lane) {
	if !l.stalled {
		l.stalled = true
		r.stalled[l.topic] = append(r.stalled[l.topic], l)
	}
}

// unstall removes a lane from Router.stalled, if it is there.
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

// resumed removes all lanes to a topic from Router.stalled. It returns them in the order of their
// edges' instances, so that equal inputs give equal outputs.
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

// runLanes runs the stalled lanes to a topic. While the broker is away it does nothing:
// Router.state runs the lanes when the broker is back.
func (r *Router) runLanes(t protocol.Topic) {
	if r.outage.away {
		return
	}
	for _, l := range r.resumed(t) {
		r.runLane(l)
	}
}
