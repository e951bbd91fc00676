package uplink

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/timing"
)

// liveWait is the longest time that a moving edge keeps its old link while the new relay catches
// up.
const liveWait = 5 * time.Second

// leaveWait is the longest time that the edge waits for the old relay's Bye after it has said
// Moved.
const leaveWait = 2 * time.Second

// move links to another relay while old, whose relay stops soon, goes on. Then it ends old and
// returns the new link. If old ends or ctx is done before another relay is found, move returns old.
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

// leave ends old after next has taken over. It asks old's relay to end the link after what has been
// published, and waits for that up to leaveWait. It ends old at once if next is lost, or if old's
// relay was never told all tables.
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

// another waits for a random moment of the window, then dials until a relay other than old's
// answers. It returns nil when old has ended or ctx is done before.
func (u *Uplink) another(ctx context.Context, old *running, window time.Duration) *dialled {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(old.over, cancel)()
	if window > 0 {
		timing.Sleep(ctx, rand.N(window), nil)
	}
	for backoff := (backoff{}); ctx.Err() == nil; timing.Sleep(ctx, backoff.next(), nil) {
		if l := u.connect(ctx, old); l != nil {
			return l
		}
	}
	return nil
}
