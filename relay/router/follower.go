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
	waits    *waits // nil: it waits for nothing
	bound    int32  // members at this edge
	inTopic  uint32 // its place in its topic's crowd, once there is one,
	inEdge   uint32 // and in its edge's followers

	isBehind bool
	unread   bool // in its edge's unread
	numbered bool // the topic's number was told on this link
	awaited  bool // its edge's Live waits for it
	adopted  bool // its edge told it as Unplaced: another relay had it
	seeking  bool // its place is looked for in history, see seekPlace
	gone     bool // dropped
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
			f.position = t.known()
		default:
			f.position = protocol.Unplaced
		}
		f.isBehind = false
		f.edge.removeBehind(f)
		f.rest()
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
	f.rest()
	if f.bound == 0 && !f.opens() && (f.waits == nil || f.waits.notices == 0) {
		r.dropFollower(f)
	}
}

// dropFollower forgets a follower; its topic's subscription ends with the last one, at once.
func (r *Router) dropFollower(f *follower) {
	if f.gone {
		return
	}
	e := f.edge
	end := len(e.followers) - 1
	last := e.followers[end]
	e.followers[f.inEdge], last.inEdge = last, f.inEdge
	e.followers[end] = nil
	e.followers = e.followers[:end]
	e.removeBehind(f)
	f.isBehind = false
	f.rest()
	r.arrived(f)
	f.topic.remove(f)
	r.dropTopic(f.topic)
}

// dropTopic forgets a topic that nobody follows.
func (r *Router) dropTopic(t *topic) {
	if n := t.recent; r.away && n != nil && (n.tail.ahead > 0 || n.tail.torn) {
		return // who comes next is not given that when it is published; see comeBack
	}
	if !t.followed() && r.topics[t.name] == t {
		delete(r.topics, t.name)
		if t.placed && !t.subscribed {
			r.deafened--
		}
		r.tails.drop(t)
		r.forgetUnheard(t)
		delete(r.active, t)
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
		r.fallBehind(f)
		if n, g := f.topic.recent, f.lag(); n != nil { // else it is not in the tail, and comes from history
			g.inTail, g.seq, g.bareFrom = true, n.tail.last(), 0
		}
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
	w := f.wait()
	if w.lag == nil {
		w.lag = &lag{}
	}
	if w.lag.place == 0 {
		e.behind = append(e.behind, f)
		w.lag.place = len(e.behind)
	}
}

// removeBehind fills f's place with the last one.
func (e *edge) removeBehind(f *follower) {
	g := f.lag()
	if g == nil || g.place == 0 {
		return
	}
	end := len(e.behind) - 1
	last := e.behind[end]
	e.behind[g.place-1], last.waits.lag.place = last, g.place
	g.place = 0
	e.behind[end] = nil
	if e.behind = e.behind[:end]; end == 0 {
		e.behind = nil
	}
}

func (e *edge) clearBehind() {
	for _, f := range e.behind {
		f.waits.lag.place = 0
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
	if !f.isBehind || !f.edge.ready || f.lag().reading != 0 || !f.topic.subscribed && !r.away {
		return
	}
	g, tail := f.lag(), &tail{base: f.topic.top}
	if f.topic.recent != nil {
		tail = &f.topic.recent.tail
	}
	if f.seeking {
		if f.topic.subscribed {
			r.read(f)
		}
		return
	}
	if !g.inTail || f.topic.recent == nil || g.seq < tail.first() {
		g.inTail = false
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
		g.inTail, g.bareFrom = true, tail.seek(f.position)
		g.seq = min(g.bareFrom, tail.firstAhead())
	}
	for g.seq <= tail.last() {
		item := tail.at(g.seq)
		if item.id != 0 || item.position.IsZero() && g.seq >= g.bareFrom || f.position.Before(item.position) {
			if !r.room(f.edge, len(item.bytes)) {
				return
			}
			r.sendPublication(f, item.position, item.bytes)
		}
		g.seq++
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
	g := f.lag()
	g.reading, g.target = r.token(), f.topic.top
	if f.topic.recent != nil {
		g.target = f.topic.recent.tail.base
	}
	r.reads[g.reading] = f
	r.brk.ReadHistory(f.topic.name, f.position, g.reading)
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
	f.isBehind = false
	r.stopSeeking(f) // its members left
	f.edge.removeBehind(f)
	var echoes []*frame
	if g := f.lag(); g != nil {
		echoes, g.echoes, g.inTail = g.echoes, nil, false
	}
	f.rest()
	for _, fr := range echoes {
		if fr.notice() { // else it was granted meanwhile
			r.completeNotice(fr)
		}
	}
	r.tryOpeners(f)
	if r.away {
		for _, s := range f.inOrder() {
			r.openAhead(s, s.own()) // its connect came while this was behind
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
	f.edge.reading--
	g := f.lag()
	asked := g != nil && g.reading == ev.Token // else on an earlier link
	if asked {
		g.reading = 0
		f.rest()
	}
	if !asked || !f.isBehind || !f.edge.ready {
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
		bytes := r.encode(f.topic, p)
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
	if target := g.target; !ev.More && f.position.Before(target) {
		// History ends before what is known to have been published: what lay between is gone.
		lost, _ := missing(f.position, target)
		r.gap(f, target, lost+1)
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
