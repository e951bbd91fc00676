package main

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgerelay/edgerelay/relay/chat"
	"github.com/edgerelay/edgerelay/relay/downlink"
	"github.com/edgerelay/edgerelay/relay/router"
	"github.com/edgerelay/edgerelay/shared/link"
)

// relay is the relay that is measured: the real router behind its mailbox, and a real
// downlink.Link for each edge. One goroutine steps it.
type relay struct {
	pump    *router.Pump
	broker  *relayBroker
	now     time.Time
	woken   []*edge
	batch   []byte
	wire    []byte                // batches written to links and not read yet
	written []written             // where each batch ends in wire
	due     map[delivery]struct{} // publications that edges must still read
	longest time.Duration         // longest step since the field was last set to 0
}

var _ downlink.Handler = (*relay)(nil)

func newRelay(s *store, now time.Time) *relay {
	c := s.broker()
	return &relay{
		pump:   router.NewPump(router.New(router.Config{Metrics: prometheus.NewRegistry()}, c, chat.Dialect{})),
		broker: c, now: now, due: map[delivery]struct{}{}, batch: make([]byte, 0, 2*link.BatchTarget),
	}
}

func (r *relay) Connected(l *downlink.Link, h link.Hello) error { return r.pump.Connected(l, h) }

// Received steps the router at once. Otherwise the next frames of the batch might wait for room in
// the mailbox, and nobody would make room.
func (r *relay) Received(l *downlink.Link, frames []any, size int) error {
	defer r.step()
	return r.pump.Received(l, frames, size)
}

func (r *relay) Writable(l *downlink.Link) { r.pump.Writable(l) }
func (r *relay) Disconnected(l *downlink.Link, lastReceived time.Time, err error) {
	r.pump.Disconnected(l, lastReceived, err)
}

// delivery is a publication that an edge must get.
type delivery struct {
	to *edge
	id uint64
}

// The type written describes a batch in relay.wire: which edge the batch is for, and at which index
// it ends.
type written struct {
	to  *edge
	end int
}

// eventsAtOnce is the largest number of broker events that one step takes.
const eventsAtOnce = 256

// relay.settle steps the router until the broker has no more events, and then puts on the wire what
// is queued for the links.
func (r *relay) settle() {
	r.step()
	for events := r.broker.take(); len(events) > 0; events = r.broker.take() {
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

// relay.write puts on the wire all batches that are queued for an edge.
func (r *relay) write(e *edge) {
	for e.link != nil {
		batch := e.link.Fill(r.batch[:0])
		if len(batch) == 0 {
			return
		}
		e.down += len(batch)
		r.wire = append(r.wire, batch...)
		r.written = append(r.written, written{e, len(r.wire)})
	}
}

// relay.read lets the edges read the written batches.
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
	for more := true; more; {
		began := time.Now()
		more = r.pump.Step(r.now)
		r.longest = max(r.longest, time.Since(began))
	}
}

// relay.pass lets the time d pass, tick by tick.
func (r *relay) pass(d time.Duration) {
	const tick = 100 * time.Millisecond
	for ; d > 0; d -= tick {
		r.now = r.now.Add(tick)
		r.settle()
	}
}
