package simulation

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/chat"
	"github.com/edgerelay/edgerelay/relay/downlink"
	"github.com/edgerelay/edgerelay/relay/router"
	"github.com/edgerelay/edgerelay/relay/router/dialect"
	"github.com/edgerelay/edgerelay/relay/sdk"
	"github.com/edgerelay/edgerelay/shared/link"
)

// relay is a relay's process: the real router behind its mailbox, a real downlink.Link for each
// edge, and a simulated broker.
type relay struct {
	w        *world
	name     string
	pump     *router.Pump
	broker   *relayBroker
	metrics  *prometheus.Registry
	ends     []*end
	links    []*downlink.Link
	alive    bool
	since    time.Time // when the relay started, or was last thawed
	frozen   bool
	waiting  []func() // dials that the relay accepts when it is thawed
	refusing bool
	due      bool
	old      bool // a relay of a version that does not know clients of SDKs
}

var _ downlink.Handler = (*relay)(nil)

const tick = 100 * time.Millisecond

func (w *world) startRelay() *relay {
	r := &relay{w: w, name: fmt.Sprint("r", len(w.relays)+1), metrics: prometheus.NewRegistry(), alive: true, since: w.now}
	r.old = w.config.skew && w.chance(30)
	r.broker = w.store.broker(r.name)
	r.broker.event = func(ev broker.Event) {
		r.pump.Event(ev)
		r.stepSoon()
	}
	r.pump = router.NewPump(router.New(router.Config{
		Outgoing: w.config.buffer, TailLength: w.config.tail, DigestEvery: w.config.digestEach,
		TopicRate: w.config.topicRate, Pieces: w.config.pieces, Metrics: r.metrics,
	}, r.broker, r.dialects()...))
	w.relays = append(w.relays, r)
	w.tracef("%s starts", r.name)
	r.tick()
	return r
}

// dialects returns the dialects of the relay's router. As in relay.New, the dialect of SDKs is
// among them only if the relay knows SDKs.
func (r *relay) dialects() []dialect.Dialect {
	if !r.knowsSDK() {
		return []dialect.Dialect{chat.Dialect{Rules: r.w.rules}}
	}
	return []dialect.Dialect{chat.Dialect{Rules: r.w.rules}, sdk.Dialect{Tokens: tokens, Rules: r.w.rules, Version: "simulated"}}
}

// knowsSDK reports whether the relay takes sessions of SDKs.
func (r *relay) knowsSDK() bool { return r.w.config.sdk && !r.old }

// features returns the features that the relay offers.
func (r *relay) features() uint64 {
	if r.knowsSDK() {
		return link.FeatureMove | link.FeatureSDK
	}
	return link.FeatureMove
}

func (r *relay) tick() {
	r.w.after(tick, func() {
		if r.alive {
			r.step()
			r.tick()
		}
	})
}

func (r *relay) stepSoon() {
	if !r.due {
		r.due = true
		r.w.after(r.w.between(0, time.Millisecond), r.step)
	}
}

func (r *relay) step() {
	r.due = false
	if r.alive && !r.frozen {
		if r.pump.Step(r.w.now) {
			r.stepSoon()
		}
		r.broker.stepped()
	}
}

func (r *relay) Connected(l *downlink.Link, h link.Hello) error {
	defer r.stepSoon()
	return r.pump.Connected(l, h)
}

func (r *relay) Received(l *downlink.Link, frames []any, size int) error {
	defer r.stepSoon()
	return r.pump.Received(l, frames, size)
}

func (r *relay) Writable(l *downlink.Link) {
	r.pump.Writable(l)
	r.stepSoon()
}

func (r *relay) Disconnected(l *downlink.Link, lastReceived time.Time, err error) {
	r.pump.Disconnected(l, lastReceived, err)
	r.stepSoon()
}

// takes reports whether an edge can link to the relay now.
func (r *relay) takes() bool { return r.alive && !r.frozen && !r.refusing }

// accept completes a handshake at the relay.
func (r *relay) accept(c *conn, h link.Hello) {
	e := c.relay
	l := downlink.NewLink(r, e, h, r.w.config.buffer)
	r.ends, r.links = append(r.ends, e), append(r.links, l)
	e.open(l, l, func(cause *link.CloseError, last time.Time) {
		i := slices.Index(r.ends, e)
		r.ends, r.links = slices.Delete(r.ends, i, i+1), slices.Delete(r.links, i, i+1)
		r.w.judgeEnd(c.relay.name, cause)
		if l.Began() {
			r.Disconnected(l, last, cause)
		}
	})
}

// kill ends the process. If the parameter silent is true, the edges do not see that their
// connections end.
func (r *relay) kill(silent bool) {
	if !r.alive {
		return
	}
	r.w.tracef("%s dies, without a word %v", r.name, silent)
	r.alive = false
	r.broker.die()
	for _, e := range r.ends {
		e.ended, e.paused = nil, false
		if silent {
			e.conn.sever(false, false)
		} else {
			e.conn.sever(true, false)
		}
		e.closed = true
	}
	r.ends, r.links = nil, nil
}

// freeze stops the process. The method thaw lets it go on.
func (r *relay) freeze() {
	if !r.alive || r.frozen {
		return
	}
	r.w.tracef("%s freezes", r.name)
	r.frozen = true
	for _, e := range r.ends {
		e.pause()
	}
}

func (r *relay) thaw() {
	if !r.alive || !r.frozen {
		return
	}
	r.w.tracef("%s goes on", r.name)
	r.frozen, r.since = false, r.w.now
	for _, e := range slices.Clone(r.ends) {
		e.resume()
	}
	for _, take := range r.waiting {
		r.w.after(r.w.between(0, 5*time.Millisecond), func() {
			if r.takes() {
				take()
			}
		})
	}
	r.waiting = nil
	r.stepSoon()
}

// drain stops the relay gracefully, much like Relay.Run of package relay.
func (r *relay) drain() {
	if !r.takes() {
		return
	}
	w := r.w
	w.tracef("%s drains", r.name)
	r.refusing = true
	r.pump.Move(time.Second)
	r.stepSoon()
	w.after(3*time.Second, func() {
		if !r.alive {
			return
		}
		now, cancel := context.WithCancel(context.Background())
		cancel()
		r.pump.Drain(now)
		r.stepSoon()
		w.after(w.between(0, 2*time.Second), func() {
			for _, l := range slices.Clone(r.links) {
				l.Close(link.CodeNormal, "relay stops")
			}
			w.after(2500*time.Millisecond, func() { r.kill(false) })
		})
	})
}

// gauge reads one of the relay's metrics.
func (r *relay) gauge(name string) float64 { return metric(r.metrics, name) }

// metric reads a gauge or a counter.
func metric(of *prometheus.Registry, name string) float64 {
	families, err := of.Gather()
	if err != nil {
		panic(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	panic("no metric " + name)
}

// judgeEnd fails the run if a link ended for a reason that only a fault of edgerelay can bring
// about.
func (w *world) judgeEnd(name string, cause *link.CloseError) {
	switch cause.Code {
	case link.CodeProtocol, link.CodeTables, link.CodeLimit:
		w.fail("P9: %s: %v", name, cause)
	}
}
