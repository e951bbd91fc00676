package main

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgerelay/edgerelay/relay/downlink"
	"github.com/edgerelay/edgerelay/relay/router"
	"github.com/edgerelay/edgerelay/shared/link"
)

// relay is the relay that is measured: the real router behind its mailbox, the real Node of each link. One goroutine steps it.
type relay struct {
	pump    *router.Pump
	carrier *carrier
	now     time.Time
	woken   []*edge
	batch   []byte
	wire    []byte                // what was written to the links and not looked at yet,
	written []written             // batch by batch
	due     map[delivery]struct{} // publications that were not read yet
	longest time.Duration         // of its steps
}

var _ downlink.Handler = (*relay)(nil)

func newRelay(s *store, now time.Time) *relay {
	c := s.carrier()
	return &relay{
		pump:    router.NewPump(router.New(router.Config{Metrics: prometheus.NewRegistry()}, c)),
		carrier: c, now: now, due: map[delivery]struct{}{}, batch: make([]byte, 0, 2*link.BatchTarget),
	}
}

func (r *relay) Connected(n *downlink.Node, h link.Hello) error { return r.pump.Connected(n, h) }
func (r *relay) Received(n *downlink.Node, frames []any, size int) error {
	return r.pump.Received(n, frames, size)
}
func (r *relay) Writable(n *downlink.Node) { r.pump.Writable(n) }
func (r *relay) Disconnected(n *downlink.Node, lastReceived time.Time, err error) {
	r.pump.Disconnected(n, lastReceived, err)
}

// delivery is a publication on its way to an edge.
type delivery struct {
	to *edge
	id uint64
}

// written is a batch on a link: it ends at a place in relay.wire.
type written struct {
	to  *edge
	end int
}

// eventsAtOnce is how many events of the broker a step takes at most.
const eventsAtOnce = 256

// settle steps the router until nothing follows, and brings what it has for the links to the edges.
func (r *relay) settle() {
	r.step()
	for events := r.carrier.take(); len(events) > 0; events = r.carrier.take() {
		for len(events) > 0 {
			n := min(len(events), eventsAtOnce)
			for _, ev := range events[:n] {
				r.pump.Event(ev)
			}
			events = events[n:]
			r.step()
		}
	}
	for _, e := range r.woken {
		e.woken = false
		r.write(e)
	}
	clear(r.woken)
	r.woken = r.woken[:0]
}

// write does what a link's writer does.
func (r *relay) write(e *edge) {
	for e.node != nil {
		batch := e.node.Fill(r.batch[:0])
		if len(batch) == 0 {
			return
		}
		e.down += len(batch)
		r.wire = append(r.wire, batch...)
		r.written = append(r.written, written{e, len(r.wire)})
	}
}

// read has the edges look at what was written.
func (r *relay) read() error {
	begin := 0
	for _, w := range r.written {
		if err := w.to.take(r.wire[begin:w.end]); err != nil {
			return err
		}
		begin = w.end
	}
	clear(r.written)
	r.wire, r.written = r.wire[:0], r.written[:0]
	return nil
}

func (r *relay) step() {
	began := time.Now()
	r.pump.Step(r.now)
	r.longest = max(r.longest, time.Since(began))
}

// pass lets time pass, tick by tick.
func (r *relay) pass(d time.Duration) {
	const tick = 100 * time.Millisecond
	for ; d > 0; d -= tick {
		r.now = r.now.Add(tick)
		r.settle()
	}
}
