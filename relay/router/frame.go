package router

import (
	"slices"

	"github.com/edgerelay/edgerelay/relay/router/dialect"
	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// frameCost is the size of an unfinished message beyond its payload, in bytes.
const frameCost = 64

// frame is a numbered frame of an edge: a client's command, or the end of a session. A frame is
// unfinished from its arrival until its number is finished. A published frame may be kept for
// longer, until its echo has come.
type frame struct {
	number  uint64
	size    uint64
	session *session
	origin
	command dialect.Command

	lane  *lane             // the lane that it was put into; nil: none
	prev  *frame            // previous frame in the lane or in waits; nil: none
	next  *frame            // next frame in the lane or in waits; nil: none
	waits *binders          // the list in which it waits to bind its session; nil: none
	at    protocol.Position // the position of its publication, or a later one; zero: unknown

	end     bool // true: the session's end; false: a command
	held    bool // later frames of its session may wait for it
	late    bool // a Bind that has waited for bindWait, or a Confirm that has for placeWait
	doubted bool // it is being looked up, see lookup.go
	stage   frameStage
	effect  frameEffect
}

// A frame's stage says how far the frame's publication has come. A frame's effect says how far the
// frame has taken effect for its session. A frame may take effect before the broker has answered: a
// notice may be heard earlier, and a granted frame is published later.

// frameStage says how far a frame's publication has come. A failure leads from stageFlying back to
// stageReady.
type frameStage uint8

const (
	stageWaiting  frameStage = iota // not ready to be published
	stageReady                      // may be published
	stageFlying                     // given to the broker, not answered
	stageAnswered                   // published, according to the broker's answer
)

// frameEffect says how far a frame has taken effect for its session.
type frameEffect uint8

const (
	effectNone      frameEffect = iota
	effectAwaited               // a notice whose echo is awaited
	effectPlacing               // a notice whose echo is not awaited any more; not in effect yet
	effectGranted               // in effect before its echo; nothing to judge, bind or answer
	effectFinished              // nothing left to do for its session
	effectForgotten             // its edge sends it again, or is gone
)

// refused reports whether the frame is a command that does nothing.
func (fr *frame) refused() bool { return fr.command.Verb == dialect.Nothing && !fr.end }

// notice reports whether the frame is a join or a leave that is not in effect yet. A notice usually
// takes effect at its echo. In an outage it may take effect when it is given ahead.
func (fr *frame) notice() bool {
	return fr.effect < effectGranted && (fr.command.Verb == dialect.Join || fr.command.Verb == dialect.Leave)
}

// joins reports whether the frame must not be published while lane.placed returns false. That is so
// for joins and leaves that are not in effect, and for granted joins. The positions of their
// publications mark where memberships begin and end.
func (fr *frame) joins() bool {
	return fr.notice() || fr.effect == effectGranted && fr.command.Verb == dialect.Join
}

// frame handles one frame from a link. While a job of type taking replaces the edge's tables, the
// frame waits.
func (r *Router) frame(e *edge, f any) *violation {
	if j := e.tables.taking; j != nil {
		return j.wait(r, f)
	}
	return r.handle(e, f)
}

func (r *Router) handle(e *edge, f any) *violation {
	switch f := f.(type) {
	case link.Session, link.Client, link.Held, link.Keep:
		return r.tell(e, f)
	case link.Synced:
		return r.synced(e, f)
	case link.Message:
		return r.arrive(e, f)
	case link.End:
		return r.arriveEnd(e, f)
	case link.Moved:
		return r.moved(e)
	case link.Drained:
		r.drained(e, f)
		return nil
	}
	return &violation{link.CodeProtocol, "a frame that edges do not send"}
}

// arrive takes a message and parses it. The message is judged at once if it waits for no earlier
// frame of its session, and otherwise after those frames.
func (r *Router) arrive(e *edge, m link.Message) *violation {
	fr, v := r.admit(e, m.Number, m.Session, uint64(len(m.Payload))+frameCost)
	if fr == nil {
		return v
	}
	// Granted messages have Again set, and are published even if their session is closing.
	if c := fr.session.client(); c != nil && c.closing && !m.Again {
		r.m.dropped("closed", 1)
		r.finish(fr)
		return nil
	}
	fr.command = r.speaks(fr.session).Parse(fr.session.who(), r.now, m.Payload, m.Again)
	if m.Again && !fr.refused() && (fr.publishes() || fr.notice()) {
		fr.effect = effectGranted
	}
	r.m.command(fr)
	r.await(fr)
	return nil
}

// arriveEnd takes the end of a session. An end counts no bytes, since there is only one for each
// session.
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

// admit enters a numbered frame into the edge's inbox. It returns no frame if the frame is ignored
// or is a violation.
func (r *Router) admit(e *edge, number, sid, size uint64) (*frame, *violation) {
	if r.stopping {
		return nil, nil // the frame is not acknowledged: another relay gets it
	}
	if !e.outbox.ready {
		return nil, &violation{link.CodeProtocol, "a numbered frame before Synced"}
	}
	skipped := e.inbox.numbers.arrived + 1
	if !e.inbox.numbers.arrive(number) {
		return nil, &violation{link.CodeProtocol, "a number out of order"}
	}
	e.passedOver(skipped, number)
	r.touch(e)
	s := e.tables.sessions[sid]
	if s == nil {
		r.m.dropped("unknown_session", 1)
		e.inbox.numbers.finish(number, number)
		return nil, nil
	}
	fr := &frame{number: number, session: s, size: size}
	if number <= e.inbox.last {
		fr.origin = origin{sent: e.inbox.began + 1, again: true}
	}
	if e.inbox.bytes += fr.size; e.inbox.bytes > e.inbox.logSize+e.inbox.logSize/4+protocol.MaxMsg {
		return nil, &violation{link.CodeLimit, "more unfinished frames than its log holds"}
	}
	e.inbox.frames[number] = fr
	s.unfinished++
	return fr, nil
}

// topic returns the topic that the frame is about; "" if there is none.
func (fr *frame) topic() protocol.Topic { return fr.command.Topic }

// content returns the Content that the frame publishes.
func (r *Router) content(fr *frame) protocol.Content {
	return r.speaks(fr.session).Content(fr.session.who(), &fr.command)
}

// doneText returns the answer to a command that takes effect.
func (r *Router) doneText(fr *frame) []byte { return r.verdict(fr, dialect.Verdict{}) }

// judge decides about a frame whose turn in its session has come. The frame is answered or
// finished, is made ready to be published, or waits. A frame of a non-member may wait for the
// broker's count. An end may wait for the session's earlier frames.
func (r *Router) judge(fr *frame) {
	s := fr.session
	switch {
	case fr.end:
		r.endSession(s, fr.number)
		if s.unfinished > 1 {
			// The end is finished after the session's earlier frames. Until then the edge tells the
			// session in its tables. So if the edge sends the earlier frames again on another link,
			// the relay of that link knows the session.
			s.grow().end = fr
			return
		}
		r.finish(fr)
	case fr.refused() && fr.mayBePublished():
		r.m.dropped("unsure", 1)
		r.deny(fr, dialect.Verdict{Reason: dialect.Unsure})
	case fr.refused():
		r.answer(fr, []byte(fr.command.Text))
		r.finish(fr)
	case fr.effect == effectGranted:
		r.ready(fr)
	case fr.command.Verb >= dialect.Confirm:
		r.judgeTerms(fr)
	case fr.command.Verb == dialect.Join:
		r.join(fr)
	case fr.command.Verb == dialect.Leave && !r.memberSoon(s, fr.topic()),
		fr.command.Verb == dialect.MemberPublish && !r.memberOf(s, fr.topic()):
		r.nonMember(fr)
	case fr.command.Verb == dialect.Leave:
		// The notice may create the topic anew, so the topic counts as addressed. But a leave is
		// not refused when its user has addressed too many topics.
		r.address(fr)
		r.awaitEcho(fr)
	case !fr.command.Fixed && !r.mayAddress(fr):
	case !r.mayWait(fr):
	default:
		r.ready(fr)
	}
}

// judgeTerms decides about a command that publishes nothing, and whose turn has come.
func (r *Router) judgeTerms(fr *frame) {
	switch fr.command.Verb {
	case dialect.Confirm, dialect.Bind:
		r.bindTo(fr)
	case dialect.Unbind:
		r.unbindFrom(fr)
	case dialect.Renew:
		r.renew(fr)
	case dialect.Close:
		r.closed(fr)
	case dialect.History:
		r.askRange(fr)
	case dialect.Extend:
		r.extend(fr)
	}
}

// memberOf reports whether s counts as a member of t when a frame of s is judged. The joins and
// leaves of s that are under way count as if they were in effect. A Bind that waits at its follower
// counts in the same way. Until its connect is confirmed, a session also counts as a member of its
// own topics.
func (r *Router) memberOf(s *session, t protocol.Topic) bool {
	if c := s.client(); c != nil && c.ways[t] != nil && c.ways[t].binding != nil {
		return true
	}
	return r.memberSoon(s, t) || s.opening && slices.Contains(r.own(s), t)
}

// answer sends a client the answer to its frame. The edge passes the answer on once.
func (r *Router) answer(fr *frame, text []byte) {
	r.reply(fr.session, text, link.Answer{Number: fr.number, Session: fr.session.id, Text: text}.Append)
}

// verdict turns the router's verdict on a frame into the text for the frame's client.
func (r *Router) verdict(fr *frame, v dialect.Verdict) []byte {
	return r.speaks(fr.session).Answer(fr.session.who(), &fr.command, v)
}

// finish marks a frame's number as finished. Router.flush and Router.tellFinished acknowledge the
// number. An end that waits for earlier frames of its session is finished after the last of them.
func (r *Router) finish(fr *frame) {
	if fr.effect >= effectFinished {
		return
	}
	r.free(fr)
	fr.effect = effectFinished
	e := fr.session.edge
	delete(e.inbox.frames, fr.number)
	e.inbox.bytes -= fr.size
	e.inbox.numbers.finish(fr.number, fr.number)
	r.touch(e)
	s := fr.session
	if fr.command.Verb == dialect.MemberPublish {
		x := s.grow()
		x.said = max(x.said, fr.number)
	}
	if s.unfinished--; s.unfinished == 1 && s.peek().end != nil {
		r.finish(s.extra.end)
	}
}

// finishPublished finishes a frame that is published. If dialect.Command.Answered is set and the
// frame was not granted, the client is answered now. The client of a granted frame was answered
// when the frame was granted.
func (r *Router) finishPublished(fr *frame) {
	if fr.command.Answered && fr.effect < effectGranted {
		r.answer(fr, r.doneText(fr))
	}
	r.finish(fr)
}

// grant puts a message in effect, and tells the edge so. The message is published later.
func (r *Router) grant(fr *frame) {
	r.free(fr)
	fr.effect = effectGranted
	if fr.command.Answered {
		text := r.doneText(fr)
		r.reply(fr.session, text, link.Answered{Number: fr.number, Session: fr.session.id, Text: text}.Append)
	} else {
		r.send(fr.session.edge, link.Granted{First: fr.number, Last: fr.number}.Append)
	}
}

// void forgets all unfinished frames of an edge. The edge sends them again, or is gone. Joins and
// leaves among these frames may still wait at the edge's followers. The caller resets or drops
// these followers.
func (r *Router) void(e *edge) {
	for _, fr := range e.inbox.frames {
		if t := r.directory.topics[fr.topic()]; t != nil && fr.notice() {
			t.forgetNotice(fr)
			r.compact(t)
		}
		fr.effect = effectForgotten
		if fr.waits != nil {
			fr.waits.remove(fr)
		}
		if x := fr.session.extra; x != nil {
			x.underway, x.parked, x.about = nil, nil, nil
			if c := x.client; c != nil {
				c.ways, c.last, c.confirming, c.held, c.coming = nil, nil, nil, 0, 0
			}
		}
	}
	for _, l := range e.inbox.lanes {
		t := r.directory.topics[l.topic]
		// The lane is emptied, since restart or takeTurns may still run it later.
		for l.first != nil {
			fr := l.first
			l.remove(fr)
			fr.effect = effectForgotten // even if fr was finished before the broker's answer
			if fr.stage == stageFlying {
				r.requests.orphan(fr)
			}
			if t != nil && fr.stage == stageAnswered && !t.heard(fr) {
				// The frame cannot be kept in recent.unheard: its place among the frames that are
				// sent again is not known.
				r.recently(t).unheard.blurred = true
			}
		}
		r.unstall(l)
	}
	e.inbox.frames = make(map[uint64]*frame)
	e.inbox.lookups, e.answers.ranges = nil, nil
	e.inbox.lanes = make(map[protocol.Topic]*lane)
	e.inbox.bytes = 0
}
