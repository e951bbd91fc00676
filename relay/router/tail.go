package router

import (
	"slices"
	"time"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// tail has the recent publications of one topic, numbered in order of arrival. It holds the
// publications with a position after tail.base, up to the topic's top. It also holds publications
// without a position: bare ones, which original servers published, and messages given ahead.
type tail struct {
	base  protocol.Position // equals the topic's top if the tail is empty
	plain protocol.Position // highest position of an item added without said; zero: none
	items []tailItem
	next  uint64 // the next item that is added gets the number next+1
	ahead int32  // number of items in the tail that were given ahead
	torn  bool   // an item that was given ahead has left the tail in this outage
}

type tailItem struct {
	position protocol.Position // zero: the item is bare or was given ahead (see tail)
	id       uint64            // ID of a message given ahead; 0: not given ahead
	bytes    []byte            // encoded link.Publication or link.Ahead, if said is nil
	said     *said             // nil: no client of an SDK was a member here
	index    uint64            // index of its entry in tails.order, plus tails.cut

	// Only for messages given ahead:
	origin
	at protocol.Position // the position of its publication, or a later one; zero: unknown
}

// size returns how many bytes of tails.bytes an item takes.
func (i *tailItem) size() int {
	if i.said != nil {
		return i.said.size()
	}
	return len(i.bytes)
}

// The methods first and last return the numbers of the oldest and the newest item. If the tail is
// empty, last() is first()-1.
func (t *tail) first() uint64           { return t.next - uint64(len(t.items)) + 1 }
func (t *tail) last() uint64            { return t.next }
func (t *tail) at(seq uint64) *tailItem { return &t.items[seq-t.first()] }

// firstAhead returns the number of the first item that was given ahead. If there is none, it
// returns last()+1.
func (t *tail) firstAhead() uint64 {
	if t.ahead == 0 {
		return t.last() + 1
	}
	return t.first() + uint64(slices.IndexFunc(t.items, func(item tailItem) bool { return item.id != 0 }))
}

// end returns the highest position in the tail, or zero if there is none.
func (t *tail) end() protocol.Position {
	for _, item := range slices.Backward(t.items) {
		if !item.position.IsZero() {
			return item.position
		}
	}
	return protocol.Position{}
}

// seek returns the number of the first item with a position after p, or last()+1 if there is none.
// It skips all earlier items without a position, since an edge at position p may have received
// them.
func (t *tail) seek(p protocol.Position) uint64 {
	seq := t.first()
	for i, item := range t.items {
		if !item.position.IsZero() && !p.Before(item.position) {
			seq = t.first() + uint64(i) + 1
		}
	}
	for seq <= t.last() && t.at(seq).position.IsZero() {
		seq++
	}
	return seq
}

// maxTailItems bounds the entries of tails.order from tails.head on, and so the number of items in
// all tails together.
const maxTailItems = 1 << 18

// tails bounds all tails together, in bytes and number. Except in outages it also bounds their age.
// To keep these bounds, the oldest publication of all topics leaves first.
type tails struct {
	most  int
	bytes int
	order []tailEntry // in order of arrival
	head  int
	cut   uint64 // number of entries that were cut off at the front of tails.order
}

// tailEntry refers to an item of a tail. When the item leaves before its turn, the entry stays in
// tails.order until it is the oldest entry. Such an entry names no topic, so that it keeps none in
// memory.
type tailEntry struct {
	topic *topic        // nil: the item has left
	at    time.Duration // Router.clock when the item came
}

// added returns how many items were ever added to all tails together.
func (ts *tails) added() uint64 { return ts.cut + uint64(len(ts.order)) }

// tails.since returns the number of the first item of t's tail that was added after a certain
// moment. Its last argument is what tails.added returned at that moment. If there is no such item
// yet, the result is the lowest number that the next item can get.
func (ts *tails) since(t *topic, added uint64) uint64 {
	if t.recent == nil {
		return ts.added() + 1 // the numbers of t's next tail begin there
	}
	tail := &t.recent.tail
	i := len(tail.items)
	for i > 0 && tail.items[i-1].index >= added {
		i--
	}
	return tail.first() + uint64(i)
}

// add puts a publication into a topic's tail. While the tail holds messages given ahead, its length
// is not bounded by Config.TailLength.
func (ts *tails) add(r *Router, t *topic, item tailItem) {
	tail := &r.recently(t).tail
	item.index = ts.added()
	tail.items = append(tail.items, item)
	tail.next++
	if item.id != 0 {
		tail.ahead++
	}
	ts.bytes += item.size()
	if item.said != nil {
		item.said.kept = true
	} else if len(r.dialects) > 1 && !item.position.IsZero() {
		tail.plain = item.position
	}
	ts.order = append(ts.order, tailEntry{t, r.clock})
	for len(tail.items) > r.cfg.TailLength && tail.ahead == 0 {
		ts.pop(t)
	}
	for ts.bytes > ts.most || len(ts.order)-ts.head > maxTailItems {
		if was := ts.oldest(); was != nil && was != t {
			r.compact(was)
		}
	}
}

// expire removes the items older than tailAge.
func (ts *tails) expire(r *Router) {
	for ts.head < len(ts.order) && r.clock-ts.order[ts.head].at > tailAge {
		if was := ts.oldest(); was != nil {
			r.compact(was)
		}
	}
}

// tails.oldest takes the first entry off tails.order. If the entry's item is still in a tail,
// tails.oldest removes the item too, and returns the topic of that tail. The item is always the
// first one of its tail. If the item has left its tail before, the result is nil.
func (ts *tails) oldest() *topic {
	t := ts.order[ts.head].topic
	if t != nil {
		ts.pop(t)
	}
	ts.head++
	switch {
	case ts.head == len(ts.order):
		ts.cut += uint64(ts.head)
		ts.order, ts.head = ts.order[:0], 0
		if cap(ts.order) > 1024 {
			ts.order = nil
		}
	case ts.head > 1024 && ts.head > len(ts.order)/2:
		ts.order = append([]tailEntry(nil), ts.order[ts.head:]...)
		ts.cut += uint64(ts.head)
		ts.head = 0
	}
	return t
}

// pop takes the first item off a tail.
func (ts *tails) pop(t *topic) {
	tail := &t.recent.tail
	item := tail.items[0]
	tail.items[0] = tailItem{}
	if tail.items = tail.items[1:]; len(tail.items) == 0 {
		tail.items = nil
	}
	ts.order[item.index-ts.cut].topic = nil
	ts.bytes -= item.size()
	if item.id != 0 {
		tail.ahead--
		tail.torn = true
	}
	if !item.position.IsZero() {
		tail.base = item.position
	}
}

// drop empties a tail.
func (ts *tails) drop(t *topic) {
	for t.recent != nil && len(t.recent.tail.items) > 0 {
		ts.pop(t)
	}
}
