package resolve

import (
	"context"
	"sync"
	"time"
)

// Stagger is the usual time between two dials of Race.
const Stagger = 250 * time.Millisecond

// Attempt is the outcome of one dial of a race.
type Attempt[T any] struct {
	Target string
	Conn   T
	Err    error
}

// Race dials targets in their order until one dial succeeds or all have failed. The parameter
// stagger is the time between two dials. If a dial fails, the next one begins at once. After a
// success, Race cancels the other dials and waits for their ends. It calls discard for each
// connection that comes too late. Race returns the dial that succeeded, or nil, and the dials that
// failed before it, in the order in which they failed.
func Race[T any](
	ctx context.Context, stagger time.Duration, targets []string,
	dial func(context.Context, string) (T, error), discard func(T),
) (won *Attempt[T], failed []Attempt[T]) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan Attempt[T], len(targets))
	var dials sync.WaitGroup
	next := time.NewTimer(stagger)
	defer next.Stop()

	rest := targets
	begin := func() {
		if len(rest) == 0 {
			return
		}
		target := rest[0]
		rest = rest[1:]
		dials.Go(func() {
			conn, err := dial(ctx, target)
			done <- Attempt[T]{target, conn, err}
		})
		next.Reset(stagger)
	}
	begin()
	for won == nil && len(failed) < len(targets) {
		select {
		case <-next.C:
			begin()
		case a := <-done:
			if a.Err == nil {
				won = &a
				continue
			}
			failed = append(failed, a)
			begin()
		}
	}

	cancel()
	dials.Wait()
	close(done)
	for a := range done {
		if a.Err == nil {
			discard(a.Conn)
		}
	}
	return won, failed
}
