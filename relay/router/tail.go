package router

import (
	"slices"
	"time"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// tail is the recent publications of one topic, bare ones included, numbered from 1 in the order they came. Every publication with a position after base
// and up to the topic's top is in it.
type tail struct {
	base  protocol.Position
	items []tailItem
	next  uint64 // number of items ever added
	ahead int    // how many items were given ahead
	torn  bool   // such an item has left while the broker is away
}

type tailItem struct {
	position protocol.Position // zero: bare, or ahead
	id       uint64            // of what was given ahead; else zero
	bytes    []byte            // the encoded link.Publication or link.Ahead
	place    int               // in tails.order, counted from the first that ever was
}

// first and last are the numbers of the items in it; last is first-1 when it is empty.
func (t *tail) first() uint64           { return t.next - uint64(len(t.items)) + 1 }
func (t *tail) last() uint64            { return t.next }
func (t *tail) at(seq uint64) *tailItem { return &t.items[seq-t.first()] }

// firstAhead returns the number of the first item that was given ahead; last()+1: there is none.
func (t *tail) firstAhead() uint64 {
	if t.ahead == 0 {
		return t.last() + 1
	}
	return t.first() + uint64(slices.IndexFunc(t.items, func(item tailItem) bool { return item.id != 0 }))
}

// end is the highest position in it; zero: there is none.
func (t *tail) end() protocol.Position {
	for _, item := range slices.Backward(t.items) {
		if !item.position.IsZero() {
			return item.position
		}
	}
	return protocol.Position{}
}

// seek returns the number of the first item after p. What was bare before it is passed over: whether it was received is not known.
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

// maxTailItems bounds the number of publications in all tails together.
const maxTailItems = 1 << 18

// tails bounds all tails together, in bytes, number and age: the oldest publication of all leaves first.
type tails struct {
	most  int
	bytes int
	order []tailEntry // in order of arrival
	head  int
	cut   int // how many have been cut off before order's first
}

// tailEntry is an item of a tail. One that has left keeps its place until its time has come, and nothing alive: its topic may be gone.
type tailEntry struct {
	topic *topic // nil: it has left
	at    time.Time
}

// add puts a publication into a topic's tail, which is as long as it has to be while it holds what was given ahead.
func (ts *tails) add(r *Router, t *topic, item tailItem) {
	item.place = ts.cut + len(ts.order)
	t.tail.items = append(t.tail.items, item)
	t.tail.next++
	if item.id != 0 {
		t.tail.ahead++
	}
	ts.bytes += len(item.bytes)
	ts.order = append(ts.order, tailEntry{t, r.now})
	for len(t.tail.items) > r.cfg.TailLength && t.tail.ahead == 0 {
		ts.pop(t)
	}
	for ts.bytes > ts.most || len(ts.order)-ts.head > maxTailItems {
		ts.oldest()
	}
}

// expire lets what is older than tailAge go.
func (ts *tails) expire(now time.Time) {
	for ts.head < len(ts.order) && now.Sub(ts.order[ts.head].at) > tailAge {
		ts.oldest()
	}
}

// oldest takes the first entry in order off; its item, the first of its tail, leaves if it is still there.
func (ts *tails) oldest() {
	if t := ts.order[ts.head].topic; t != nil {
		ts.pop(t)
	}
	ts.head++
	if ts.head > 1024 && ts.head > len(ts.order)/2 {
		ts.order = append([]tailEntry(nil), ts.order[ts.head:]...)
		ts.cut += ts.head
		ts.head = 0
	}
}

// pop takes the first item off a tail.
func (ts *tails) pop(t *topic) {
	item := t.tail.items[0]
	t.tail.items[0] = tailItem{}
	t.tail.items = t.tail.items[1:]
	if len(t.tail.items) == 0 {
		t.tail.items = nil
	}
	ts.order[item.place-ts.cut].topic = nil
	ts.bytes -= len(item.bytes)
	if item.id != 0 {
		t.tail.ahead--
		t.tail.torn = true
	}
	if !item.position.IsZero() {
		t.tail.base = item.position
	}
}

// drop empties a tail.
func (ts *tails) drop(t *topic) {
	for len(t.tail.items) > 0 {
		ts.pop(t)
	}
}
