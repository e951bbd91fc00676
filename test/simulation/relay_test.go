package simulation

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/downlink"
	"github.com/edgerelay/edgerelay/relay/router"
	"github.com/edgerelay/edgerelay/shared/link"
)

// relay is a relay's process: the real router behind its mailbox, the real Node of each link, and a carrier.
type relay struct {
	w        *world
	name     string
	pump     *router.Pump
	carrier  *carrier
	metrics  *prometheus.Registry
	ends     []*end
	nodes    []*downlink.Node
	alive    bool
	frozen   bool
	refusing bool
	due      bool
}

var _ downlink.Handler = (*relay)(nil)

const tick = 100 * time.Millisecond

func (w *world) startRelay() *relay {
	r := &relay{w: w, name: fmt.Sprint("r", len(w.relays)+1), metrics: prometheus.NewRegistry(), alive: true}
	r.carrier = w.store.carrier(r.name)
	r.carrier.event = func(ev broker.Event) {
		r.pump.Event(ev)
		r.stepSoon()
	}
	r.pump = router.NewPump(router.New(router.Config{
		Outgoing: w.config.buffer, TailLength: w.config.tail, DigestEvery: w.config.digestEach, Metrics: r.metrics,
	}, r.carrier))
	w.relays = append(w.relays, r)
	w.tracef("%s starts", r.name)
	r.tick()
	return r
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
		r.pump.Step(r.w.now)
		r.carrier.stepped()
	}
}

func (r *relay) Connected(n *downlink.Node, h link.Hello) error {
	defer r.stepSoon()
	return r.pump.Connected(n, h)
}

func (r *relay) Received(n *downlink.Node, frames []any, size int) error {
	defer r.stepSoon()
	return r.pump.Received(n, frames, size)
}

func (r *relay) Writable(n *downlink.Node) {
	r.pump.Writable(n)
	r.stepSoon()
}

func (r *relay) Disconnected(n *downlink.Node, lastReceived time.Time, err error) {
	r.pump.Disconnected(n, lastReceived, err)
	r.stepSoon()
}

// takes reports whether a new link can come up.
func (r *relay) takes() bool { return r.alive && !r.frozen && !r.refusing }

// accept is the end of a handshake at the relay.
func (r *relay) accept(c *conn, h link.Hello) {
	e := c.relay
	n := downlink.NewNode(r, e, h, r.w.config.buffer)
	r.ends, r.nodes = append(r.ends, e), append(r.nodes, n)
	if err := r.Connected(n, h); err != nil {
		panic(err)
	}
	e.open(n, n, func(cause *link.CloseError, last time.Time) {
		i := slices.Index(r.ends, e)
		r.ends, r.nodes = slices.Delete(r.ends, i, i+1), slices.Delete(r.nodes, i, i+1)
		r.w.judgeEnd(c.relay.name, cause)
		r.Disconnected(n, last, cause)
	})
}

// kill ends the process. Its connections end as its machine has it: at once, or without a word.
func (r *relay) kill(silent bool) {
	if !r.alive {
		return
	}
	r.w.tracef("%s dies, without a word %v", r.name, silent)
	r.alive = false
	r.carrier.die()
	for _, e := range r.ends {
		e.ended, e.paused = nil, false
		if silent {
			e.conn.sever(false, false)
		} else {
			e.conn.sever(true, false)
		}
		e.closed = true
	}
	r.ends, r.nodes = nil, nil
}

// freeze stops the process; thaw lets it go on, as a zombie if its edges have left it.
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
	r.frozen = false
	for _, e := range slices.Clone(r.ends) {
		e.resume()
	}
	r.stepSoon()
}

// drain stops the relay in order, as relay.Run does.
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
			for _, n := range slices.Clone(r.nodes) {
				n.Close(link.CodeNormal, "relay stops")
			}
			w.after(2500*time.Millisecond, func() { r.kill(false) })
		})
	})
}

// gauge reads one of the relay's metrics.
func (r *relay) gauge(name string) float64 {
	families, err := r.metrics.Gather()
	if err != nil {
		panic(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	panic("no metric " + name)
}

// judgeEnd looks why a link ended: no bug of ours may be the reason.
func (w *world) judgeEnd(name string, cause *link.CloseError) {
	switch cause.Code {
	case link.CodeProtocol, link.CodeTables, link.CodeLimit:
		w.fail("P9: %s: %v", name, cause)
	}
}
