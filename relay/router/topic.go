package router

import (
	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// topic is a stream of publications that somebody here follows. It is subscribed from the first follower to the last.
type topic struct {
	name   protocol.Topic
	number uint64 // on every link; never used for another topic
	token  uint64 // of the Subscribe

	subscribed bool              // confirmed, and not deaf since
	placed     bool              // it was confirmed once: top is what was the top then, or later
	blind      int               // publications made here while it is not confirmed
	top        protocol.Position // the highest known to be published here
	known      protocol.Position // the highest known to anyone here, told positions included: what publishers pass
	said       protocol.Position // the highest that was published here
	tail       tail
	rewind     rewind // the last one

	followers []*follower
	notices   map[*frame]struct{} // joins and leaves whose echo is awaited
	answered  []*frame            // those of them that are published, in the order of the answers
	unheard   unheard
}

// follow returns e's follower of a topic, subscribing the topic if this is its first. The caller gives the follower a reason to stay: openers,
// notices or members.
func (r *Router) follow(e *edge, name protocol.Topic) *follower {
	if f := e.followers[name]; f != nil {
		return f
	}
	t := r.topics[name]
	if t == nil {
		t = &topic{name: name, number: r.token(), token: r.token()}
		r.topics[name] = t
		r.m.topics.Inc()
		r.brk.Subscribe(name, t.token)
	}
	f := &follower{topic: t, edge: e}
	e.followers[name] = f
	t.followers = append(t.followers, f)
	return f
}

// subscribed is told that a topic's subscription was confirmed, the first time or anew.
func (r *Router) subscribed(ev broker.Subscribed) {
	t := r.topics[ev.Topic]
	if t == nil || t.token != ev.Token {
		return
	}
	if t.placed && !t.subscribed {
		r.deafened--
	}
	t.subscribed, t.placed, t.blind = true, true, 0
	// What is known to have been published and is no more there is lost: a back end that went back in time is told as a hole.
	top := ev.Top
	if top.Before(t.known) {
		top = t.known
	}
	r.wentBack(t, ev.Top)
	for _, f := range t.followers {
		r.place(f, top)
	}
	if t.top.Before(top) {
		t.skipTo(r, top)
	}
	r.heardTo(t)
	r.settle(t)
	r.wakeAhead(t.name)
}

// deaf is told that subscriptions were lost. Followers stay where they are; the next Subscribed tells what they missed.
func (r *Router) deaf(ev broker.Deaf) {
	if !ev.All {
		if t := r.topics[ev.Topic]; t != nil {
			r.deafen(t)
		}
		return
	}
	for _, t := range r.topics {
		r.deafen(t)
	}
}

func (r *Router) deafen(t *topic) {
	if t.subscribed {
		r.deafened++
	}
	t.subscribed = false
}

// skipTo makes p the top though what lies before it has not been seen here: followers fetch it from history.
func (t *topic) skipTo(r *Router, p protocol.Position) {
	r.tails.drop(t)
	t.tail.base = p
	t.setTop(p)
	for _, f := range t.followers {
		if f.live() && f.position.Before(p) && f.bound > 0 {
			r.fallBehind(f)
		}
	}
}

func (t *topic) setTop(p protocol.Position) {
	t.top = p
	if t.known.Before(p) {
		t.known = p
	}
}

// settle lets go on what waited for the topic: followers behind, connects, joins.
func (r *Router) settle(t *topic) {
	for _, f := range t.followers {
		r.advance(f)
	}
	r.releaseOpeners(t)
	r.runLanes(t.name) // they waited for the subscription
	r.completeAnswered(t)
}

// releaseOpeners tries the connects that wait for a topic.
func (r *Router) releaseOpeners(t *topic) {
	for _, f := range t.followers {
		r.tryOpeners(f)
	}
}

func (r *Router) tryOpeners(f *follower) {
	if len(f.openers) == 0 || !f.bindable() {
		return
	}
	for _, s := range f.inOrder() {
		r.tryOpen(s)
	}
}

// receive takes a publication from the broker: to the tail, and to every live follower.
func (r *Router) receive(p broker.Publication) {
	t := r.topics[p.Topic]
	if t == nil {
		r.m.dropped("unfollowed", 1)
		return
	}
	if !p.Position.IsZero() {
		if !t.top.Before(p.Position) {
			r.m.dropped("repeated", 1)
			return
		}
		if _, hole := missed(t.top, p); hole {
			r.m.holes.Inc()
			before := p.Position
			before.Offset--
			t.skipTo(r, before)
		}
	}
	bytes := t.encode(p)
	r.tails.add(r, t, tailItem{position: p.Position, bytes: bytes})
	if !p.Position.IsZero() {
		t.setTop(p.Position)
		r.heardTo(t)
	}
	for _, f := range t.followers {
		r.deliver(f, p.Position, bytes)
	}
	r.completeEcho(t, p)
	r.completeAnswered(t)
	for _, f := range t.followers {
		r.advance(f)
	}
	r.wakeAhead(t.name)
}

// encode renders a publication's text, once, into the frame that every link gets.
func (t *topic) encode(p broker.Publication) []byte {
	f := link.Publication{
		Topic:    t.number,
		Position: p.Position,
		Payload:  protocol.AppendText(nil, t.name, p.From, p.Msg),
	}
	if !p.Position.IsZero() {
		f.ID = protocol.BriefID(p.Instance, p.Number)
	}
	if !t.name.IsUser() {
		f.Except = p.From
	}
	return f.Append(nil)
}

// missed tells how many publications lie between a position and a publication, and whether there are any. The first one of an epoch knows where the one before ended;
// of others what was lost at the end of an earlier epoch is not known.
func missed(prev protocol.Position, p broker.Publication) (lost uint64, hole bool) {
	if lost, hole = missing(prev, p.Position); hole || !prev.Before(p.Previous) {
		return lost, hole
	}
	if lost = p.Previous.Offset; prev.Epoch == p.Previous.Epoch {
		lost -= prev.Offset
	}
	return lost, true
}

// missing tells how many publications lie between two positions, and whether there are any. An epoch begins at offset 1: what was lost at the end of
// an earlier one is not known here.
func missing(prev, next protocol.Position) (lost uint64, hole bool) {
	if prev.Epoch == next.Epoch {
		lost = next.Offset - prev.Offset - 1
	} else {
		lost = next.Offset - 1
	}
	return lost, lost > 0
}
