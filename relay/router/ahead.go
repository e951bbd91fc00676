package router

import (
	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// While the broker is away this relay gives what its edges' clients say to its own edges, ahead of its publication, in its own order. Numbers are not finished by
// that: the frames wait in their lanes, and at the edges in the logs. What an edge was given ahead it knows by its ID, and drops when it is published.
//
// The order of one connection's messages to one topic holds through it all, since a message is given ahead only where nothing can be missing before it:
//   - of an edge that is whole: what it has ever published is known here, see edge.whole;
//   - on a topic that is level: every publication that was made here has come back, see topic.level;
//   - in the order of its lane, from the lane's first frame;
//   - to edges that are not behind on the topic, and in the order of the topic's tail, which keeps all that was given ahead.

// giveAhead gives on what stands ready in a lane and was not given since the broker is away. What that makes ready elsewhere is given on behind it, not within it: such
// a chain may be as long as the logs are.
func (r *Router) giveAhead(l *lane) {
	if !r.away || l.waking {
		return
	}
	l.waking = true
	r.waking = append(r.waking, l)
	if len(r.waking) > 1 {
		return // the caller that has the first one goes on with it
	}
	for i := 0; i < len(r.waking); i++ {
		r.waking[i].waking = false
		r.giveLane(r.waking[i])
	}
	clear(r.waking)
	r.waking = r.waking[:0]
}

// giveLane is giveAhead's for one lane.
func (r *Router) giveLane(l *lane) {
	for l.edge.whole && l.ungiven != nil && l.ungiven.ready {
		fr := l.ungiven
		l.ungiven = fr.behind // before: what was parked behind fr may come here too
		if !r.giveFrame(fr) {
			l.ungiven = fr
			r.stall(l)
			return
		}
	}
}

// giveFrame puts one frame in effect. False: it cannot be now.
func (r *Router) giveFrame(fr *frame) bool {
	e := fr.session.edge
	t := r.topics[fr.topic]
	if t == nil || !t.level() {
		return false // nobody is here to be given it; or something may be missing before it
	}
	if t.heard(fr) {
		return true
	}
	if fr.finished { // its echo was heard before the answer came, or is yet to come
		if fr.answered {
			r.spread(t, fr)
		}
		return true
	}
	f := t.find(e)
	if fr.notice() && f.isBehind && f.bound > 0 {
		return false // what came before it comes first; see caughtUp
	}
	r.spread(t, fr)
	if fr.notice() {
		r.takeEffect(fr, f)
	} else if !fr.granted {
		fr.granted = true
		r.send(e, link.Granted{First: fr.number, Last: fr.number}.Append)
	}
	return true
}

// spread sends a frame's message to all who can be given it.
func (r *Router) spread(t *topic, fr *frame) {
	ahead := link.Ahead{
		Topic: t.number,
		ID:    protocol.BriefID(fr.session.edge.instance, fr.number),
	}
	r.text = protocol.AppendText(r.text[:0], t.name, fr.session.user, fr.msg())
	ahead.Payload = r.text
	if !t.name.IsUser() {
		ahead.Except = fr.session.user
	}
	bytes := ahead.Append(nil)
	r.tails.add(r, t, tailItem{id: ahead.ID, bytes: bytes})
	r.m.ahead.Inc()
	for f := range t.all {
		r.deliver(f, protocol.Position{}, bytes)
	}
}

// takeEffect makes a join or a leave take effect, and answers it, before its notice is published. From then on that is a publication like any other.
func (r *Router) takeEffect(fr *frame, f *follower) {
	t, s := f.topic, fr.session
	t.forgetNotice(fr)
	f.noticed(-1)
	if fr.command.Kind == protocol.KindJoin {
		r.enter(f)
		r.bind(s, f)
		r.send(s.edge, link.Joined{
			Number: fr.number, Session: s.id, Topic: t.number, Granted: true, Text: []byte(fr.msg()),
		}.Append)
	} else {
		r.tellFinished(s)
		r.number(f)
		r.send(s.edge, link.Left{
			Number: fr.number, Session: s.id, Topic: t.number, Granted: true, Text: []byte(fr.msg()),
		}.Append)
		r.unbind(s, f)
	}
	fr.granted = true
	if fr.answered {
		r.finish(fr)
	}
	r.dropIfIdle(f)
	r.release(fr)
	r.wakeAhead(t.name) // somebody is here now
}

// goAhead begins to give ahead: the broker is away.
func (r *Router) goAhead() {
	r.giveAllUnheard()
	for _, e := range r.inOrder() {
		for _, l := range e.inOrder() {
			r.giveAhead(l)
		}
	}
}

// comeBack ends it: what was given ahead is published, and edges that were behind read history.
func (r *Router) comeBack() {
	for _, t := range r.activeInOrder(func(n *recent) bool { return n.tail.ahead > 0 || n.tail.torn || n.unheard.given > 0 }) {
		r.tails.drop(t)
		t.recent.tail.torn = false
		t.recent.unheard.given = 0
		r.dropTopic(t)
		r.rest(t)
	}
	for _, e := range r.inOrder() {
		e.passed = nil
		for _, l := range e.lanes {
			l.ungiven = l.first // next time all is given again: who was behind has not had it, and others know it by its ID
		}
		if e.ready && e.hearing != 0 {
			r.hearOut(e)
		}
		if e.ready {
			r.advanceAll(e)
		}
	}
}

// begun notes, at an edge's Synced, whether the edge is whole: what it has ever published is known here, so that its next messages can be given ahead without
// another being missing before them. It is so when every number that is not replayed was finished on a link to this relay, or has been heard: what others
// published for it before this link came here before the answer to a Flush.
func (r *Router) begun(e *edge, first uint64) {
	e.before = numbers{}
	if e.whole { // else some of them were finished elsewhere
		e.before = e.numbers
	}
	e.whole = first == 1 || e.whole && first <= e.numbers.through+1
	e.acked = first - 1
	r.hearOut(e)
}

// passedOver is told that an edge's replay went from one number to another: those between were finished before.
func (e *edge) passedOver(first, next uint64) {
	if e.hearing != 0 && first < next && !e.before.finished(first, next-1) {
		e.whole = false
	}
}

// hearOut asks for what was published for an edge before this link.
func (r *Router) hearOut(e *edge) {
	e.hearing = r.token()
	r.hearings[e.hearing] = e
	r.brk.Flush(e.hearing)
}

// heardOut is told that what was on its way has come, or that it is not known. A topic that was deaf then was not heard out.
func (r *Router) heardOut(ev broker.Flushed) {
	e := r.hearings[ev.Token]
	delete(r.hearings, ev.Token)
	switch {
	case e == nil || e.hearing != ev.Token:
	case ev.Heard && r.deafened == 0:
		e.hearing, e.whole, e.before = 0, true, numbers{}
		if r.away {
			r.giveAllUnheard() // its own were left out
		}
		for _, l := range e.inOrder() {
			r.giveAhead(l)
		}
	case ev.Heard || !r.away: // else comeBack asks again
		r.after(askAgainAfter, func() {
			if e.hearing == ev.Token && e.ready {
				r.hearOut(e)
			}
		})
	}
}

// wakeAhead looks again at the lanes to a topic, about which something became known.
func (r *Router) wakeAhead(t protocol.Topic) {
	if !r.away {
		return
	}
	for _, l := range r.resumed(t) {
		r.giveAhead(l)
	}
}

// passOver has an edge that has no member of a topic yet know what was given ahead before, by its ID: its first member is not given that when it is published.
// It does so once.
func (r *Router) passOver(f *follower) {
	e := f.edge
	if f.topic.recent == nil || f.topic.recent.tail.ahead == 0 {
		return
	}
	tail := &f.topic.recent.tail
	from := max(tail.first(), e.passed[f.topic.name]+1)
	for seq := from; seq <= tail.last(); seq++ {
		if item := tail.at(seq); item.id != 0 {
			e.out = link.Ahead{Topic: f.topic.number, ID: item.id}.Append(e.out)
		}
	}
	if e.passed == nil {
		e.passed = make(map[protocol.Topic]uint64)
	}
	e.passed[f.topic.name] = tail.last()
	r.touch(e)
}
