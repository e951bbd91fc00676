package redisbroker

import (
	"context"
	"sync"
	"time"
)

// queue passes items, in order, to the one goroutine that works on them. Most items are requests to
// a Broker. A queue itself is not bounded: the caller of the Broker bounds the number of its
// unanswered requests.
type queue[T any] struct {
	weigh func(*T) int

	mu    sync.Mutex // guards the following
	items []T        // the items before the index head were taken
	head  int

	taken []T // last result of take; the caller of take owns it until the next call

	wake chan struct{} // signal from the method put to the method take; one slot
}

// keepItems is the largest number of items that a queue keeps memory for while it is empty.
const keepItems = 1024

func newQueue[T any](weigh func(*T) int) *queue[T] {
	return &queue[T]{weigh: weigh, wake: make(chan struct{}, 1)}
}

// put adds an item. It never blocks.
func (q *queue[T]) put(x T) {
	q.mu.Lock()
	q.items = append(q.items, x)
	q.mu.Unlock()
	signal(q.wake)
}

// take waits for items, and returns up to n items from the front of the queue. The argument weight
// bounds the weight of these items together. If the first item alone weighs more, take returns only
// that item. The result is valid until the next call. The result is nil once ctx is done and
// nothing is queued.
func (q *queue[T]) take(ctx context.Context, n, weight int) []T {
	for {
		if batch := q.first(n, weight); len(batch) > 0 {
			return batch
		}
		select {
		case <-ctx.Done():
			return nil
		case <-q.wake:
		}
	}
}

func (q *queue[T]) first(n, weight int) []T {
	q.mu.Lock()
	defer q.mu.Unlock()
	count, sum := 0, 0
	for items := q.items[q.head:]; count < len(items) && count < n; count++ {
		if sum += q.weigh(&items[count]); sum > weight && count > 0 {
			break
		}
	}
	q.moveLocked(count)
	return q.taken
}

// moveLocked moves items from the front of the queue to the field taken. The argument count is
// their number. The caller holds mu.
func (q *queue[T]) moveLocked(count int) {
	first := q.items[q.head : q.head+count]
	if clear(q.taken); cap(q.taken) > keepItems {
		q.taken = nil
	}
	q.taken = append(q.taken[:0], first...)
	clear(first)
	switch q.head += count; {
	case q.head == len(q.items) && cap(q.items) <= keepItems:
		q.items, q.head = q.items[:0], 0
	case q.head == len(q.items):
		q.items, q.head = nil, 0
	case q.head > len(q.items)/2:
		left := copy(q.items, q.items[q.head:])
		clear(q.items[left:])
		q.items, q.head = q.items[:left], 0
	}
}

// pace bounds how much goes into one round trip. It shrinks while round trips are slow, so that an
// answer waits for few other requests, and little is under way when a connection is lost. It grows
// while round trips are quick. It begins at its lowest value.
type pace struct {
	least, most, now int
}

// The pace aims at round trips that take between these times.
const (
	paceQuick = 250 * time.Millisecond
	paceSlow  = time.Second
)

func newPace(least, most int) pace { return pace{least, most, least} }

// The method named took adapts the pace after a round trip. The parameter much says how much the
// round trip carried, and the parameter d says how long it took. The pace does not grow after a
// round trip that used at most half of the pace: a small round trip says nothing about larger ones.
func (p *pace) took(much int, d time.Duration) {
	switch {
	case d > paceSlow:
		p.now = max(p.now/2, p.least)
	case d < paceQuick && much > p.now/2:
		p.now = min(p.now*2, p.most)
	}
}

// The method named failed makes the pace shrink, as after a slow round trip. It is called after a
// round trip in which Redis did not answer, or refused a request.
func (p *pace) failed() { p.took(0, paceSlow+1) }

// signal fills the one slot of c, if that is empty.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
