package router

import (
	"bytes"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// topic is a stream of publications that somebody here follows. It is subscribed from the first follower to the last. There are as many as users, and a silent one holds
// little: keep it so.
type topic struct {
	name   protocol.Topic
	number uint64 // on every link, and the token of the Subscribe; never used for another topic

	top        protocol.Position // the highest known to be published here
	first      follower          // the first one
	crowd      *crowd            // all followers, once there was a second one
	recent     *recent           // nil: nothing is under way, and nothing was published lately
	subscribed bool              // confirmed, and not deaf since
	placed     bool              // it was confirmed once: top is what was the top then, or later
}

// follow returns e's follower of a topic, subscribing the topic if this is its first. The caller gives the follower a reason to stay: openers,
// notices or members.
func (r *Router) follow(e *edge, name protocol.Topic) *follower {
	t := r.topics[name]
	if t == nil {
		t = &topic{name: name, number: r.token()}
		r.topics[name] = t
		r.m.topics.Inc()
		r.brk.Subscribe(name, t.number)
	} else if f := t.find(e); f != nil {
		return f
	}
	f := t.add(e)
	f.inEdge = uint32(len(e.followers))
	e.followers = append(e.followers, f)
	return f
}

// follower returns e's follower of a topic, or nil.
func (r *Router) follower(e *edge, name protocol.Topic) *follower {
	if t := r.topics[name]; t != nil {
		return t.find(e)
	}
	return nil
}

// subscribed is told that a topic's subscription was confirmed, the first time or anew.
func (r *Router) subscribed(ev broker.Subscribed) {
	t := r.topics[ev.Topic]
	if t == nil || t.number != ev.Token {
		return
	}
	if t.placed && !t.subscribed {
		r.deafened--
	}
	t.subscribed, t.placed = true, true
	if t.recent != nil {
		t.recent.blind = 0
	}
	// What is known to have been published and is no more there is lost: a back end that went back in time is told as a hole.
	top := ev.Top
	if known := t.known(); top.Before(known) {
		top = known
	}
	r.wentBack(t, ev.Top)
	for f := range t.all {
		r.place(f, top)
	}
	if t.top.Before(top) {
		t.skipTo(r, top)
	}
	r.heardTo(t)
	r.settle(t)
	r.wakeAhead(t.name)
	r.rest(t)
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
	if t.recent != nil {
		t.recent.tail.base = p
	}
	t.top = p
	for f := range t.all {
		if f.live() && f.position.Before(p) && f.bound > 0 {
			r.fallBehind(f)
		}
	}
}

// settle lets go on what waited for the topic: followers behind, connects, joins.
func (r *Router) settle(t *topic) {
	for f := range t.all {
		r.advance(f)
	}
	r.releaseOpeners(t)
	r.runLanes(t.name) // they waited for the subscription
	r.completeAnswered(t)
}

// releaseOpeners tries the connects that wait for a topic.
func (r *Router) releaseOpeners(t *topic) {
	for f := range t.all {
		r.tryOpeners(f)
	}
}

func (r *Router) tryOpeners(f *follower) {
	if !f.opens() || !f.bindable() {
		return
	}
	if one := f.waits.opener; one != nil {
		r.tryOpen(one, one.own())
		return
	}
	for _, s := range f.inOrder() {
		r.tryOpen(s, s.own())
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
	encoded := bytes.Clone(r.encode(t, p))
	r.tails.add(r, t, tailItem{position: p.Position, bytes: encoded})
	if !p.Position.IsZero() {
		t.top = p.Position
		r.heardTo(t)
	}
	for f := range t.all {
		r.deliver(f, p.Position, encoded)
	}
	r.completeEcho(t, p)
	r.completeAnswered(t)
	for f := range t.all {
		r.advance(f)
	}
	r.wakeAhead(t.name)
	r.rest(t)
}

// encode renders a publication's text, once, into the frame that every link gets. It is good until the next call.
func (r *Router) encode(t *topic, p broker.Publication) []byte {
	r.text = protocol.AppendText(r.text[:0], t.name, p.From, p.Msg)
	f := link.Publication{Topic: t.number, Position: p.Position, Payload: r.text}
	if !p.Position.IsZero() {
		f.ID = protocol.BriefID(p.Instance, p.Number)
	}
	if !t.name.IsUser() {
		f.Except = p.From
	}
	r.encoded = f.Append(r.encoded[:0])
	return r.encoded
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
