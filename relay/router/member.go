package router

import (
	"fmt"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// join publishes the join's notice; its echo makes the session a member.
func (r *Router) join(fr *frame) {
	if text := r.full(fr); text != "" {
		r.leaveLane(fr)
		r.answer(fr, text)
		r.finish(fr)
		return
	}
	if r.mayAddress(fr) {
		r.awaitEcho(fr)
	}
}

// full says why there is no room for one more membership; empty: there is.
func (r *Router) full(fr *frame) string {
	s := fr.session
	switch {
	case r.bound(s, fr.topic):
	case s.memberships() >= r.cfg.MaxGroups:
		return fmt.Sprintf("error: a connection can be in %d groups at most", r.cfg.MaxGroups)
	case s.edge.grouped >= r.cfg.TellBytes/2:
		r.m.dropped("memberships", 1)
		return "error: the connections of this server are in as many groups as they can be"
	}
	return ""
}

// awaitEcho publishes a notice, and parks the session's later frames until it is heard.
func (r *Router) awaitEcho(fr *frame) {
	f := r.follow(fr.session.edge, fr.topic)
	f.noticed(+1)
	r.recently(f.topic).notices++
	fr.awaited = true
	fr.session.speak().waiting = fr
	r.ready(fr)
}

// completeEcho lets the join or leave take effect whose echo is p, if it is one's.
func (r *Router) completeEcho(t *topic, p broker.Publication) {
	if t.recent == nil || t.recent.notices == 0 {
		return
	}
	if e := r.edges[p.Instance]; e != nil {
		if fr := e.frames[p.Number]; fr != nil && fr.topic == t.name {
			r.heardNotice(t, fr)
		}
	}
}

// completeAnswered lets those take effect whose echo is known to lie at or before the topic's top.
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
	r.rest(t)
}

// heardNotice takes a notice that was heard, unless it took effect before.
func (r *Router) heardNotice(t *topic, fr *frame) {
	if !fr.awaited {
		return
	}
	t.forgetNotice(fr)
	f := t.find(fr.session.edge)
	if f.isBehind && f.bound > 0 {
		f.waits.lag.echoes = append(f.waits.lag.echoes, fr) // what came before it comes first
		return
	}
	r.completeNotice(fr)
}

// completeNotice makes a join or a leave take effect, and answers it in the same frame.
func (r *Router) completeNotice(fr *frame) {
	s := fr.session
	f := r.follower(s.edge, fr.topic)
	f.noticed(-1)
	if fr.command.Kind == protocol.KindJoin {
		r.enter(f)
		r.bind(s, f)
		r.send(s.edge, link.Joined{
			Number: fr.number, Session: s.id, Topic: f.topic.number,
			Text: []byte(fr.msg()),
		}.Append)
	} else {
		r.settleEarlier(fr)
		r.number(f)
		r.send(s.edge, link.Left{
			Number: fr.number, Session: s.id, Topic: f.topic.number,
			Text: []byte(fr.msg()),
		}.Append)
		r.unbind(s, f)
	}
	r.dropIfIdle(f)
	r.done(fr)
	r.runLane(fr.lane)
}

// settleEarlier finishes what its lane holds before a notice that was heard: that was published, or the notice would have been refused. The edge
// knows it before it hears that the session left, so that it never replays, as a non-member's, what was published as a member's.
func (r *Router) settleEarlier(fr *frame) {
	for earlier := fr.lane.first; earlier != nil && earlier.number < fr.number; earlier = earlier.behind {
		if earlier.ready && !earlier.notice() { // others are parked, and judged yet
			r.finish(earlier)
		}
	}
	r.tellFinished(fr.session)
}

// tellFinished acknowledges what a session has published to a group: the edge knows it before it hears that the session left.
func (r *Router) tellFinished(s *session) {
	e := s.edge
	said := s.talks().said
	if said == 0 {
		return // nothing to tell
	}
	s.talk.said = 0
	switch {
	case said <= e.numbers.through:
		r.send(e, link.Ack{Through: e.numbers.through}.Append)
	default:
		for _, ack := range e.numbers.acks() {
			r.send(e, ack.Append)
		}
	}
}

// nonMember answers a group message or a leave of one who is not in the group. A replay is judged like any other frame: the edge's tables
// have the effect of every frame that it had an answer for, and it replays none of these; and with the answer to a leave it has had the
// acknowledgement of all that the session published before.
func (r *Router) nonMember(fr *frame) {
	r.leaveLane(fr)
	fr.session.speak().waiting = fr
	r.refuse(fr)
}

// refuse answers a non-member: the group has members somewhere, or it does not exist.
func (r *Router) refuse(fr *frame) {
	t := r.topics[fr.topic]
	switch {
	case t != nil && t.populated() || fr.command.Kind == protocol.KindLeave:
		r.answer(fr, protocol.NotInText(fr.session.user, fr.topic.Name()))
		r.done(fr)
	case r.away:
		r.refuseUnknown(fr)
	default:
		token := r.token()
		r.asked[token] = fr
		r.brk.CountSubscribers(fr.topic, token)
	}
}

// populated reports whether t has a member here. Of a topic's followers all but those that wait have.
func (t *topic) populated() bool {
	for f := range t.all {
		if f.bound > 0 {
			return true
		}
	}
	return false
}

func (r *Router) refuseUnknown(fr *frame) {
	r.answer(fr, fmt.Sprintf("error: group 【%s】 cannot be looked up now, not delivered", fr.topic.Name()))
	r.done(fr)
}

// counted tells how many subscribers a group has anywhere.
func (r *Router) counted(ev broker.Counted) {
	fr := r.asked[ev.Token]
	delete(r.asked, ev.Token)
	switch {
	case fr == nil || fr.forgotten:
	case ev.Err != nil:
		r.refuseUnknown(fr)
	case ev.Count > 0:
		r.answer(fr, protocol.NotInText(fr.session.user, fr.topic.Name()))
		r.done(fr)
	default:
		r.answer(fr, protocol.NotExistsText(fr.topic.Name()))
		r.done(fr)
	}
}
