package gateway

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/edgerelay/edgerelay/shared/timing"
)

// Drain refuses new clients and closes all sessions. It closes none during the time notice, so that
// balancers learn of the drain first. Otherwise they would send a closed client straight back.
// After that time it sends each session 1012 at a random moment, so that the clients do not all
// move to other nodes at once.
//
// Drain returns when all sessions have ended and their sockets are closed. The parameter within
// bounds how long that takes, notice included, and must not be shorter than notice. A session that
// ends for another reason meanwhile, or waits for room upstream, may take up to closeWait longer.
// If ctx is done earlier, Drain returns the error of ctx. What a client sends before it answers the
// close is still accepted.
func (v *Server) Drain(ctx context.Context, notice, within time.Duration) error {
	v.refuseAll()
	v.log.Info("draining", "sessions", v.Active(), "notice", notice, "over", within)
	if timing.Sleep(ctx, notice, v.empty) {
		within -= notice
		wait := min(closeWait, within/2)
		v.spread(ctx, within-wait, wait)
	}
	select {
	case <-v.empty:
		v.log.Info("drained")
		return nil
	case <-ctx.Done():
		v.log.Warn("drain cut short", "sessions", v.Active())
		return ctx.Err()
	}
}

// spread closes all sessions at random moments within the given time. The parameter wait is the
// time that each client then has to answer.
func (v *Server) spread(ctx context.Context, within, wait time.Duration) {
	sessions := v.hub.living()
	rand.Shuffle(len(sessions), func(i, j int) { sessions[i], sessions[j] = sessions[j], sessions[i] })
	start := time.Now()
	for i, at := range moments(len(sessions), within) {
		if !timing.Sleep(ctx, time.Until(start.Add(at)), v.empty) {
			return
		}
		sessions[i].close(ReasonDraining, wait)
	}
}

// moments returns n random times, all shorter than within, in ascending order. If within is not
// positive, all of them are 0.
func moments(n int, within time.Duration) []time.Duration {
	times := make([]time.Duration, n)
	if within > 0 {
		for i := range times {
			times[i] = rand.N(within)
		}
	}
	slices.Sort(times)
	return times
}
