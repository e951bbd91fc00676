package gateway

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/edgerelay/edgerelay/shared/timing"
)

// Drain refuses new clients and closes the sessions. The parameter within is the time for the whole
// drain. It must not be shorter than the notice, which is a part of it. During the notice Drain
// closes no session. Balancers need this time to learn of the drain. Otherwise they might send a
// closed client straight back. After the notice, Drain closes the sessions with ReasonDraining. It
// closes them at random moments, so that the clients do not move to other nodes all at once.
// Messages that a client sends before it answers the close frame may still be accepted.
//
// Drain returns nil when no session is left and the sockets are closed. A session that ends for
// another reason meanwhile, or waits for room upstream, may take up to closeWait longer than the
// time for the drain. A session that the relay has closed without a code may take up to leaveWait
// longer. If ctx is done before the drain is complete, Drain returns the error of ctx.
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

// spread closes the living sessions at random moments within the given time. It stops earlier if
// ctx is done, or if v.empty is closed. The parameter wait is the time that a closed client has to
// answer.
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

// moments returns n random durations in ascending order. Each of them is shorter than the duration
// within. If within is not positive, moments returns n zeros.
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
