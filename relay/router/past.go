package router

import (
	"slices"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/router/dialect"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// past has publications of a topic that are older than its tail. They are read from history for
// clients that come back. All clients that come back to the topic at about the same time share one
// past.
type past struct {
	known    bool // the fields from, to and items say something
	from, to protocol.Position
	items    []dialect.Published // all publications after past.from, up to past.to
	bytes    int                 // length of their texts
	cut      bool                // the publications up to past.from cannot be had
	asked    bool                // a page of history is asked for
	looking  bool                // of that page, only the top is needed
}

// The past begins pastEarlier publications before the position of the first client that asks. The
// next clients may have seen a little less than the first one.
const pastEarlier = 64

// pastsAtOnce bounds the pages that are asked for at once, for the pasts of all topics.
const pastsAtOnce = 64

// pastMost bounds the texts in the past of one topic, in bytes.
const pastMost = maxMissed

// recall returns the publications of t after the position since, up to the position at. The
// position since is before t's tail. The result ok is false if the publications are not at hand. If
// they are being read, the result wait is the list in which to wait. Otherwise some of them cannot
// be had.
func (r *Router) recall(t *topic, since, at protocol.Position) (pubs []dialect.Published, ok bool, wait *binders) {
	c := r.comeback(t)
	p := &c.past
	switch {
	case p.asked:
		return nil, false, &c.waiting
	case p.from.Epoch == since.Epoch && !since.Before(p.from):
		if p.to.Before(t.tailFrom()) {
			r.askPast(c)
			return nil, false, &c.waiting
		}
		r.keepTail(c)
		if since.Before(p.from) { // keepTail has dropped items that are asked for
			return nil, false, nil
		}
		i, j := p.index(since), p.index(at)
		return p.items[i:j:j], true, nil
	case p.cut && since.Before(p.from):
		return nil, false, nil
	}
	earlier := uint64(pastEarlier)
	// A further reading begins at least twice as far back as the client has asked for.
	if p.known {
		earlier = max(earlier, at.Offset-since.Offset)
	}
	r.pasts.drop(c)
	start := protocol.Position{Epoch: since.Epoch, Offset: since.Offset - min(since.Offset, earlier)}
	p.known, p.from, p.to = true, start, start
	r.askPast(c)
	return nil, false, &c.waiting
}

// index returns the number of items up to a position.
func (p *past) index(at protocol.Position) int {
	i, _ := slices.BinarySearchFunc(p.items, at, func(pub dialect.Published, at protocol.Position) int {
		if at.Before(pub.Position) {
			return 1
		}
		return -1
	})
	return i
}

// keepTail adds the publications of the topic's tail to its past. The past must reach the tail. So
// a busy topic's past stays whole while many clients come back, although the tail soon drops these
// publications.
func (r *Router) keepTail(c *comeback) {
	p, t := &c.past, c.topic
	if !p.to.Before(t.top) { // history may have more than this relay has heard
		return
	}
	n := len(p.items)
	p.items = r.inTail(t, p.items, p.to, t.top)
	for _, pub := range p.items[n:] {
		r.pasts.grow(c, len(pub.Text))
	}
	p.to = t.top
	r.boundPast(c)
}

// boundPast drops the oldest items of a past that has more than pastMost. Then it drops pasts of
// other topics, if all pasts together are too large.
func (r *Router) boundPast(c *comeback) {
	p := &c.past
	for p.bytes > pastMost {
		p.from, p.cut = p.items[0].Position, true
		r.pasts.grow(c, -len(p.items[0].Text))
		p.items = p.items[1:]
	}
	r.pasts.bound(r.cfg.TailBytes/4, c)
}

// askPast asks for the page of history after past.to. If too many pages are asked for, c waits for
// its turn.
func (r *Router) askPast(c *comeback) {
	c.past.asked = true
	if r.pasts.asked >= pastsAtOnce {
		r.pasts.waiting = append(r.pasts.waiting, c)
		return
	}
	r.pasts.asked++
	r.brk.ReadHistory(c.topic.name, c.past.to, r.requests.ask(c))
}

// pasts bounds the pasts of all topics together.
type pasts struct {
	asked   int         // pages that are asked for
	waiting []*comeback // those that wait for their turn to ask
	bytes   int         // texts of all pasts
	// The comebacks whose pasts have texts are in a linked list, in the order of their last use.
	first, last *comeback
}

// add puts a comeback at the end of the list.
func (q *pasts) add(c *comeback) {
	if c.prev = q.last; q.last != nil {
		q.last.next = c
	} else {
		q.first = c
	}
	q.last, c.listed = c, true
}

// remove takes a comeback off the list, if it is there.
func (q *pasts) remove(c *comeback) {
	if !c.listed {
		return
	}
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		q.first = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	} else {
		q.last = c.prev
	}
	c.prev, c.next, c.listed = nil, nil, false
}

// grow adds a number of bytes to the length of the texts of a past.
func (q *pasts) grow(c *comeback, bytes int) {
	c.past.bytes += bytes
	q.bytes += bytes
	switch has := c.past.bytes > 0; {
	case has && !c.listed:
		q.add(c)
	case !has:
		q.remove(c)
	}
}

// bound drops pasts while all of them together have more than a number of bytes. What was used
// longest ago is dropped first. The past in the argument stays. Pasts that are being read or wait
// for their turn stay too, and so do those for which frames wait.
func (q *pasts) bound(most int, now *comeback) {
	for c := q.first; c != nil && q.bytes > most; {
		next := c.next
		if c != now && !c.past.asked && c.waiting.first == nil {
			q.drop(c)
		}
		c = next
	}
}

// drop forgets what a past knows. A page of the past that is asked for still comes, and is then
// ignored.
func (q *pasts) drop(c *comeback) {
	q.grow(c, -c.past.bytes)
	c.past = past{asked: c.past.asked, looking: c.past.looking}
}

// skip makes a past begin after a position. What is before it cannot be had.
func (q *pasts) skip(c *comeback, at protocol.Position) {
	q.grow(c, -c.past.bytes)
	p := &c.past
	p.items = nil
	p.known, p.cut, p.from, p.to = true, true, at, at
}

// recalled takes a page of history that askPast or look has asked for.
func (r *Router) recalled(c *comeback, ev broker.History) {
	p, t := &c.past, c.topic
	looking := p.looking
	p.asked, p.looking = false, false
	if !looking {
		r.pasts.asked--
		defer r.nextPast()
	}
	switch {
	case r.comebacks[t] != c:
		return
	case ev.Err != nil:
		r.wakeLater(c)
		return
	case looking:
		c.looked, c.top = max(r.clock, 1), ev.Top
		if ev.Genuine && ev.Top.Epoch == t.top.Epoch && !ev.Top.Before(t.top) {
			t.vouched = t.top.Epoch
		}
		r.wake(c)
		return
	case !ev.Genuine:
		r.pasts.skip(c, t.top)
		r.wake(c)
		return
	}
	was, from := p.to, p.from
	r.takePast(c, ev)
	r.boundPast(c)
	if first := t.tailFrom(); p.to.Before(first) && c.waiting.first != nil {
		switch {
		case was == p.to:
			r.pasts.skip(c, first) // the broker has lost what comes before the tail
		case from == p.from:
			r.askPast(c)
			return
		}
		// Otherwise the past begins later than before. For some of the frames that wait, the past
		// may now begin too late. These frames need no further page. The other frames ask for the
		// next page again.
	}
	r.wake(c)
}

// takePast adds the publications of a page to a past. If there is a hole before the tail, the past
// begins behind it.
func (r *Router) takePast(c *comeback, ev broker.History) {
	p, first := &c.past, c.topic.tailFrom()
	for i := range ev.Publications {
		pub := &ev.Publications[i]
		if _, hole := missing(p.to, pub.Position); hole || pub.Position.Epoch != p.to.Epoch {
			if !p.to.Before(first) {
				return // the tail has what follows, or this relay has not heard of it yet
			}
			r.pasts.skip(c, protocol.Position{Epoch: pub.Position.Epoch, Offset: pub.Position.Offset - 1})
		}
		p.items = append(p.items, r.past(pub.Position, &pub.Content))
		r.pasts.grow(c, len(p.items[len(p.items)-1].Text))
		p.to = pub.Position
	}
	if !p.to.Before(first) {
		return
	}
	if p.to.Before(ev.Through) { // the last entries of the page could not be read
		r.pasts.skip(c, ev.Through)
	}
	if !ev.More && p.to.Before(ev.Top) { // history ends before the topic's top
		r.pasts.skip(c, ev.Top)
	}
}

// nextPast asks for the pages that have waited for their turn.
func (r *Router) nextPast() {
	q := &r.pasts
	for q.asked < pastsAtOnce && len(q.waiting) > 0 {
		c := q.waiting[0]
		if q.waiting = q.waiting[1:]; len(q.waiting) == 0 {
			q.waiting = nil
		}
		if r.comebacks[c.topic] == c {
			r.askPast(c)
		}
	}
}
