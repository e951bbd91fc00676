package uplink

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
)

// running is a link that is up.
type running struct {
	*dialled
	*Link
	began   time.Time
	renewed atomic.Bool // it was ended for the sake of a new one

	over context.Context // done when the link has ended
	err  error           // why; set before
}

// begin tells the edge's tables on a new link, which is the one in use from then on, and carries frames in a goroutine until it has ended. down awaits it.
func (u *Uplink) begin(ctx context.Context, l *dialled) *running {
	r := &running{dialled: l, Link: NewLink(u.Links, l.conn.Wake), began: time.Now()}
	u.mu.Lock()
	u.used, u.refused = r, false
	t := r.synced
	u.mu.Unlock()
	u.metrics.links.Inc()
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

// compare says when the relay is not of the cluster of the last one: clients of the two do not reach each other.
func (u *Uplink) compare(w link.Welcome) {
	if w.Broker == "" {
		return
	}
	if u.carrier != "" && u.carrier != w.Broker {
		u.metrics.strangers.Inc()
		u.logger.Error("this relay has another broker than the last one: they do not form one cluster, and clients behind them do not reach each other",
			"relay", w.Relay, "broker", w.Broker, "last_relay", u.relayed, "last_broker", u.carrier)
	}
	u.carrier, u.relayed = w.Broker, w.Relay
}

// down takes note of a link that has ended.
func (u *Uplink) down(ctx context.Context, r *running) {
	<-r.over.Done()
	u.mu.Lock()
	if u.used == r {
		u.used = nil
	}
	u.mu.Unlock()
	r.Down()
	if time.Since(r.began) >= settled {
		u.backoff.reset()
	}

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
		u.logger.Info("link closed", "relay", r.welcome.Relay, "url", r.url, "reason", r.err)
		return
	}
	u.logger.Warn("link lost", "relay", r.welcome.Relay, "url", r.url, "reason", end.Code.String(), "error", r.err)
}
