package uplink

import (
	"context"
	"time"

	"github.com/edgerelay/edgerelay/shared/service"
)

const clockTick = 500 * time.Millisecond

// watchClock ends the link after a suspension, until ctx is done: the relay may have given the edge up, and the connection may be gone without a word.
func (u *Uplink) watchClock(ctx context.Context) {
	start := time.Now()
	s := service.Suspension{Every: clockTick}
	ticker := time.NewTicker(clockTick)
	defer ticker.Stop()
	for {
		now := time.Now()
		if lost := s.Step(now, now.Sub(start)); lost > 0 {
			u.renew(lost)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// renew ends the link in use, so that another is dialled at once.
func (u *Uplink) renew(lost time.Duration) {
	u.metrics.suspensions.Inc()
	u.logger.Warn("this process was stopped for a while, or the clock was set: the link is renewed", "lost", lost)
	u.mu.Lock()
	used := u.used
	u.mu.Unlock()
	if used != nil {
		used.renewed.Store(true)
		used.conn.CloseNow()
	}
}
