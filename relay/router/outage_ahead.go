package router

import (
	"bytes"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/router/dialect"
	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// While the broker is away, this relay gives its edges messages of their clients ahead of
// publication, in the relay's own order. To give a message ahead does not finish its number. A
// frame that is not published stays in its lane, and in its edge's log. An edge remembers the IDs
// of messages given ahead. So it can drop these messages when they come as publications.
//
// The messages of one connection to one topic keep their order, because a message is given ahead
// only where no message before it can be missing:
//   - The sending edge is whole, see Router.begun. The frames that a whole edge does not replay are
//     finished, and this relay knows all their publications.
//   - The topic is level, see topic.level. Every publication that was made here for a whole edge
//     has come back or was given ahead.
//   - The messages of a lane are given in the lane's order, from its first frame on.
//   - The receiving edges are not behind on the topic. An edge that is behind is first sent the
//     topic's tail, which keeps the messages given ahead. If some of these have left the tail, such
//     an edge waits for the broker.

// giveAhead gives ahead the next frames of a lane, as far as they can be given. It does this only
// while the broker is away. A frame that is given ahead may make frames of other lanes ready. Such
// a lane is queued in outage.waking, and the outermost call of giveAhead processes the queue.
// giveAhead does not recurse, because a chain of such lanes may be as long as the logs are.
func (r *Router) giveAhead(l *lane) {
	if !r.outage.away || l.waking {
		return
	}
	l.waking = true
	r.outage.waking = append(r.outage.waking, l)
	if len(r.outage.waking) > 1 {
		return // the call that queued the first lane processes this one too
	}
	for i := 0; i < len(r.outage.waking); i++ {
		r.outage.waking[i].waking = false
		r.giveLane(r.outage.waking[i])
	}
	clear(r.outage.waking)
	r.outage.waking = r.outage.waking[:0]
}

// giveLane does the work of giveAhead for one lane.
func (r *Router) giveLane(l *lane) {
	for l.edge.inbox.whole && l.ungiven != nil && l.ungiven.stage >= stageReady {
		if !r.mayPublish(l) {
			return
		}
		fr := l.ungiven
		l.ungiven = fr.next // comes before giveFrame, which may release frames parked behind fr
		if !r.giveFrame(fr) {
			l.ungiven = fr
			r.stall(l)
			return
		}
	}
}

// giveFrame gives one frame ahead and puts it in effect. If the frame's publication was heard (see
// topic.heard), nothing is left to do. giveFrame returns false if the frame cannot be given now.
func (r *Router) giveFrame(fr *frame) bool {
	e := fr.session.edge
	t := r.directory.topics[fr.topic()]
	if t == nil || !t.level() {
		return false // nobody here follows the topic, or an earlier message may be missing
	}
	if t.heard(fr) {
		return true
	}
	if fr.doubted {
		return false // an earlier relay may have refused fr
	}
	if fr.effect == effectFinished { // fr is published, perhaps without an echo yet
		if fr.stage == stageAnswered {
			r.spread(t, fr)
		}
		return true
	}
	f := t.find(e)
	if fr.notice() && f.isBehind && f.bound > 0 {
		return false // f must receive earlier messages first; caughtUp tries again
	}
	r.spread(t, fr)
	if fr.notice() {
		r.takeEffect(fr, f)
	} else if fr.effect < effectGranted {
		r.grant(fr)
	}
	return true
}

// grantAnswered grants a publish whose client waits for the answer, even if the message cannot be
// given ahead yet. It is called while the broker is away, for a frame that has a lane. A message is
// given ahead only if nothing before it is missing. A grant says less: only that the message will
// be published. For a grant it is enough that the frame is in its lane and in its edge's log.
//
// A frame that was sent on an earlier link is not granted here. A relay may have refused it on that
// link, and then the broker may take it for a duplicate, see lookup.go.
func (r *Router) grantAnswered(fr *frame) {
	if fr.command.Answered && fr.stage >= stageReady && fr.effect < effectGranted && !fr.again {
		r.grant(fr)
	}
}

// spread gives a frame's message ahead: it adds the message to the topic's tail, and calls
// deliverAhead for the followers.
func (r *Router) spread(t *topic, fr *frame) {
	s := &said{id: protocol.BriefID(fr.session.edge.instance, fr.number), ahead: true, content: r.content(fr)}
	bytes := bytes.Clone(r.compose(t, s, needChat))
	r.spend(t.name, len(r.scratch.text))
	item := tailItem{id: s.id, origin: fr.origin, at: fr.at}
	if len(r.dialects) > 1 { // an edge with clients of SDKs may link before the outage is over
		item.said, s.frames[needChat] = s, bytes
		r.prepare(t, &item)
	} else {
		item.bytes = bytes
	}
	r.tails.add(r, t, item)
	r.m.ahead.Inc()
	for f := range t.all {
		r.deliverAhead(f, &item)
	}
}

// takeEffect puts a join or a leave in effect, and answers it, before the echo of its notice has
// come. From then on the notice is an ordinary publication.
func (r *Router) takeEffect(fr *frame, f *follower) {
	if !r.completeEarlier(fr) {
		return
	}
	t, s := f.topic, fr.session
	t.forgetNotice(fr)
	f.noticed(-1)
	fr.effect = effectGranted // set first: the calls below may put later frames in effect
	if fr.command.Verb == dialect.Join {
		r.enter(f)
		r.bind(s, f)
		r.send(s.edge, link.Joined{
			Number: fr.number, Session: s.id, Topic: t.number, Granted: true, Text: r.doneText(fr),
		}.Append)
	} else {
		r.tellFinished(s)
		r.number(f)
		r.send(s.edge, link.Left{
			Number: fr.number, Session: s.id, Topic: t.number, Granted: true, Text: r.doneText(fr),
		}.Append)
		r.unbind(s, f)
	}
	if fr.stage == stageAnswered {
		r.finish(fr)
	}
	r.dropIfIdle(f)
	r.release(fr)
	r.wakeAhead(t.name) // lanes may be waiting for a follower of the topic
}

// goAhead is called when the broker has just gone away. It starts giving ahead and granting.
func (r *Router) goAhead() {
	r.giveAllUnheard()
	for _, e := range r.directory.inOrder() {
		for _, l := range e.lanesInOrder() {
			r.giveAhead(l)
			for fr := l.first; fr != nil; fr = fr.next {
				r.grantAnswered(fr)
			}
		}
	}
}

// comeBack stops giving ahead. It empties the tails of the topics to which messages were given
// ahead. These messages get positions when they are published. Followers that are behind then read
// them from history. A message of an edge that is gone may stay unpublished until the edge sends it
// again.
func (r *Router) comeBack() {
	for _, t := range r.directory.activeInOrder(func(n *recent) bool { return n.tail.ahead > 0 || n.tail.torn || n.unheard.given > 0 }) {
		r.tails.drop(t)
		t.recent.tail.torn = false
		t.recent.unheard.given = 0
		r.dropTopic(t)
		r.compact(t)
	}
	for _, e := range r.directory.inOrder() {
		e.passed = nil
		e.catchup.letGo()
		for _, l := range e.inbox.lanes {
			// In the next outage the lane's messages are given ahead again, because followers that
			// were behind have perhaps not received them. Edges that have received them recognize
			// their IDs.
			l.ungiven = l.first
		}
		if e.outbox.link != nil && e.inbox.hearing != 0 {
			r.hearOut(e)
		}
		if e.outbox.ready {
			r.advanceAll(e)
		}
	}
}

// begun decides, at an edge's Synced, whether the edge is whole. The arguments are Synced.First and
// Synced.Last. All numbers below Synced.First are finished, and the edge replays its unfinished
// frames up to Synced.Last. The edge is whole if this relay knows every publication of the frames
// that the edge does not replay. Then no earlier message is missing here, so messages of the edge
// can be given ahead.
//
// An edge that replays from number 1 on is whole. An edge that was whole stays whole if all numbers
// below Synced.First were finished on its previous link to this relay. Later passedOver may find
// that the edge is not whole, and heardOut can make any edge whole.
func (r *Router) begun(e *edge, first, last uint64) {
	e.inbox.earlier = numbers{}
	if e.inbox.whole { // if not, another relay may have finished some of the numbers
		e.inbox.earlier = e.inbox.numbers
	}
	e.inbox.whole = first == 1 || e.inbox.whole && first <= e.inbox.numbers.through+1
	e.inbox.acked, e.inbox.last, e.inbox.began = first-1, last, r.outage.moment
	r.hearOut(e)
}

// passedOver handles the numbers that the edge's replay left out: those from the first argument up
// to the number before the second argument. If some of these were not finished on the edge's
// previous link to this relay, the edge is not whole until heardOut makes it whole.
func (e *edge) passedOver(first, next uint64) {
	if e.inbox.hearing != 0 && first < next && !e.inbox.earlier.finished(first, next-1) {
		e.inbox.whole = false
	}
}

// hearOut asks the broker for a Flush. Other relays may have published frames of e before this link
// began. If the answer's Heard is true, this relay has received all these publications on the
// topics that are subscribed here.
func (r *Router) hearOut(e *edge) {
	e.inbox.hearing = r.requests.ask(e)
	r.brk.Flush(e.inbox.hearing)
}

// heardOut takes the answer to the Flush of hearOut. If the answer's Heard is true, and no topic's
// subscription is lost, the edge is whole. Otherwise hearOut is called again, after askAgainAfter
// or when the broker is back.
func (r *Router) heardOut(ev broker.Flushed) {
	e := asker[*edge](&r.requests, ev.Token)
	switch {
	case e == nil || e.inbox.hearing != ev.Token:
	case ev.Heard && r.outage.deafened == 0:
		e.inbox.hearing, e.inbox.whole, e.inbox.earlier = 0, true, numbers{}
		if r.outage.away {
			r.giveAllUnheard() // earlier calls skipped the publications of this edge
		}
		for _, l := range e.lanesInOrder() {
			r.giveAhead(l)
		}
	case ev.Heard || !r.outage.away: // if Heard is false in an outage, comeBack asks again
		r.after(askAgainAfter, func() {
			if e.inbox.hearing == ev.Token && e.outbox.link != nil {
				r.hearOut(e)
			}
		})
	}
}

// wakeAhead retries, in an outage, the stalled lanes to a topic. Its callers have changed the
// topic, which may now be level (see topic.level) or have a follower.
func (r *Router) wakeAhead(t protocol.Topic) {
	if !r.outage.away {
		return
	}
	for _, l := range r.resumed(t) {
		r.giveAhead(l)
	}
}

// passOver is called when an edge gets its first member of a topic. It tells the edge the IDs of
// the messages in the topic's tail that were given ahead. So the edge can drop these messages when
// they are published. The map edge.passed keeps passOver from telling an ID twice.
func (r *Router) passOver(f *follower) {
	e := f.edge
	if f.topic.recent == nil || f.topic.recent.tail.ahead == 0 {
		return
	}
	tail := &f.topic.recent.tail
	from := max(tail.first(), e.passed[f.topic.name]+1)
	for seq := from; seq <= tail.last(); seq++ {
		if item := tail.at(seq); item.id != 0 {
			e.outbox.frames = link.Ahead{Topic: f.topic.number, ID: item.id}.Append(e.outbox.frames)
		}
	}
	if e.passed == nil {
		e.passed = make(map[protocol.Topic]uint64)
	}
	e.passed[f.topic.name] = tail.last()
	r.touch(e)
}
