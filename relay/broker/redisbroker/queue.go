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
	items []T

	wake chan struct{} // from put to take; one slot
}

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

// take waits for requests and returns the first ones: at most n, and not more than weight in all unless the first alone is. It returns
// nil when ctx is cancelled.
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
	for count < len(q.items) && count < n {
		if sum += q.weigh(&q.items[count]); sum > weight && count > 0 {
			break
		}
		count++
	}
	batch := q.items[:count:count]
	if q.items = q.items[count:]; len(q.items) == 0 {
		q.items = nil // the batch owns the array now
	}
	return batch
}
