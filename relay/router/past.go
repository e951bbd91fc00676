package router

import (
	"maps"
	"math"
	"slices"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/router/dialect"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// past has a topic's publications from some position on. It begins with those of the topic's tail,
// and takes in what is published. Older ones are read from history for clients that come back, page
// by page, from the newest to the oldest. So a client waits only for the pages that it needs, also
// while another client waits for older ones. All clients that come back to the topic at about the
// same time share one past.
type past struct {
	known    bool // the fields from, to and items say something
	from, to protocol.Position
	items    []dialect.Published // all publications after past.from, up to past.to
	bytes    int                 // length of their texts
	cut      bool                // the publications up to past.from cannot be had
	asked    bool                // a page of history is asked for
	looking  bool                // of that page, only the top is needed
	// The page that is asked for begins after this position. It is zero if the past has begun anew
	// since, or if no page is asked for.
	after protocol.Position
	step  uint64 // number of publications that the next page should have
}

// pastsAtOnce bounds the pages that are asked for at once, for the pasts of all topics.
const pastsAtOnce = 64

// pageGuess is how many bytes each page that is asked for counts in advance. Few pages have more.
const pageGuess = 128 << 10

// pastMost bounds the texts in the past of one topic, in bytes.
const pastMost = maxMissed

// recall returns the publications of t after the position since, up to the position at. The
// position since is before t's tail. The result ok is false if the publications are not at hand. If
// they are being read, the result wait is the list in which to wait. Otherwise some of them cannot
// be had.
func (r *Router) recall(t *topic, since, at protocol.Position) (pubs []dialect.Published, ok bool, wait *binders) {
	c := r.comeback(t)
	p := &c.past
	if !p.known || p.to.Before(t.tailFrom()) {
		r.beginPast(c)
	}
	r.keepTail(c) // a frame may be bound before heardMore is called for the newest publication
	switch {
	case !since.Before(p.from):
		i, j := p.index(since), p.index(at)
		return p.items[i:j:j], true, nil
	case p.cut || p.from.Epoch != since.Epoch:
		return nil, false, nil
	case !p.asked:
		r.askPast(c)
	}
	return nil, false, c.deeper(since)
}

// deeper returns the list in which to wait until the past reaches back to a position. Frames whose
// positions are near each other share a list. So no frame is tried again for each page.
func (c *comeback) deeper(since protocol.Position) *binders {
	if c.deep == nil {
		c.deep = make(map[uint64]*binders)
	}
	depth := since.Offset / broker.PageSize
	if c.deep[depth] == nil {
		c.deep[depth] = &binders{}
	}
	return c.deep[depth]
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

// beginPast makes the past of c that of the topic's tail alone.
func (r *Router) beginPast(c *comeback) {
	r.pasts.drop(c)
	p, from := &c.past, c.topic.tailFrom()
	p.known, p.from, p.to, p.step = true, from, from, broker.PageSize
}

// keepTail adds the newest publications of the topic's tail to its past. It is called for each
// publication. So the past stays whole, although the tail soon drops these publications.
func (r *Router) keepTail(c *comeback) {
	p, t := &c.past, c.topic
	if !p.known || !p.to.Before(t.top) || p.to.Before(t.tailFrom()) {
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

// boundPast keeps the past of c, and all pasts together, within their bounds. If all together are
// too large, it drops pasts that nobody waits for. If that does not suffice, the past of c loses
// its oldest items. Whoever needs them is told that nothing was recovered.
func (r *Router) boundPast(c *comeback) {
	p, most := &c.past, r.pastsMost()
	r.pasts.bound(most+max(p.bytes-pastMost, 0), c, math.MaxInt)
	for p.bytes > pastMost || r.pasts.bytes > most && len(p.items) > 0 {
		p.from, p.cut = p.items[0].Position, true
		r.pasts.grow(c, -len(p.items[0].Text))
		p.items[0] = dialect.Published{}
		p.items = p.items[1:]
	}
}

// pastsMost returns the bound of the texts in all pasts together, in bytes.
func (r *Router) pastsMost() int { return max(r.cfg.TailBytes/4, pastMost) }

// mayAskPast reports whether it is the turn of c to ask for a page. While pasts that are in use
// take half of their bound, a past of which nothing was read waits. So those that are being read
// have the other half for their further pages.
func (r *Router) mayAskPast(c *comeback) bool {
	q := &r.pasts
	switch {
	case q.asked >= pastsAtOnce: // bound would walk for nothing
		return false
	case q.asked == 0 || len(c.past.items) > 0:
		return true
	}
	most := r.pastsMost()/2 - (q.asked+1)*pageGuess
	q.bound(most, c, boundedAtOnce)
	return q.bytes <= most
}

// askPast asks for the page of history that ends at past.from, or makes c wait for its turn.
func (r *Router) askPast(c *comeback) {
	p := &c.past
	p.asked = true
	if !r.mayAskPast(c) {
		r.pasts.waiting = append(r.pasts.waiting, c)
		return
	}
	r.pasts.asked++
	p.after = protocol.Position{Epoch: p.from.Epoch, Offset: p.from.Offset - min(p.from.Offset, p.step)}
	r.brk.ReadHistory(c.topic.name, p.after, r.requests.ask(c))
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
// for their turn stay too, and so do those for which frames wait. A past that stays counts as used
// now. The last argument bounds how many pasts are looked at.
func (q *pasts) bound(most int, now *comeback, tries int) {
	for last := q.last; q.first != nil && q.bytes > most && tries > 0; tries-- {
		c := q.first
		if c != now && !c.past.asked && !c.awaited() {
			q.drop(c)
		} else {
			q.remove(c)
			q.add(c)
		}
		if c == last {
			return
		}
	}
}

// boundedAtOnce is how many pasts are looked at when a page is to be asked for. In a crowd most
// pasts are in use, and a walk over all of them for each page would take long.
const boundedAtOnce = 8

// drop forgets what a past knows. A page of the past that is asked for still comes, and is then
// ignored.
func (q *pasts) drop(c *comeback) {
	q.grow(c, -c.past.bytes)
	c.past = past{asked: c.past.asked, looking: c.past.looking}
}

// recalled takes a page of history that askPast or look has asked for.
func (r *Router) recalled(c *comeback, ev broker.History) {
	p, t := &c.past, c.topic
	looking, after := p.looking, p.after
	p.asked, p.looking, p.after = false, false, protocol.Position{}
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
	case after.IsZero() || p.cut: // the page is not needed any more
	case !ev.Genuine: // the publications here may be others than those that clients had
		r.beginPast(c)
		p.cut = true
	default:
		r.takePast(c, ev, after)
		r.boundPast(c)
	}
	r.reach(c)
}

// takePast puts those publications of a page before the items of a past that end at past.from and
// have no hole. The page begins after the given position.
func (r *Router) takePast(c *comeback, ev broker.History, after protocol.Position) {
	p, pubs := &c.past, ev.Publications
	end := len(pubs)
	for end > 0 && p.from.Before(pubs[end-1].Position) {
		end--
	}
	begin, from := end, p.from
	for begin > 0 && pubs[begin-1].Position == from && from.Offset > 0 {
		begin--
		from.Offset--
	}
	switch {
	case begin == end && p.step > 1 && ev.More && ev.Through.Before(p.from):
		// The publications are long, so the page ends before past.from.
		p.step = max(uint64(len(pubs)/2), 1)
		return
	case begin == end:
		p.cut = true
		return
	}
	items := make([]dialect.Published, 0, end-begin)
	for i := begin; i < end; i++ {
		pub := r.listed(pubs[i].Position, &pubs[i].Content)
		items = append(items, pub)
		r.pasts.grow(c, len(pub.Text))
	}
	p.items = slices.Insert(p.items, 0, items...)
	p.from, p.cut = from, after.Before(from)
}

// reach tries those frames again to which the past of c reaches back now. If it can reach no
// further, it tries all. If others need more, it asks for the next page.
func (r *Router) reach(c *comeback) {
	p, deeper := &c.past, false
	for _, depth := range slices.Backward(slices.Sorted(maps.Keys(c.deep))) {
		switch list := c.deep[depth]; {
		case !p.cut && p.known && depth < p.from.Offset/broker.PageSize && list.first != nil:
			deeper = true
		default:
			c.rise(depth)
		}
	}
	if c.waiting.first != nil {
		r.wake(c)
	}
	if deeper && !p.asked {
		r.askPast(c)
	}
}

// rise moves the frames of a list in comeback.deep to comeback.waiting.
func (c *comeback) rise(depth uint64) {
	for list := c.deep[depth]; list.first != nil; {
		fr := list.first
		list.remove(fr)
		c.waiting.add(fr)
	}
	if delete(c.deep, depth); len(c.deep) == 0 {
		c.deep = nil // a map does not shrink
	}
}

// awaited reports whether frames wait at c.
func (c *comeback) awaited() bool {
	if c.waiting.first != nil {
		return true
	}
	for _, list := range c.deep {
		if list.first != nil {
			return true
		}
	}
	return false
}

// nextPast asks for pages that have waited for their turn.
func (r *Router) nextPast() {
	q := &r.pasts
	for len(q.waiting) > 0 && r.mayAskPast(q.waiting[0]) {
		c := q.waiting[0]
		if q.waiting = q.waiting[1:]; len(q.waiting) == 0 {
			q.waiting = nil
		}
		c.past.asked = false
		if r.comebacks[c.topic] == c {
			r.reach(c)
		}
	}
}
