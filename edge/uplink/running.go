package uplink

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/timing"
)

// running is a link that is up.
type running struct {
	*dialled
	*Link
	began   time.Time
	why     cause
	renewed atomic.Bool // Uplink.renew has ended the link

	over context.Context // done when the link has ended
	err  error           // why the link ended; valid once the field over is done
}

// begin takes a dialled link into use, and starts to tell the edge's tables on it. A goroutine
// carries frames until the link has ended. Uplink.down waits for the end of the link. If the relay
// cannot take all sessions of the edge, begin closes the link and returns nil.
func (u *Uplink) begin(ctx context.Context, l *dialled, why cause) *running {
	r := &running{dialled: l, Link: NewLink(u.Links, l.conn.Features(), l.conn.Wake), began: time.Now(), why: why}
	if r.Link == nil { // a session of an SDK has come since the dial
		l.conn.CloseNow()
		u.refuse(l.url, errNoSDK)
		return nil
	}
	u.mu.Lock()
	u.used, u.refused, u.lacking = r, false, false
	t := r.synced
	l.conn.SetPatience(u.patience.now(r.began))
	u.mu.Unlock()
	u.metrics.links.Inc()
	u.metrics.linkInfo.Reset()
	u.metrics.linkInfo.WithLabelValues(l.welcome.Relay, l.url, why.String()).Set(1)
	u.logger.Info("link up", "relay", l.welcome.Relay, "build", l.welcome.Build, "url", l.url, "broker", l.welcome.Broker,
		"sessions", t.Sessions, "memberships", t.Held, "first", t.First, "last", t.Last)
	u.compare(l.welcome)

	ended, end := context.WithCancel(context.Background())
	r.over = ended
	go func() {
		defer end()
		stop := context.AfterFunc(ctx, func() { l.conn.Bye(link.CodeNormal, "edge stopped") })
		r.err = l.conn.Run(context.WithoutCancel(ctx), r, r)
		stop()
	}()
	return r
}

// compare logs an error if this relay has another broker than the previous relay. A previous relay
// that did not know its broker does not count. Clients of relays with different brokers do not
// reach each other.
func (u *Uplink) compare(w link.Welcome) {
	if w.Broker == "" {
		return
	}
	if u.lastBroker != "" && u.lastBroker != w.Broker {
		u.metrics.strangers.Inc()
		u.logger.Error("this relay has another broker than the last one: they do not form one cluster, and clients behind them do not reach each other",
			"relay", w.Relay, "broker", w.Broker, "last_relay", u.lastRelay, "last_broker", u.lastBroker)
	}
	u.lastBroker, u.lastRelay = w.Broker, w.Relay
}

// down waits until the link has ended, and counts and logs the reason.
func (u *Uplink) down(ctx context.Context, r *running) {
	<-r.over.Done()
	u.mu.Lock()
	if u.used == r {
		u.used = nil
		if rtt := r.conn.Stats().ShortRTT; rtt > 0 {
			u.lastRTT = rtt
		}
		u.metrics.linkInfo.Reset()
	}
	u.mu.Unlock()
	r.Down()

	var end *link.CloseError
	if !errors.As(r.err, &end) {
		end = &link.CloseError{Code: link.CodeLost, Err: r.err}
	}
	if r.renewed.Load() {
		u.metrics.ends.WithLabelValues("suspended").Inc()
		return
	}
	u.metrics.ends.WithLabelValues(end.Code.String()).Inc()
	if ctx.Err() != nil || end.Code == link.CodeNormal {
		u.logger.Info("link closed", "relay", r.welcome.Relay, "url", r.url, "err", r.err)
		return
	}
	u.logger.Warn("link lost", "relay", r.welcome.Relay, "url", r.url, "reason", end.Code.String(), "err", r.err)
}

const clockTick = 500 * time.Millisecond

// watchClock ends the link in use when it notices that the process was suspended. During the
// suspension the relay may have given the edge up, or the connection may have vanished silently.
// watchClock also tells the link in use how patient the edge is. It returns when ctx is done.
func (u *Uplink) watchClock(ctx context.Context) {
	start := time.Now()
	s := timing.Suspension{Every: clockTick}
	ticker := time.NewTicker(clockTick)
	defer ticker.Stop()
	for {
		now := time.Now()
		if lost := s.Step(now, now.Sub(start)); lost > 0 {
			u.renew(lost)
		}
		u.mu.Lock()
		if u.used != nil {
			u.used.conn.SetPatience(u.patience.now(now))
		}
		u.mu.Unlock()
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// renew ends the link in use, and marks it so that Run dials the next one without a pause. The
// parameter lost is how long the process was stopped.
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
