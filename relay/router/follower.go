package router

import (
	"slices"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// follower is one edge's place in one topic: what its members there have been sent. It is live when that is everything, else behind, and
// then on its way: from the tail if that has what comes next, else from history, page by page.
type follower struct {
	topic *topic
	edge  *edge

	position protocol.Position
	seq      uint64 // in the tail: the next item to send, when inTail
	bareFrom uint64 // the first item that is sent if it is bare
	inTail   bool   // seq is exact, bare publications included
	isBehind bool
	place    int               // in its edge's behind, from 1; 0: not there
	reading  uint64            // token of the History asked for; 0: none
	unread   bool              // in its edge's unread
	target   protocol.Position // history is to be read up to here: the tail's base when it was asked for

	numbered bool // the topic's number was told on this link
	bound    int  // members at this edge
	awaited  bool // its edge's Live waits for it
	adopted  bool // its edge told it as Unplaced: another relay had it
	seeking  bool // its place is looked for in history, see seekPlace

	openers map[*session]struct{} // connects that wait to be bound here; nil when empty
	notices int                   // joins and leaves under way: reasons to stay
	waiting []*frame              // joins and leaves whose echo came while behind
}

func (f *follower) live() bool { return !f.isBehind }

// bindable reports whether a session can become a member now: the subscription is in force, and the members of this edge have been sent everything.
func (f *follower) bindable() bool {
	return f.edge.ready && f.topic.subscribed && (f.bound == 0 || !f.isBehind)
}

// enter makes f ready for a member: its first one starts at the topic's top, or, while that may be behind, at what is known from edges and answers. The edge learns the
// topic's number.
func (r *Router) enter(f *follower) {
	first := f.bound == 0
	if first {
		switch t := f.topic; {
		case t.subscribed:
			f.position = t.top
		case t.placed:
			f.position = t.known
		default:
			f.position = protocol.Unplaced
		}
		f.isBehind = false
		f.edge.removeBehind(f)
		r.stopSeeking(f)
		f.numbered = false
	}
	r.number(f)
	if first {
		r.passOver(f)
	}
}

// number tells the edge the topic's number, once a link.
func (r *Router) number(f *follower) {
	if !f.numbered && f.edge.ready {
		f.numbered = true
		r.send(f.edge, link.TopicNumber{ID: f.topic.number, Position: f.position, Topic: f.topic.name}.Append)
	}
}

// dropIfIdle forgets a follower that has no reason to stay. Without members there is nobody who is behind.
func (r *Router) dropIfIdle(f *follower) {
	if f.bound == 0 && f.numbered {
		f.numbered = false
		r.send(f.edge, link.Untopic{ID: f.topic.number}.Append)
	}
	if f.bound == 0 && f.isBehind {
		r.caughtUp(f)
	}
	if f.bound == 0 && len(f.openers) == 0 && f.notices == 0 {
		r.dropFollower(f)
	}
}

// dropFollower forgets a follower; its topic's subscription ends with the last one, at once.
func (r *Router) dropFollower(f *follower) {
	t := f.topic
	if f.edge.followers[t.name] == f {
		delete(f.edge.followers, t.name)
	}
	f.edge.removeBehind(f)
	f.isBehind = false
	r.arrived(f)
	t.followers = without(slices.Clone(t.followers), f) // a copy: somebody may be walking through the old one
	r.dropTopic(t)
}

// dropTopic forgets a topic that nobody follows.
func (r *Router) dropTopic(t *topic) {
	if r.away && (t.tail.ahead > 0 || t.tail.torn) {
		return // who comes next is not given that when it is published; see comeBack
	}
	if len(t.followers) == 0 && r.topics[t.name] == t {
		delete(r.topics, t.name)
		if t.placed && !t.subscribed {
			r.deafened--
		}
		r.tails.drop(t)
		r.forgetUnheard(t)
		r.m.topics.Dec()
		r.brk.Unsubscribe(t.name)
		if !t.subscribed {
			r.runLanes(t.name) // nobody is here for whom they would have to wait
		}
	}
}

// deliver sends a publication to a live follower's edge, or leaves it behind if there is no room.
func (r *Router) deliver(f *follower, at protocol.Position, bytes []byte) {
	if f.isBehind || f.bound == 0 || !f.edge.ready {
		return
	}
	if !at.IsZero() && !f.position.Before(at) {
		return // told by the edge: it came by another relay before
	}
	if !r.room(f.edge, len(bytes)) {
		r.m.behind("full")
		f.inTail, f.seq, f.bareFrom = true, f.topic.tail.last(), 0
		r.fallBehind(f)
		return
	}
	r.sendPublication(f, at, bytes)
}

func (r *Router) sendPublication(f *follower, at protocol.Position, bytes []byte) {
	f.edge.out = append(f.edge.out, bytes...)
	r.touch(f.edge)
	r.m.delivered.Inc()
	if !at.IsZero() {
		f.position = at
	}
}

func (r *Router) fallBehind(f *follower) {
	f.isBehind = true
	f.edge.addBehind(f)
}

func (e *edge) addBehind(f *follower) {
	if f.place == 0 {
		e.behind = append(e.behind, f)
		f.place = len(e.behind)
	}
}

// removeBehind fills f's place with the last one.
func (e *edge) removeBehind(f *follower) {
	if f.place == 0 {
		return
	}
	end := len(e.behind) - 1
	last := e.behind[end]
	e.behind[f.place-1], last.place = last, f.place
	f.place = 0
	e.behind[end] = nil
	e.behind = e.behind[:end]
}

func (e *edge) clearBehind() {
	for _, f := range e.behind {
		f.place = 0
	}
	e.behind = nil
}

// advanceAll goes on with every follower of an edge that is behind.
func (r *Router) advanceAll(e *edge) {
	for _, f := range slices.Clone(e.behind) {
		if !r.room(e, 0) {
			return
		}
		r.advance(f)
	}
	r.readOn(e)
}

// advance brings a follower that is behind as far as it can now: to live, until the edge's buffer is full, or until history has been read.
func (r *Router) advance(f *follower) {
	if !f.isBehind || !f.edge.ready || f.reading != 0 || !f.topic.subscribed && !r.away {
		return
	}
	tail := &f.topic.tail
	if f.seeking {
		if f.topic.subscribed {
			r.read(f)
		}
		return
	}
	if !f.inTail || f.seq < tail.first() {
		f.inTail = false
		switch {
		case f.position.Before(tail.base):
			if f.topic.subscribed {
				r.read(f)
			}
			return
		case r.away && tail.torn, // it may be what it misses
			!f.topic.subscribed && !f.topic.placed && f.position != protocol.Unplaced, // what it misses is not known
			f.position == protocol.Unplaced && f.topic.placed,                         // its members came elsewhere, behind some of what is here
			!f.topic.subscribed && f.topic.top.Before(f.position):                     // they know more than is known here, later messages of those given ahead here among it perhaps
			return
		}
		f.inTail, f.bareFrom = true, tail.seek(f.position)
		f.seq = min(f.bareFrom, tail.firstAhead())
	}
	for f.seq <= tail.last() {
		item := tail.at(f.seq)
		if item.id != 0 || item.position.IsZero() && f.seq >= f.bareFrom || f.position.Before(item.position) {
			if !r.room(f.edge, len(item.bytes)) {
				return
			}
			r.sendPublication(f, item.position, item.bytes)
		}
		f.seq++
	}
	r.caughtUp(f)
}

// read asks for a page of history, when it is f's turn: what is asked for at once is thrown away when the link has no room.
func (r *Router) read(f *follower) {
	e := f.edge
	if e.reading >= readsAtOnce {
		if !f.unread {
			f.unread = true
			e.unread = append(e.unread, f)
		}
		return
	}
	e.reading++
	f.reading, f.target = r.token(), f.topic.tail.base
	r.reads[f.reading] = f
	r.brk.ReadHistory(f.topic.name, f.position, f.reading)
}

// readOn lets those read whose turn has come.
func (r *Router) readOn(e *edge) {
	for e.reading < readsAtOnce && len(e.unread) > 0 {
		f := e.unread[0]
		e.unread = e.unread[1:]
		f.unread = false
		r.advance(f)
	}
}

// caughtUp makes a follower live: what waited for it goes on.
func (r *Router) caughtUp(f *follower) {
	f.isBehind, f.inTail = false, false
	r.stopSeeking(f) // its members left
	f.edge.removeBehind(f)
	waiting := f.waiting
	f.waiting = nil
	for _, fr := range waiting {
		if fr.notice() { // else it was granted meanwhile
			r.completeNotice(fr)
		}
	}
	r.tryOpeners(f)
	if r.away {
		for _, s := range f.inOrder() {
			r.openAhead(s) // its connect came while this was behind
		}
	}
	r.arrived(f)
	if l := f.edge.lanes[f.topic.name]; l != nil {
		r.giveAhead(l) // its joins and leaves waited for this
	}
}

// history takes a page: it is sent, a hole in it is told.
func (r *Router) history(ev broker.History) {
	f := r.reads[ev.Token]
	if f == nil {
		return
	}
	delete(r.reads, ev.Token)
	f.reading = 0
	f.edge.reading--
	if !f.isBehind || !f.edge.ready {
		r.readOn(f.edge)
		return
	}
	if ev.Err != nil {
		r.after(askAgainAfter, func() {
			r.advance(f)
			r.readOn(f.edge)
		})
		return
	}
	if f.seeking && !r.seekPlace(f, ev) {
		return
	}
	for _, p := range ev.Publications {
		if !f.position.Before(p.Position) {
			continue
		}
		bytes := f.topic.encode(p)
		if !r.room(f.edge, len(bytes)) {
			return // Writable goes on
		}
		if lost, hole := missed(f.position, p); hole {
			before := p.Position
			before.Offset--
			r.gap(f, before, lost)
		}
		r.m.fromHistory.Inc()
		r.sendPublication(f, p.Position, bytes)
	}
	if f.position.Before(ev.Through) {
		// What the page ends with cannot be had.
		lost, _ := missing(f.position, ev.Through)
		r.gap(f, ev.Through, lost+1)
	}
	if !ev.More && f.position.Before(f.target) {
		// History ends before what is known to have been published: what lay between is gone.
		lost, _ := missing(f.position, f.target)
		r.gap(f, f.target, lost+1)
	}
	r.advance(f)
	r.readOn(f.edge)
}

// gap tells a follower's members that messages were lost to them.
func (r *Router) gap(f *follower, at protocol.Position, lost uint64) {
	r.m.gaps.Inc()
	r.m.lost.Add(float64(lost))
	r.log.Warn("messages lost to the members of a topic on an edge", "topic", f.topic.name, "node", f.edge.node, "lost", lost)
	f.position = at
	r.number(f)
	r.send(f.edge, link.Gap{Topic: f.topic.number, Position: at, Lost: lost, Text: []byte(protocol.LostText(f.topic.name))}.Append)
}
