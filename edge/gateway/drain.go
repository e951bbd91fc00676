package gateway

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"
)

// Drain refuses new clients and, after notice, sends each session 1012 at a random moment, so that not all come back to other nodes at once. Notice is for
// balancers, which else would send a client that was closed straight back. It returns when all have ended: within the time given, notice included, or when ctx is
// done, with its error. What a client sends before it answers the close is accepted.
func (v *Server) Drain(ctx context.Context, notice, over time.Duration) error {
	v.refuseAll()
	v.log.Info("draining", "sessions", v.Active(), "notice", notice, "over", over)
	if v.sleep(ctx, notice) {
		over -= notice
		wait := min(closeWait, over/2)
		v.spread(ctx, over-wait, wait)
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

// spread closes all sessions at random moments within a time.
func (v *Server) spread(ctx context.Context, within, wait time.Duration) {
	sessions := v.hub.living()
	rand.Shuffle(len(sessions), func(i, j int) { sessions[i], sessions[j] = sessions[j], sessions[i] })
	start := time.Now()
	for i, at := range moments(len(sessions), within) {
		if !v.sleep(ctx, time.Until(start.Add(at))) {
			return
		}
		sessions[i].close(ReasonDraining, wait)
	}
}

// moments returns n random times in order.
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

// sleep returns false when there is nothing more to wait for.
func (v *Server) sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-v.empty:
		return false
	case <-ctx.Done():
		return false
	}
}
