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

// giveAhead gives on what stands ready in a lane and was not given since the broker is away.
func (r *Router) giveAhead(l *lane) {
	if !r.away || !l.edge.whole {
		return
	}
	for l.given < len(l.entries) {
		fr := l.entries[l.given]
		if !fr.ready {
			return
		}
		l.given++ // before: what was parked behind fr may come here too
		if !fr.finished && !r.giveFrame(fr) {
			l.given--
			return
		}
	}
}

// giveFrame puts one frame in effect. False: it cannot be now.
func (r *Router) giveFrame(fr *frame) bool {
	e := fr.session.edge
	t := r.topics[fr.topic]
	if t == nil {
		return true // nobody is here to be given it
	}
	if !t.level() {
		return false
	}
	notice := fr.notice()
	f := e.followers[fr.topic]
	if notice && f.isBehind && f.bound > 0 {
		return false // what came before it comes first; see caughtUp
	}
	ahead := link.Ahead{
		Topic:   t.number,
		ID:      protocol.BriefID(e.instance, fr.number),
		Payload: protocol.AppendText(nil, t.name, fr.session.user, fr.msg()),
	}
	if !t.name.IsUser() {
		ahead.Except = fr.session.user
	}
	bytes := ahead.Append(nil)
	r.tails.add(r, t, protocol.Position{}, bytes, true)
	r.m.ahead.Inc()
	for _, f := range t.followers {
		r.deliver(f, protocol.Position{}, bytes)
	}
	if notice {
		r.takeEffect(fr, f)
	} else if !fr.granted {
		fr.granted = true
		r.send(e, link.Granted{First: fr.number, Last: fr.number}.Append)
	}
	return true
}

// takeEffect makes a join or a leave take effect, and answers it, before its notice is published. From then on that is a publication like any other.
func (r *Router) takeEffect(fr *frame, f *follower) {
	t, s := f.topic, fr.session
	t.notices = without(t.notices, fr)
	f.notices--
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
}

// goAhead begins to give ahead: the broker is away.
func (r *Router) goAhead() {
	for _, e := range r.inOrder() {
		for _, l := range e.inOrder() {
			r.giveAhead(l)
		}
	}
}

// comeBack ends it: what was given ahead is published, and edges that were behind read history.
func (r *Router) comeBack() {
	for _, t := range r.topics {
		if t.tail.ahead > 0 || t.tail.torn {
			r.tails.drop(t)
			t.tail.torn = false
		}
	}
	for _, e := range r.inOrder() {
		for _, l := range e.lanes {
			l.given = 0 // next time all is given again: who was behind has not had it, and others know it by its ID
		}
		if e.ready && e.hearing != 0 {
			r.hearOut(e)
		}
		if e.ready {
			r.advanceAll(e)
		}
	}
}

// level reports whether the topic's top is known to be no less than what was published here.
func (t *topic) level() bool { return !t.top.Before(t.said) }

// begun notes, at an edge's Synced, whether the edge is whole: what it has ever published is known here, so that its next messages can be given ahead without
// another being missing before them. It is so when every number that is not replayed was finished on a link to this relay, or has been heard: what others
// published for it before this link came here before the answer to a Flush.
func (r *Router) begun(e *edge, first uint64) {
	e.whole = first == 1 || e.whole && first <= e.numbers.through+1
	e.before = e.numbers
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

// heardOut is told that what was on its way has come, or that it is not known.
func (r *Router) heardOut(ev broker.Flushed) {
	e := r.hearings[ev.Token]
	delete(r.hearings, ev.Token)
	if e != nil && e.hearing == ev.Token && ev.Heard {
		e.hearing, e.whole, e.before = 0, true, numbers{}
	}
}

// passOver has an edge that has no member of a topic yet know what was given ahead before: its first member is not given that when it is published.
func (r *Router) passOver(f *follower) {
	if f.topic.tail.ahead == 0 {
		return
	}
	for _, item := range f.topic.tail.items {
		if item.ahead {
			f.edge.out = append(f.edge.out, item.bytes...)
		}
	}
	r.touch(f.edge)
}
