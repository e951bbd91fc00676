package router

import (
	"cmp"
	"slices"

	"github.com/edgerelay/edgerelay/relay/router/dialect"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// This file keeps the order of one session's frames. It is for dialects whose order is
// dialect.InOrder. For dialects whose order is dialect.ByTopic see order_topic.go.
//
// A session gets its answers in the order of its commands. A join or a leave that is not refused is
// answered when it takes effect. Usually it takes effect when its notice is heard. Such a join or
// leave is under way from its judgement until it takes effect. A frame of a non-member is under way
// until it is answered.
//
// While earlier commands of the session are under way or parked, a command that has an answer is
// parked, and so is an end. There is one exception. A join, or a leave of a member, is not parked
// if no frame is parked and all frames under way are joins and leaves of the same group. Their
// notices are heard in the order in which they are published.
//
// A message has no answer, unless it is refused. It waits while an earlier frame about its topic is
// parked. The parked frame must be published first, or may change whether the session is a member.
// A group message of a non-member is answered, and waits as other commands with an answer do.

// await judges a frame, or parks it until the frames that it has to wait for are done.
func (r *Router) await(fr *frame) {
	if r.orders[fr.session.form] == dialect.ByTopic {
		r.awaitByTopic(fr)
		return
	}
	if r.mayGo(fr, len(fr.session.peek().parked) > 0) {
		r.judge(fr)
		return
	}
	if fr.topic() != "" && !r.outside(fr) {
		r.enlane(fr)
	}
	fr.session.grow().park(fr)
}

// outside reports whether a frame is a group message or a leave of a non-member: its session is not
// in the group, and no earlier frame can change that. Such a frame will not be published, and needs
// no place in a lane.
func (r *Router) outside(fr *frame) bool {
	v := fr.command.Verb
	return (v == dialect.MemberPublish || v == dialect.Leave) && fr.effect != effectGranted &&
		fr.session.peek().about[fr.topic()] == 0 && !r.memberOf(fr.session, fr.topic())
}

// mayGo reports whether a frame can be judged now. The last argument is true if other frames are
// parked before this one.
func (r *Router) mayGo(fr *frame, behind bool) bool {
	s := fr.session
	x := s.peek()
	switch {
	case len(x.underway) == 0:
		return !behind
	case fr.refused() || fr.end:
		return false
	}
	switch fr.command.Verb {
	case dialect.Publish:
		return x.about[fr.topic()] == 0
	case dialect.MemberPublish:
		return x.about[fr.topic()] == 0 && (fr.effect == effectGranted || r.memberOf(s, fr.topic()))
	}
	first := x.underway[0]
	return !behind && first.topic() == fr.topic() && first.lane != nil &&
		(fr.command.Verb == dialect.Join || r.memberSoon(s, fr.topic()))
}

// memberSoon reports whether s will be a member of t once its frames under way are in effect.
func (r *Router) memberSoon(s *session, t protocol.Topic) bool {
	if way := s.peek().underway; len(way) > 0 {
		// If the last frame has no lane, it is a frame of a non-member, and changes nothing.
		if last := way[len(way)-1]; last.topic() == t && last.lane != nil {
			return last.command.Verb == dialect.Join
		}
	}
	return r.bound(s, t)
}

// park keeps a frame until it can be judged.
func (x *extra) park(fr *frame) {
	i, _ := slices.BinarySearchFunc(x.parked, fr, func(a, b *frame) int { return cmp.Compare(a.number, b.number) })
	x.parked = slices.Insert(x.parked, i, fr)
	x.count(fr, +1)
}

// count adds 1 or -1 to the number of parked frames about fr's topic. Frames without a lane do not
// count.
func (x *extra) count(fr *frame, more int) {
	if fr.lane == nil {
		return
	}
	if x.about == nil {
		x.about = make(map[protocol.Topic]int)
	}
	if x.about[fr.topic()] += more; x.about[fr.topic()] == 0 {
		delete(x.about, fr.topic())
	}
}

// deny refuses a frame. The answer is sent when it is the frame's turn in its session.
func (r *Router) deny(fr *frame, v dialect.Verdict) {
	text := r.verdict(fr, v)
	r.leaveLane(fr)
	if r.orders[fr.session.form] == dialect.InOrder {
		fr.command = dialect.Command{Text: string(text)}
		if x := fr.session.peek(); len(x.underway) > 0 {
			x.park(fr)
			return
		}
	}
	r.answer(fr, text)
	r.finish(fr)
}

// done finishes a frame that its session waited for, and releases the frames parked behind it.
func (r *Router) done(fr *frame) {
	r.finish(fr)
	r.release(fr)
}

// release takes fr off the session's frames under way. Then it judges the parked frames, until one
// of them has to wait. A frame may be done as soon as it is judged, which leads to another call of
// release. That inner call leaves the remaining frames to the loop of the outer call.
func (r *Router) release(fr *frame) {
	s := fr.session
	x := s.peek()
	i := slices.Index(x.underway, fr)
	if i < 0 {
		return
	}
	if i > 0 {
		x.underway = slices.Delete(x.underway, i, i+1)
	} else if x.underway = x.underway[1:]; len(x.underway) == 0 {
		x.underway = nil
	}
	if x.releasing {
		return
	}
	x.releasing = true
	for len(x.parked) > 0 {
		next := x.parked[0]
		x.count(next, -1)
		if !r.mayGo(next, false) {
			x.count(next, +1)
			break
		}
		x.parked = x.parked[1:]
		r.judge(next)
	}
	x.releasing = false
	if len(x.parked) == 0 {
		x.parked, x.about = nil, nil
	}
	s.compact()
}
