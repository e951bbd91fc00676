package router

import (
	"slices"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/router/dialect"
	"github.com/edgerelay/edgerelay/shared/link"
)

// join refuses a join, or lets its notice be published. The session becomes a member when the
// notice takes effect.
func (r *Router) join(fr *frame) {
	if v := r.full(fr); v.Reason != dialect.Done {
		r.deny(fr, v)
		return
	}
	if r.mayAddress(fr) {
		r.awaitEcho(fr)
	}
}

// full returns the reason to refuse fr, which is a join. The reason Done means that fr is not
// refused.
func (r *Router) full(fr *frame) dialect.Verdict {
	s := fr.session
	switch {
	case r.bound(s, fr.topic()) || r.memberSoon(s, fr.topic()): // the join adds no membership
	case s.memberships() >= r.most[s.form]:
		return dialect.Verdict{Reason: dialect.ManyTopics, Most: r.most[s.form]}
	case r.crowded(s.edge, s.user):
		r.m.dropped("memberships", 1)
		return dialect.Verdict{Reason: dialect.ManyMemberships}
	}
	return dialect.Verdict{}
}

// awaitEcho lets a notice be published. The notice usually takes effect when its echo is heard. In
// an outage it may take effect earlier, when it is given ahead.
func (r *Router) awaitEcho(fr *frame) {
	f := r.follow(fr.session.edge, fr.topic())
	f.noticed(+1)
	r.recently(f.topic).notices++
	fr.effect = effectAwaited
	x := fr.session.grow()
	x.underway = append(x.underway, fr)
	r.ready(fr)
}

// completeEcho ends the wait for a notice's echo if p is that echo.
func (r *Router) completeEcho(t *topic, p broker.Publication) {
	if t.recent == nil || t.recent.notices == 0 {
		return
	}
	if e := r.directory.edges[p.Instance]; e != nil {
		if fr := e.inbox.frames[p.Number]; fr != nil && fr.topic() == t.name && fr.effect == effectAwaited {
			fr.at = p.Position
			r.heardNotice(t, fr)
		}
	}
}

// completeAnswered handles published notices whose echoes have not come, although the top has
// reached their positions. If such an echo still came, it would be dropped as repeated. So
// completeAnswered ends the wait for it. While t is not subscribed, completeAnswered does nothing.
func (r *Router) completeAnswered(t *topic) {
	n := t.recent
	if !t.subscribed || n == nil || len(n.answered) == 0 {
		return
	}
	answered := n.answered
	n.answered = nil
	for _, fr := range answered {
		if t.top.Before(fr.at) {
			n = r.recently(t)
			n.answered = append(n.answered, fr)
			continue
		}
		r.heardNotice(t, fr)
	}
	r.compact(t)
}

// heardNotice ends the wait for a notice's echo, and puts the notice in effect at its place. If
// that wait has already ended, heardNotice does nothing.
func (r *Router) heardNotice(t *topic, fr *frame) {
	if fr.effect != effectAwaited {
		return
	}
	t.forgetNotice(fr)
	r.takeNotice(t.find(fr.session.edge), fr)
}

// takeNotice puts a join or a leave in effect at its place among the publications. The parameter f
// is the follower of the session's edge. If f is behind and has members, the notice is put into f's
// lag. It stays in the lag until f has reached that place, or until f is live if the place is
// unknown.
func (r *Router) takeNotice(f *follower, fr *frame) {
	if f.isBehind && f.bound > 0 && (fr.at.IsZero() || f.position.Before(fr.at)) {
		f.rare.lag.echoes = append(f.rare.lag.echoes, fr)
		return
	}
	r.completeNotice(fr)
}

// takeEchoes puts in effect, in order, the joins and leaves that wait in f's lag. It stops at the
// first one whose place is unknown, or is not reached yet. takeEchoes reports whether it took a
// join or a leave from the lag. If so, f may now be live, or at another position.
func (r *Router) takeEchoes(f *follower) (any bool) {
	for g := f.lag(); f.isBehind && len(g.echoes) > 0; g = f.lag() {
		fr := g.echoes[0]
		if fr.at.IsZero() || f.position.Before(fr.at) {
			break
		}
		if g.echoes = g.echoes[1:]; len(g.echoes) == 0 {
			g.echoes = nil
		}
		any = true
		if fr.notice() { // if not, fr took effect earlier
			r.completeNotice(fr)
		}
	}
	return any
}

// completeEarlier puts in effect those joins and leaves of fr's session that came before fr and are
// under way. They precede fr in its lane, and their echoes may have been lost. completeEarlier
// reports whether fr has yet to take effect.
func (r *Router) completeEarlier(fr *frame) bool {
	way := fr.session.peek().underway
	i := slices.Index(way, fr)
	if i == 0 {
		return true
	}
	for _, earlier := range slices.Clone(way[:i]) {
		if earlier.effect < effectGranted { // if not, it took effect earlier
			r.directory.topics[earlier.topic()].forgetNotice(earlier)
			r.completeNotice(earlier)
		}
	}
	return fr.effect < effectGranted
}

// completeNotice puts a join or a leave in effect, and finishes it. A Joined or a Left tells the
// edge so, and carries the answer.
func (r *Router) completeNotice(fr *frame) {
	if !r.completeEarlier(fr) {
		return
	}
	s := fr.session
	f := r.directory.follower(s.edge, fr.topic())
	f.noticed(-1)
	if fr.command.Verb == dialect.Join {
		r.enterAt(f, fr.at)
		r.bind(s, f)
		r.send(s.edge, link.Joined{
			Number: fr.number, Session: s.id, Topic: f.topic.number,
			Text: r.doneText(fr),
		}.Append)
	} else {
		r.settleEarlier(fr)
		r.number(f)
		r.send(s.edge, link.Left{
			Number: fr.number, Session: s.id, Topic: f.topic.number,
			Text: r.doneText(fr),
		}.Append)
		r.finish(fr) // this comes before unbind, which may run the frame's lane
		r.unbind(s, f)
	}
	r.dropIfIdle(f)
	r.done(fr)
	r.runLane(fr.lane)
}

// settleEarlier is called when fr, which is a leave, takes effect at its place. It finishes the
// frames that precede fr in its lane. These frames are published by then, since the broker
// publishes fr's notice after them. Three kinds of frames are left out:
//   - parked frames;
//   - joins and leaves that are not in effect;
//   - frames that are to be looked up.
//
// The edge must learn that the frames are finished before it hears that the session left. Otherwise
// the edge could replay a message that was published as a member's, and the replay would be judged
// as a non-member's.
func (r *Router) settleEarlier(fr *frame) {
	for earlier := fr.lane.first; earlier != nil && earlier.number < fr.number; earlier = earlier.next {
		if earlier.stage >= stageReady && !earlier.notice() && !earlier.doubtful() {
			r.finishPublished(earlier)
		}
	}
	r.tellFinished(fr.session)
}

// tellFinished acknowledges those MemberPublishes of a session that were finished after the
// previous call for the session. It is called before Left or Unbound is sent. So the edge learns
// that these frames are finished before it hears that the session left.
func (r *Router) tellFinished(s *session) {
	e := s.edge
	said := s.peek().said
	if said == 0 {
		return // nothing to tell
	}
	s.extra.said = 0
	switch {
	case said <= e.inbox.numbers.through:
		r.send(e, link.Ack{Through: e.inbox.numbers.through}.Append)
	default:
		for _, ack := range e.inbox.numbers.acks() {
			r.send(e, ack.Append)
		}
	}
}

// nonMember answers a MemberPublish or a leave of a session that is not a member of the topic.
// Granted frames do not come here. A replay is answered like any other frame. What a former member
// published while it was a member is not replayed: Router.tellFinished sees to that.
func (r *Router) nonMember(fr *frame) {
	r.leaveLane(fr)
	if r.orders[fr.session.form] == dialect.InOrder {
		x := fr.session.grow()
		x.underway = append(x.underway, fr)
	}
	r.refuse(fr)
}

// refuse answers a non-member's frame. The answer to a leave, or to any message of a client of an
// SDK, is NotMember. But if such a message is a replay, the answer is Unsure: the session may have
// been a member on an earlier link, and then the message may be published. A message of the chat is
// to a group. If the group has members at this relay, the answer is NotMember. If the group has no
// members here and the broker is away, the answer is Undecided. If the group has no members here
// and the broker is not away, the broker counts the group's subscribers. Router.counted then sends
// the answer.
func (r *Router) refuse(fr *frame) {
	t := r.directory.topics[fr.topic()]
	switch {
	case fr.mayBePublished():
		r.m.dropped("unsure", 1)
		r.refuseAs(fr, dialect.Unsure)
	case t != nil && t.populated() || fr.command.Verb == dialect.Leave || fr.session.client() != nil:
		// Clients of SDKs are not told whether a topic has other members. So their answer needs no
		// count, and must not wait for one either. If a later subscribe took effect during that
		// wait, a replay of this message would be permitted.
		r.refuseAs(fr, dialect.NotMember)
	case r.outage.away:
		r.refuseAs(fr, dialect.Undecided)
	default:
		r.brk.CountSubscribers(fr.topic(), r.requests.ask(fr))
	}
}

// populated reports whether t has a member here. A session that is not bound to t yet is no member.
func (t *topic) populated() bool {
	for f := range t.all {
		if f.bound > 0 {
			return true
		}
	}
	return false
}

// refuseAs answers a non-member's frame, with the given reason, and finishes the frame.
func (r *Router) refuseAs(fr *frame, why dialect.Reason) {
	r.answer(fr, r.verdict(fr, dialect.Verdict{Reason: why}))
	r.done(fr)
}

// counted takes the broker's count of a group's subscribers. It answers the frame that waits for
// the count, unless that frame was forgotten. The answer is NotMember if there are subscribers, and
// NoMembers if there are none. If the count has failed, the answer is Undecided.
func (r *Router) counted(ev broker.Counted) {
	fr := asker[*frame](&r.requests, ev.Token)
	switch {
	case fr == nil || fr.effect == effectForgotten:
	case ev.Err != nil:
		r.refuseAs(fr, dialect.Undecided)
	case ev.Count > 0:
		r.refuseAs(fr, dialect.NotMember)
	default:
		r.refuseAs(fr, dialect.NoMembers)
	}
}
