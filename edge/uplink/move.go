package uplink

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
)

// liveWait is how long an edge that moves keeps its old link at most while the new relay catches up.
const liveWait = 5 * time.Second

// leaveWait is how long it then waits for the old relay's Bye at most.
const leaveWait = 2 * time.Second

// move links to another relay while old, whose relay stops soon, goes on; then it lets go of old, and returns the new link. Without another relay it
// returns old when that has ended.
func (u *Uplink) move(ctx context.Context, old *running, window time.Duration) *running {
	u.logger.Info("relay stops: looking for another", "relay", old.welcome.Relay, "window", window)
	old.feed.Leaving()
	l := u.another(ctx, old, window)
	if l == nil {
		if ctx.Err() == nil {
			u.metrics.moves.WithLabelValues("stayed").Inc()
		}
		return old
	}
	began := time.Now()
	next := u.begin(ctx, l)
	outcome := "moved"
	timer := time.NewTimer(liveWait)
	defer timer.Stop()
	select {
	case <-next.live:
	case <-timer.C:
		outcome = "moved_early"
	case <-old.over.Done():
		outcome = "old_lost"
	case <-next.over.Done():
		outcome = "new_lost"
	}
	u.metrics.moves.WithLabelValues(outcome).Inc()
	u.logger.Info("moved to another relay", "from", old.welcome.Relay, "to", next.welcome.Relay, "outcome", outcome, "both_up", time.Since(began))
	u.leave(old, next)
	u.down(ctx, old)
	return next
}

// leave ends a link after another, next, has taken over: its relay is asked to end it behind what has been published. Without next, or if the tables were never told there, it is ended
// at once.
func (u *Uplink) leave(old, next *running) {
	if next.over.Err() == nil && old.Leave() {
		timer := time.NewTimer(leaveWait)
		defer timer.Stop()
		select {
		case <-old.over.Done():
		case <-timer.C:
		case <-next.over.Done(): // another has to be dialled now
			old.conn.CloseNow()
			return
		}
	}
	old.conn.Bye(link.CodeNormal, "moved to another relay")
}

// another dials, from a random moment of the window on, until a relay answers that is not the one of old; nil when old has ended before.
func (u *Uplink) another(ctx context.Context, old *running, window time.Duration) *dialled {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(old.over, cancel)()
	if window > 0 {
		sleep(ctx, rand.N(window))
	}
	for backoff := (backoff{}); ctx.Err() == nil; sleep(ctx, backoff.next()) {
		if l := u.connect(ctx, old); l != nil {
			return l
		}
	}
	return nil
}
