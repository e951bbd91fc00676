package router

import (
	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// frameCost is what each unfinished message counts besides its payload.
const frameCost = 64

// frame is a numbered frame of an edge between its arrival and its finish.
type frame struct {
	number  uint64
	size    uint64
	session *session
	end     bool             // the session's end; else a command
	command protocol.Command // if err is nil
	err     error            // what the client is told instead
	topic   protocol.Topic   // what it publishes to, if anything

	lane      *lane             // while it waits there,
	before    *frame            // behind that one,
	behind    *frame            // and before that one
	ready     bool              // judged: may be published
	awaited   bool              // a notice whose echo is awaited
	granted   bool              // in effect before it is published: there is nothing to judge, to bind or to answer any more
	flying    bool              // given to the broker, not answered
	answered  bool              // Published came, and it is published
	at        protocol.Position // where, once answered
	finished  bool
	forgotten bool // its edge sends it again on another link: events for this one are ignored
}

// notice reports whether the frame's effect is at the echo of what it publishes.
func (fr *frame) notice() bool {
	return fr.err == nil && !fr.end && !fr.granted && (fr.command.Kind == protocol.KindJoin || fr.command.Kind == protocol.KindLeave)
}

// joins reports whether the frame publishes a notice whose echo has a meaning here: a member's place. Its topic has to be subscribed first.
func (fr *frame) joins() bool {
	return fr.notice() || fr.granted && fr.command.Kind == protocol.KindJoin
}

// frame takes one frame from a link.
func (r *Router) frame(e *edge, f any) *violation {
	switch f := f.(type) {
	case link.Session, link.Held:
		return r.tell(e, f)
	case link.Synced:
		return r.synced(e, f)
	case link.Message:
		return r.arrive(e, f)
	case link.End:
		return r.arriveEnd(e, f)
	case link.Moved:
		return r.moved(e)
	}
	return &violation{link.CodeProtocol, "a frame that edges do not send"}
}

// arrive takes a message: it is parsed now, and judged now or when the frames of its session that it waits for are done.
func (r *Router) arrive(e *edge, m link.Message) *violation {
	fr, v := r.admit(e, m.Number, m.Session, uint64(len(m.Payload))+frameCost)
	if fr == nil {
		return v
	}
	fr.parse(m.Payload)
	fr.granted = m.Again && fr.err == nil
	r.m.command(fr)
	r.await(fr)
	return nil
}

// arriveEnd takes the end of a session. Ends are bounded by the sessions.
func (r *Router) arriveEnd(e *edge, end link.End) *violation {
	fr, v := r.admit(e, end.Number, end.Session, 0)
	if fr == nil {
		return v
	}
	if fr.session.ending {
		return &violation{link.CodeProtocol, "a session ends twice"}
	}
	fr.end, fr.session.ending = true, true
	r.await(fr)
	return nil
}

// admit takes a numbered frame into the edge's tables. None: there is nothing to do with it, or it is a violation.
func (r *Router) admit(e *edge, number, sid, size uint64) (*frame, *violation) {
	if r.stopping {
		return nil, nil // not acknowledged: another relay gets it
	}
	if !e.ready {
		return nil, &violation{link.CodeProtocol, "a numbered frame before Synced"}
	}
	skipped := e.numbers.arrived + 1
	if !e.numbers.arrive(number) {
		return nil, &violation{link.CodeProtocol, "a number out of order"}
	}
	e.passedOver(skipped, number)
	r.touch(e)
	s := e.sessions[sid]
	if s == nil {
		r.m.dropped("unknown_session", 1)
		e.numbers.finish(number, number)
		return nil, nil
	}
	fr := &frame{number: number, session: s, size: size}
	if e.bytes += fr.size; e.bytes > e.logSize+e.logSize/4+protocol.MaxMsg {
		return nil, &violation{link.CodeLimit, "more unfinished frames than its log holds"}
	}
	e.frames[number] = fr
	s.unfinished++
	return fr, nil
}

// await judges a frame, or parks it behind the one that its session waits for.
func (r *Router) await(fr *frame) {
	s := fr.session
	if s.talks().waiting == nil {
		r.judge(fr)
		return
	}
	s.talk.parked = append(s.talk.parked, fr)
	if fr.topic != "" {
		r.enlane(fr)
	}
}

// parse reads the command and finds the topic that it publishes to.
func (fr *frame) parse(payload []byte) {
	s := fr.session
	fr.command, fr.err = protocol.ParseCommand(s.endpoint, s.talks().group, payload)
	if fr.err == nil {
		fr.topic = fr.command.Topic()
	}
}

// msg is what the frame publishes.
func (fr *frame) msg() string {
	switch c := &fr.command; {
	case c.Msg != "": // of notices too, from the first time on
	case c.Kind == protocol.KindJoin:
		c.Msg = protocol.JoinText(fr.session.user, c.Target)
	case c.Kind == protocol.KindLeave:
		c.Msg = protocol.LeaveText(fr.session.user, c.Target)
	}
	return fr.command.Msg
}

// judge decides a frame whose turn it is in its session: it is answered, published, or waits for the broker's word.
func (r *Router) judge(fr *frame) {
	s := fr.session
	switch {
	case fr.end:
		r.removeSession(s)
		if s.unfinished > 1 {
			s.speak().end = fr // the edge tells the session until then, so that a replay of what it said makes sense
			return
		}
		r.finish(fr)
	case fr.err != nil:
		r.answer(fr, fr.err.Error())
		r.finish(fr)
	case fr.granted:
		r.ready(fr)
	case fr.command.Kind == protocol.KindJoin:
		r.join(fr)
	case fr.command.Kind == protocol.KindLeave && !r.bound(s, fr.topic),
		fr.command.Kind == protocol.KindGroup && !r.memberOf(s, fr.topic):
		r.nonMember(fr)
	case fr.command.Kind == protocol.KindLeave:
		r.awaitEcho(fr)
	case fr.command.Kind == protocol.KindOne && !r.mayAddress(fr):
	default:
		r.ready(fr)
	}
}

// memberOf reports whether s may send to a group: a /chat/group session is a member of its own from its connect on.
func (r *Router) memberOf(s *session, t protocol.Topic) bool {
	return r.bound(s, t) || s.endpoint == protocol.EndpointGroup && protocol.GroupTopic(s.talks().group) == t
}

// answer sends a client the answer to its frame. The edge passes it on once.
func (r *Router) answer(fr *frame, text string) {
	r.send(fr.session.edge, link.Answer{Number: fr.number, Session: fr.session.id, Text: []byte(text)}.Append)
}

// finish notes that a frame needs nothing any more. It is acknowledged behind what this step sends.
func (r *Router) finish(fr *frame) {
	if fr.finished {
		return
	}
	fr.finished = true
	e := fr.session.edge
	if fr.forgotten {
		return
	}
	delete(e.frames, fr.number)
	e.bytes -= fr.size
	e.numbers.finish(fr.number, fr.number)
	r.touch(e)
	s := fr.session
	if fr.command.Kind == protocol.KindGroup {
		t := s.speak()
		t.said = max(t.said, fr.number)
	}
	if s.unfinished--; s.unfinished == 1 && s.talks().end != nil {
		r.finish(s.talk.end)
	}
}

// done finishes the frame that its session waited for, and lets the parked ones go on.
func (r *Router) done(fr *frame) {
	r.finish(fr)
	r.release(fr)
}

// release lets the frames go on that are parked behind fr. One of them that is done with at once, and so comes here, leaves those behind it to the loop that judged it.
func (r *Router) release(fr *frame) {
	s := fr.session
	t := s.talks()
	if t.waiting != fr {
		return
	}
	t.waiting = nil
	if t.releasing {
		return
	}
	t.releasing = true
	for t.waiting == nil && len(t.parked) > 0 {
		next := t.parked[0]
		t.parked = t.parked[1:]
		r.judge(next)
	}
	t.releasing = false
	if len(t.parked) == 0 {
		t.parked = nil
	}
	s.rest()
}

// void forgets all unfinished frames of an edge: it sends them again, or is gone.
func (r *Router) void(e *edge) {
	for _, fr := range e.frames {
		fr.forgotten = true
		if t := r.topics[fr.topic]; t != nil && fr.notice() {
			t.forgetNotice(fr)
			r.rest(t)
		}
		if t := fr.session.talk; t != nil {
			t.waiting, t.parked = nil, nil
		}
	}
	for _, f := range e.followers {
		if f.waits != nil {
			f.waits.notices = 0
		}
		if g := f.lag(); g != nil {
			g.echoes = nil
		}
		f.rest()
	}
	for _, l := range e.lanes {
		t := r.topics[l.topic]
		for l.first != nil { // its timer may still come, and finds nothing
			fr := l.first
			l.remove(fr)
			fr.forgotten = true // those too whose echo was heard before their answer
			if fr.flying {
				r.orphaned[e.instance] += fr.size
			}
			if t != nil && fr.answered && !t.heard(fr) {
				r.recently(t).unheard.blurred = true // it has no place among those that come again
			}
		}
		r.unstall(l)
	}
	e.frames = make(map[uint64]*frame)
	e.lanes = make(map[protocol.Topic]*lane)
	e.bytes = 0
}
