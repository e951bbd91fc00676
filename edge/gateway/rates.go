package gateway

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

const (
	rateBurst = 10   // a user may be ahead of Config.Rate by so many seconds
	rateUnit  = 1024 // bytes: a message counts as one for each that it begins
	rateCrowd = 16   // sessions of a user that wait at once; a message of another one is refused
)

// rates slows users down to Config.Rate. All sessions of a user have one allowance, which outlives them until it would be whole again: neither more connections nor new ones
// are worth anything. A user costs nothing before its first message.
type rates struct {
	perSecond float64

	mu            sync.Mutex // guards what follows
	users         map[string]*allowance
	ended, before map[string]*allowance // of users without sessions, by when the last one ended: since rotated, and earlier
	rotated       time.Time
}

// allowance is one user's. It may be used by several sessions at once: one of them at a time waits for it, the others for their turn, in the order in which they came.
type allowance struct {
	limiter  *rate.Limiter
	sessions int // guarded by rates.mu
	turn     chan struct{}
	waiting  atomic.Int32
}

// paced is what became of a wait for an allowance.
type paced uint8

const (
	pacedOn      paced = iota // the message may be taken
	pacedOut                  // the session has ended, or the server
	pacedCrowded              // too many of the user's sessions wait
)

func newRates(perSecond float64) *rates {
	return &rates{perSecond: perSecond, users: make(map[string]*allowance)}
}

// join returns the user's allowance for one more session; nil: there is no limit. leave gives it back.
func (r *rates) join(user string) *allowance {
	if r.perSecond <= 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rotateLocked()
	a := r.users[user]
	for _, old := range []map[string]*allowance{r.ended, r.before} {
		if a == nil {
			a = old[user]
			delete(old, user)
		}
	}
	if a == nil {
		a = &allowance{limiter: rate.NewLimiter(rate.Limit(r.perSecond), max(1, int(r.perSecond*rateBurst))), turn: make(chan struct{}, 1)}
	}
	a.sessions++
	r.users[user] = a
	return a
}

func (r *rates) leave(user string, a *allowance) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rotateLocked()
	if a.sessions--; a.sessions > 0 {
		return
	}
	delete(r.users, user)
	if r.ended == nil {
		r.ended = make(map[string]*allowance)
	}
	r.ended[user] = a
}

// rotateLocked lets those go that are whole again.
func (r *rates) rotateLocked() {
	if now := time.Now(); now.Sub(r.rotated) > rateBurst*time.Second {
		r.before, r.ended, r.rotated = r.ended, nil, now
	}
}

// cost is what a message of so many bytes takes.
func (a *allowance) cost(bytes int) int {
	return min(max(1, (bytes+rateUnit-1)/rateUnit), a.limiter.Burst())
}

// take takes a message's cost if it is there, and nobody waits for it.
func (a *allowance) take(bytes int) bool {
	return a.waiting.Load() == 0 && a.limiter.AllowN(time.Now(), a.cost(bytes))
}

// wait returns when a message may be taken, or when ended is closed or ctx done: then nothing was taken.
func (a *allowance) wait(ctx context.Context, ended <-chan struct{}, bytes int) paced {
	defer a.waiting.Add(-1)
	if a.waiting.Add(1) > rateCrowd {
		return pacedCrowded
	}
	select {
	case a.turn <- struct{}{}:
	case <-ended:
		return pacedOut
	case <-ctx.Done():
		return pacedOut
	}
	defer func() { <-a.turn }()
	r := a.limiter.ReserveN(time.Now(), a.cost(bytes))
	if pause(ctx, ended, r.Delay()) {
		return pacedOn
	}
	r.Cancel()
	return pacedOut
}

// pause returns after d, or, false, when ended is closed or ctx done.
func pause(ctx context.Context, ended <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ended:
	case <-ctx.Done():
	}
	return false
}
