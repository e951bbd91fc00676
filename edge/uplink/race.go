package uplink

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// stagger is the time between the starts of two dials of a race.
const stagger = 250 * time.Millisecond

// attempt is the outcome of one dial of a race.
type attempt[T any] struct {
	url  string
	conn T
	err  error
}

// race dials urls in random order, the next when stagger is over or a dial has failed, until one succeeds. The others are cancelled and awaited;
// one that succeeded meanwhile is given to discard. failed has those that failed before the first success.
func race[T any](ctx context.Context, urls []string, dial func(context.Context, string) (T, error), discard func(T)) (won *attempt[T], failed []attempt[T]) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan attempt[T], len(urls))
	var dials sync.WaitGroup
	next := time.NewTimer(0)
	defer next.Stop()

	order := rand.Perm(len(urls))
	for won == nil && len(failed) < len(urls) {
		select {
		case <-next.C:
			if len(order) == 0 {
				continue
			}
			url := urls[order[0]]
			order = order[1:]
			dials.Go(func() {
				conn, err := dial(ctx, url)
				done <- attempt[T]{url, conn, err}
			})
			next.Reset(stagger)
		case a := <-done:
			if a.err == nil {
				won = &a
				continue
			}
			failed = append(failed, a)
			next.Reset(0)
		}
	}

	cancel()
	dials.Wait()
	close(done)
	for a := range done {
		if a.err == nil {
			discard(a.conn)
		}
	}
	return won, failed
}

// Delays between races.
const (
	backoffFirst = 100 * time.Millisecond
	backoffMax   = 5 * time.Second
	// settled is how long a link must last for the next back-off to start from the beginning.
	settled = 5 * time.Second
	// refusedFor is how long a relay that refused the key or the version is left alone at most.
	refusedFor = 30 * time.Second
)

// backoff gives delays with full jitter: any time up to a bound, which doubles with each.
type backoff struct{ bound time.Duration }

func (b *backoff) next() time.Duration {
	b.bound = min(max(2*b.bound, backoffFirst), backoffMax)
	return rand.N(b.bound)
}

func (b *backoff) reset() { b.bound = 0 }

// holds are the candidates that refused this edge, and until when they are not dialled.
type holds map[string]hold

type hold struct {
	until time.Time
	err   error
}

func (h holds) add(url string, err error, now time.Time) {
	h[url] = hold{until: now.Add(refusedFor/2 + rand.N(refusedFor/2)), err: err}
}

// pass returns those of urls that are not held, and why the others are. What is over, or no candidate any more, leaves.
func (h holds) pass(urls []string, now time.Time) (free []string, held []error) {
	kept := make(holds, len(h))
	for _, u := range urls {
		if hold, ok := h[u]; ok && now.Before(hold.until) {
			kept[u] = hold
			held = append(held, hold.err)
			continue
		}
		free = append(free, u)
	}
	clear(h)
	for u, hold := range kept {
		h[u] = hold
	}
	return free, held
}
