package router

import (
	"bytes"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// topic is a stream of publications that somebody here follows. Its subscription lasts as long as
// it has followers. In an outage dropTopic may keep the subscription for longer. There may be as
// many topics as users, so the struct of a silent topic has to be small.
type topic struct {
	name protocol.Topic
	// number names the topic on every link, and is the token of its Subscribe. The number is never
	// used for another topic.
	number uint64

	// top is the position that the topic has reached at this relay, by publications received or by
	// Subscribed. A higher position may be known, see recent.known.
	top    protocol.Position
	first  follower // the first follower, which may be gone
	crowd  *crowd   // all followers; nil: there never was a second one
	recent *recent  // nil: nothing under way or published lately
	// begun is the epoch that the topic's next publication will have, if the topic has no top and
	// the epoch is decided; 0: unknown.
	begun uint64
	// vouched is the epoch of which the broker has said that its positions are genuine, see
	// broker.History; 0: none.
	vouched    uint64
	clients    int32 // members here that were told as link.Client
	subscribed bool  // its subscription was confirmed, and not lost since
	placed     bool  // its subscription was confirmed at least once
	beginning  bool  // the broker is asked to begin the topic's epoch, or soon is again
	failures   uint8 // number of times in a row that the broker has failed to do that
}

// follow returns e's follower of a topic, and creates it if there is none. If the topic is not in
// the directory, follow subscribes to it. The caller must give the follower a reason to stay:
// openers, notices or members.
func (r *Router) follow(e *edge, name protocol.Topic) *follower {
	t := r.directory.topics[name]
	if t == nil {
		t = r.subscribe(name, false)
	} else if f := t.find(e); f != nil {
		return f
	}
	f := t.add(e)
	f.inEdge = uint32(len(e.followers))
	e.followers = append(e.followers, f)
	return f
}

// subscribe enters a topic in the directory, and subscribes to it. The argument begin says whether
// the broker is to begin the topic's epoch. The caller must call follow next.
func (r *Router) subscribe(name protocol.Topic, begin bool) *topic {
	t := &topic{name: name, number: r.requests.token()}
	r.directory.topics[name] = t
	r.m.topics.Inc()
	r.brk.Subscribe(name, t.number, begin)
	return t
}

// subscribed handles the confirmation of a topic's subscription, be it the first or a later one.
func (r *Router) subscribed(ev broker.Subscribed) {
	t := r.directory.topics[ev.Topic]
	if t == nil || t.number != ev.Token {
		return
	}
	if t.placed && !t.subscribed {
		r.outage.deafened--
	}
	t.subscribed, t.placed, t.begun = true, true, ev.Begun
	if t.recent != nil {
		t.recent.blind = 0
	}
	// The highest known position may lie beyond ev.Top, for instance if the broker has lost
	// publications. The topic goes on at the highest known position. Followers that have not
	// reached it read history. Publications that history lacks are told as a gap.
	top := ev.Top
	if known := t.known(); top.Before(known) {
		top = known
	}
	t.vouched = 0
	if ev.Genuine && ev.Top == top { // otherwise the broker may have lost publications
		t.vouched = max(top.Epoch, ev.Begun)
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
	r.wakeTopic(t)
	r.wakeAhead(t.name)
	r.compact(t)
}

// deaf handles the loss of subscriptions. Followers keep their positions, and the next Subscribed
// shows how far the topic has got meanwhile.
func (r *Router) deaf(ev broker.Deaf) {
	if !ev.All {
		if t := r.directory.topics[ev.Topic]; t != nil {
			r.deafen(t)
		}
		return
	}
	for _, t := range r.directory.topics {
		r.deafen(t)
	}
}

func (r *Router) deafen(t *topic) {
	if t.subscribed {
		r.outage.deafened++
	}
	t.subscribed = false
}

// skipTo makes p the top, although this relay may lack publications up to p. A live follower with
// members falls behind if its position is before p. The follower then reads from history.
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

// settle resumes all that may have waited for the topic's subscription: followers that are behind,
// connects, lanes, joins and leaves.
func (r *Router) settle(t *topic) {
	for f := range t.all {
		r.advance(f)
	}
	r.releaseOpeners(t)
	r.runLanes(t.name) // these lanes waited for the subscription
	r.completeAnswered(t)
}

// releaseOpeners tries the connects that wait for a topic.
func (r *Router) releaseOpeners(t *topic) {
	for f := range t.all {
		r.tryOpeners(f)
	}
}

// tryOpeners tries to bind the sessions that wait at f: those whose connect waits, and those that
// have a frame in rare.binders.
func (r *Router) tryOpeners(f *follower) {
	r.tryBinders(f)
	if !f.opens() || !f.bindable() {
		return
	}
	if one := f.rare.opener; one != nil {
		r.tryOpen(one, r.own(one))
		return
	}
	for _, s := range f.inOrder() {
		r.tryOpen(s, r.own(s))
	}
}

// receive takes a publication from the broker, adds it to the tail, and delivers it to the live
// followers. It drops a publication whose topic is not in the directory. It also drops one that has
// a position, if that position is not after the topic's top.
func (r *Router) receive(p broker.Publication) {
	t := r.directory.topics[p.Topic]
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
			r.completeAnswered(t)
			if !r.directory.has(t) { // its last members left
				return
			}
		}
	}
	item := tailItem{position: p.Position}
	// If no client of an SDK is a member, or comes back, the chat's form is enough. But an edge's
	// tables that are being taken may bring members that need other forms. These members can read
	// the publication from history if it has a position, see tail.plain.
	if t.clients == 0 && r.comebacks[t] == nil && (len(r.dialects) == 1 || !p.Position.IsZero()) {
		item.bytes = bytes.Clone(r.encode(t, p, needChat))
	} else {
		item.said = &said{position: p.Position, id: idOf(p), content: p.Content}
		r.prepare(t, &item)
	}
	r.tails.add(r, t, item)
	if !p.Position.IsZero() {
		if t.top.Epoch != p.Position.Epoch {
			// The epoch of p is new. A server begins a new epoch if it does not know what was
			// lost. So all positions of the new epoch are genuine.
			t.vouched = p.Position.Epoch
		}
		t.top = p.Position
		r.heardTo(t)
	}
	members := 0
	for f := range t.all {
		if f.served() {
			r.deliver(f, p.Position, r.frameFor(f, &item))
		}
		members += int(f.bound)
	}
	r.account(t, p, members)
	r.completeEcho(t, p)
	r.completeAnswered(t)
	for f := range t.all {
		r.advance(f)
	}
	r.heardMore(t)
	r.wakeAhead(t.name)
	r.compact(t)
}

// costLeast is the least number of members for which account sends a link.Cost.
const costLeast = 64

// account counts the cost of a publication that was heard. If the sender's edge is not in the
// directory, another relay made the publication, and account counts it in the topic's rate. If the
// edge is in the directory, account assumes that this relay made the publication, and so has
// counted it already. In that second case, if the topic has costLeast members here or more, account
// sends the edge a Cost with their number.
func (r *Router) account(t *topic, p broker.Publication, members int) {
	e := r.directory.edges[p.Instance]
	switch {
	case e == nil:
		r.spend(t.name, p.Size())
	case members >= costLeast:
		r.send(e, link.Cost{User: p.From, Deliveries: uint64(members)}.Append)
	}
}

// encode renders a publication into the frame for an edge with the need n. The result is valid
// until the next call of encode or compose.
func (r *Router) encode(t *topic, p broker.Publication, n need) []byte {
	r.scratch.said = said{position: p.Position, id: idOf(p), content: p.Content}
	return r.compose(t, &r.scratch.said, n)
}

// idOf returns the ID by which edges know a publication, or 0 if p has no position.
func idOf(p broker.Publication) uint64 {
	if p.Position.IsZero() {
		return 0
	}
	return protocol.BriefID(p.Instance, p.Number)
}

// missed returns how many publications are known to lie between the position prev and the
// publication p, and whether there are any. The field p.Previous may tell the last position of the
// previous epoch. If that field is zero, losses at the end of an earlier epoch are not counted.
func missed(prev protocol.Position, p broker.Publication) (lost uint64, hole bool) {
	if lost, hole = missing(prev, p.Position); hole || !prev.Before(p.Previous) {
		return lost, hole
	}
	if lost = p.Previous.Offset; prev.Epoch == p.Previous.Epoch {
		lost -= prev.Offset
	}
	return lost, true
}

// missing returns how many publications are known to lie between two positions, and whether there
// are any. The position prev must be before the position next. An epoch begins at offset 1. Losses
// at the end of an earlier epoch are not counted.
func missing(prev, next protocol.Position) (lost uint64, hole bool) {
	if prev.Epoch == next.Epoch {
		lost = next.Offset - prev.Offset - 1
	} else {
		lost = next.Offset - 1
	}
	return lost, lost > 0
}
