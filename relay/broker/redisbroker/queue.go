package redisbroker

import (
	"context"
	"sync"
)

// queue holds requests from the Broker's callers for the one goroutine that carries them out, in order. It is bounded by the callers, who
// have a bounded number of unanswered requests: of each edge twice its log.
type queue[T any] struct {
	weigh func(*T) int

	mu    sync.Mutex // guards the following
	items []T        // those before head were taken
	head  int

	taken []T // what take returned last; its caller's

	wake chan struct{} // from put to take; one slot
}

// keepItems is how many items a queue keeps memory for.
const keepItems = 1024

func newQueue[T any](weigh func(*T) int) *queue[T] {
	return &queue[T]{weigh: weigh, wake: make(chan struct{}, 1)}
}

// put adds a request. It never blocks.
func (q *queue[T]) put(x T) {
	q.mu.Lock()
	q.items = append(q.items, x)
	q.mu.Unlock()
	signal(q.wake)
}

// take waits for requests and returns the first ones: at most n, and not more than weight in all unless the first alone is. They are valid until
// the next call. It returns nil when ctx is cancelled.
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

// moveLocked moves the first items to taken. mu must be held.
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
