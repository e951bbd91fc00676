package router

import (
	"slices"
	"time"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// tail is the recent publications of one topic, bare ones included, numbered in the order they came. Every publication with a position after base
// and up to the topic's top is in it.
type tail struct {
	base  protocol.Position // the top, when it is empty
	items []tailItem
	next  uint64 // the number of the last item
	ahead int32  // how many items were given ahead
	torn  bool   // such an item has left while the broker is away
}

type tailItem struct {
	position protocol.Position // zero: bare, or ahead
	id       uint64            // of what was given ahead; else zero
	bytes    []byte            // the encoded link.Publication or link.Ahead
	place    uint64            // in tails.order, counted from the first that ever was
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
	cut   uint64 // how many have been cut off before order's first
}

// tailEntry is an item of a tail. One that has left keeps its place until its time has come, and nothing alive: its topic may be gone.
type tailEntry struct {
	topic *topic        // nil: it has left
	at    time.Duration // of Router.clock
}

// added returns how many items were ever added.
func (ts *tails) added() uint64 { return ts.cut + uint64(len(ts.order)) }

// add puts a publication into a topic's tail, which is as long as it has to be while it holds what was given ahead.
func (ts *tails) add(r *Router, t *topic, item tailItem) {
	tail := &r.recently(t).tail
	item.place = ts.added()
	tail.items = append(tail.items, item)
	tail.next++
	if item.id != 0 {
		tail.ahead++
	}
	ts.bytes += len(item.bytes)
	ts.order = append(ts.order, tailEntry{t, r.clock})
	for len(tail.items) > r.cfg.TailLength && tail.ahead == 0 {
		ts.pop(t)
	}
	for ts.bytes > ts.most || len(ts.order)-ts.head > maxTailItems {
		if was := ts.oldest(); was != nil && was != t {
			r.rest(was)
		}
	}
}

// expire lets what is older than tailAge go.
func (ts *tails) expire(r *Router) {
	for ts.head < len(ts.order) && r.clock-ts.order[ts.head].at > tailAge {
		if was := ts.oldest(); was != nil {
			r.rest(was)
		}
	}
}

// oldest takes the first entry in order off, and returns its topic; its item, the first of its tail, leaves if it is still there, else it returns nil.
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
	ts.order[item.place-ts.cut].topic = nil
	ts.bytes -= len(item.bytes)
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
