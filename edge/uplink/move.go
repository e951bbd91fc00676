package uplink

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
)

// liveWait is how long a moving edge waits for the new relay to catch up, before it leaves the old
// one nevertheless.
const liveWait = 5 * time.Second

// slowAfter is how long the new relay may take to catch up, before the edge looks whether it would
// be better off at the old relay.
const slowAfter = 1200 * time.Millisecond

// leaveWait is how long the edge waits, after its Moved, for the old relay to end the link. Then
// the edge says Bye itself.
const leaveWait = 2 * time.Second

// Uplink.drained finds another relay while the old link is still up, because the relay of the old
// link stops soon. It returns the new link. If the old link ends or ctx is done first, it returns
// the old link.
func (u *Uplink) drained(ctx context.Context, old *running, window time.Duration) *running {
	u.logger.Info("relay stops: looking for another", "relay", old.welcome.Relay, "window", window)
	old.Leaving()
	sctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(old.over, cancel)()
	if window > 0 {
		moment := time.NewTimer(rand.N(window))
		defer moment.Stop()
		select {
		case <-moment.C:
		case <-old.conn.Doubt(): // do not wait for the moment if the link is silent
		case <-sctx.Done():
		}
	}
	l := u.find(sctx, old, byDrain)
	if l == nil {
		if ctx.Err() == nil {
			u.metrics.moves.WithLabelValues(byDrain.String(), "stayed").Inc()
		}
		return old
	}
	return u.move(ctx, old, l, byDrain)
}

// Uplink.doubted looks for another relay while the old link is silent. It returns the new link.
// When the old link is heard again, when it ends, or when ctx is done, doubted stops looking and
// returns the old link.
func (u *Uplink) doubted(ctx context.Context, old *running) *running {
	began := time.Now()
	u.logger.Warn("relay is silent: looking for another", "relay", old.welcome.Relay, "silent", time.Since(old.conn.LastReceived()))
	old.Leaving()
	sctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(old.over, cancel)()
	l := u.find(sctx, old, byDoubt)
	end := "moved"
	switch {
	case ctx.Err() != nil && l == nil:
		return old
	case l == nil && old.over.Err() != nil:
		end = "lost"
	case l == nil:
		end = "cancelled"
		old.Staying()
	case l.welcome.Instance == old.welcome.Instance:
		end = "relinked"
	}
	u.metrics.doubts.WithLabelValues(end).Inc()
	u.logger.Info("doubt is over", "relay", old.welcome.Relay, "end", end, "took", time.Since(began))
	if l == nil {
		return old
	}
	return u.move(ctx, old, l, byDoubt)
}

// move takes the dialled link into use and returns it. The old link ends in a goroutine of its own,
// for which Run waits. If the new link cannot be used, move returns old.
func (u *Uplink) move(ctx context.Context, old *running, l *dialled, why cause) *running {
	if time.Since(old.began) >= settled {
		u.backoff.reset()
	}
	next := u.begin(ctx, l, why)
	if next == nil {
		old.Staying()
		return old
	}
	u.parting.Go(func() { u.part(ctx, old, next, why) })
	return next
}

// part calls awaitLive, and then ends the old link. If the edge has left a relay by doubt, and the
// old link was heard after the new one began, part calls Uplink.learn with the longest silence of
// the old link.
func (u *Uplink) part(ctx context.Context, old, next *running, why cause) {
	outcome := u.awaitLive(ctx, old, next, why)
	u.metrics.moves.WithLabelValues(why.String(), outcome).Inc()
	u.logger.Info("moved to another relay", "why", why.String(), "from", old.welcome.Relay, "to", next.welcome.Relay, "outcome", outcome, "both_up", time.Since(next.began))
	u.leave(old, next)
	u.down(ctx, old)
	if why == byDoubt && old.conn.LastReceived().After(next.began) {
		u.learn(old.conn.Stats().LongestSilence)
	}
}

// awaitLive waits until the relay of the new link has said Live, but for liveWait at most. The wait
// also ends when one of the two links ends. The result says how the wait ended.
//
// After slowAfter of waiting, the old relay may be the better one. A goroutine may then dial that
// relay again and offer the link to Run. After a move byHome, the goroutine is always started.
// After a move byDoubt, it is started under two conditions: the old link was heard since the new
// one began, and the relay in use has not said that it is degraded. If the relay in use is
// degraded, the old relay may be just as unable to say Live.
func (u *Uplink) awaitLive(ctx context.Context, old, next *running, why cause) (outcome string) {
	most := time.NewTimer(liveWait)
	defer most.Stop()
	slow := time.NewTimer(slowAfter)
	defer slow.Stop()
	for {
		select {
		case <-next.live:
			return "moved"
		case <-most.C:
			return "moved_early"
		case <-old.over.Done():
			return "old_lost"
		case <-next.over.Done():
			return "new_lost"
		case <-slow.C:
			heard := why == byDoubt && old.conn.LastReceived().After(next.began)
			if why == byHome || heard && !u.isDegraded() {
				u.parting.Go(func() { u.offer(ctx, old.url, next.url, byReturn) })
			}
		}
	}
}

// isDegraded reports whether the relay in use has said that it is degraded.
func (u *Uplink) isDegraded() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.degraded) > 0
}

// leave ends the old link after the new one has taken over. It asks the old relay to send the
// publications made so far and to end the old link. If the old link is still up after leaveWait,
// leave says Bye. If the new link is lost meanwhile, leave closes the old one at once. In three
// cases leave does not ask, but says Bye at once: the new link is already lost, the old relay does
// not know Moved, or the old relay was not yet told all tables.
func (u *Uplink) leave(old, next *running) {
	if next.over.Err() == nil && old.conn.Features()&link.FeatureMove != 0 && old.Leave() {
		timer := time.NewTimer(leaveWait)
		defer timer.Stop()
		select {
		case <-old.over.Done():
		case <-timer.C:
		case <-next.over.Done():
			old.conn.CloseNow()
			return
		}
	}
	old.conn.Bye(link.CodeNormal, "moved to another relay")
}

const (
	// mostPatient bounds the factor by which wrong moves multiply the silence that leads to a
	// doubt.
	mostPatient = 8
	// shortSilence is the silence below which a move by doubt counts as wrong: see Uplink.learn.
	shortSilence = 2500 * time.Millisecond
	// calmAfter is the time after which the factor is halved, if no wrong move comes in between.
	calmAfter = 10 * time.Minute
)

// patience is the factor by which the silence that leads to a doubt is multiplied.
type patience struct {
	factor int       // 0 counts as 1
	since  time.Time // when factor changed last
}

// patience.now halves the factor once for each span of calmAfter that has passed since the
// factor's last change, but not below 1. Then it returns the factor.
func (p *patience) now(at time.Time) int {
	for p.factor > 1 && at.Sub(p.since) >= calmAfter {
		p.factor, p.since = p.factor/2, p.since.Add(calmAfter)
	}
	return max(p.factor, 1)
}

// learn notes that a relay was heard again after it had been left by doubt. If the longest silence
// of its link was below shortSilence, the move was wrong: waiting would have been about as quick.
// In that case learn doubles the factor of patience, up to mostPatient.
func (u *Uplink) learn(silence time.Duration) {
	if silence >= shortSilence {
		return
	}
	u.metrics.wrongMoves.Inc()
	now := time.Now()
	u.mu.Lock()
	factor := min(2*u.patience.now(now), mostPatient)
	u.patience = patience{factor, now}
	if u.used != nil {
		u.used.conn.SetPatience(factor)
	}
	u.mu.Unlock()
	u.logger.Warn("the relay that was left stood for a moment only: silence is judged more patiently for a while", "silence", silence, "factor", factor)
}
