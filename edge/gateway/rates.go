package gateway

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	rateBurst = 10   // a user may be ahead of Config.Rate by so many seconds
	rateUnit  = 1024 // bytes: a message counts as one for each that it begins
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

// allowance is one user's. Its limiter may be used by several at once.
type allowance struct {
	limiter  *rate.Limiter
	sessions int
}

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
		a = &allowance{limiter: rate.NewLimiter(rate.Limit(r.perSecond), max(1, int(r.perSecond*rateBurst)))}
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

// wait returns when a message of so many bytes may be taken, or with ctx' error.
func (a *allowance) wait(ctx context.Context, bytes int) error {
	n := max(1, (bytes+rateUnit-1)/rateUnit)
	return a.limiter.WaitN(ctx, min(n, a.limiter.Burst()))
}
