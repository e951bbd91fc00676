package memorybroker

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// Handle is one relay's Broker on a Memory. A request is carried out during its call. The Handle
// queues the answers, and the publications that it receives. Run and Take empty the queue.
type Handle struct {
	memory *Memory
	tokens map[protocol.Topic]uint64 // of the subscriptions; guarded by memory.Mu

	// mu guards the following. A caller that also locks memory.Mu must lock memory.Mu first.
	mu     sync.Mutex
	events []broker.Event
	bytes  int // bytes of the Contents of all queued publications
	// The field deaf says that the queue was full. A deaf Handle drops publications, until its
	// subscriptions are confirmed anew.
	deaf bool

	wake chan struct{} // wakes Run when an event is queued; has one slot
}

var _ broker.Broker = (*Handle)(nil)

// Broker returns a new Handle, with no subscriptions.
func (m *Memory) Broker() *Handle {
	return &Handle{memory: m, tokens: make(map[protocol.Topic]uint64), wake: make(chan struct{}, 1)}
}

// Name implements Broker.
func (h *Handle) Name() string { return h.memory.name }

// Publish implements Broker.
func (h *Handle) Publish(p broker.Publish) {
	h.memory.Mu.Lock()
	defer h.memory.Mu.Unlock()
	h.queue(h.memory.publishLocked(p, time.Now()))
}

// Subscribe implements Broker.
func (h *Handle) Subscribe(t protocol.Topic, token uint64, begin bool) {
	m := h.memory
	m.Mu.Lock()
	defer m.Mu.Unlock()
	if _, ok := h.tokens[t]; !ok {
		m.subscribers[t] = append(m.subscribers[t], h)
	}
	h.tokens[t] = token
	if begin {
		m.beginLocked(t, token, time.Now())
	}
	h.mu.Lock()
	deaf := h.deaf
	h.mu.Unlock()
	if !deaf { // reconfirm does this later for a deaf Handle
		h.queue(m.subscribedLocked(t, token, time.Now()))
	}
}

// Unsubscribe implements Broker.
func (h *Handle) Unsubscribe(t protocol.Topic) {
	h.memory.Mu.Lock()
	defer h.memory.Mu.Unlock()
	h.unsubscribeLocked(t)
}

// unsubscribeLocked ends a subscription if there is one. The caller holds memory.Mu.
func (h *Handle) unsubscribeLocked(t protocol.Topic) {
	if _, ok := h.tokens[t]; !ok {
		return
	}
	delete(h.tokens, t)
	m := h.memory
	if left := slices.DeleteFunc(m.subscribers[t], func(other *Handle) bool { return other == h }); len(left) > 0 {
		m.subscribers[t] = left
	} else {
		delete(m.subscribers, t)
	}
}

// ReadHistory implements Broker.
func (h *Handle) ReadHistory(t protocol.Topic, after protocol.Position, token uint64) {
	h.memory.Mu.Lock()
	defer h.memory.Mu.Unlock()
	now := time.Now()
	kept, _ := h.memory.Histories.get(t, now)
	page, more := kept.page(after)
	top, ok := h.memory.Positions.get(t, now)
	answer := broker.History{
		Token: token, Topic: t, Publications: page, More: more, Top: top.top(),
		Genuine: ok && top.position.Offset > 0 && top.server == h.memory.Server,
	}
	if len(page) > 0 {
		answer.Through = page[len(page)-1].Position
	}
	h.queue(answer)
}

// Begin implements Broker.
func (h *Handle) Begin(t protocol.Topic, token uint64) {
	h.memory.Mu.Lock()
	defer h.memory.Mu.Unlock()
	h.queue(h.memory.beginLocked(t, token, time.Now()))
}

// CountSubscribers implements Broker.
func (h *Handle) CountSubscribers(t protocol.Topic, token uint64) {
	h.memory.Mu.Lock()
	defer h.memory.Mu.Unlock()
	h.queue(broker.Counted{Token: token, Count: int64(len(h.memory.subscribers[t]))})
}

// Flush implements Broker.
func (h *Handle) Flush(token uint64) {
	h.memory.Mu.Lock()
	defer h.memory.Mu.Unlock()
	h.queue(broker.Flushed{Token: token, Heard: true})
}

// queue appends e, which answers a request, to the field events. The number of queued answers is
// bounded, since the caller keeps the number of its unanswered requests bounded.
func (h *Handle) queue(e broker.Event) {
	h.mu.Lock()
	h.events = append(h.events, e)
	h.mu.Unlock()
	h.signal()
}

// receive queues a publication. If the queue has no room for the publication, the Handle queues a
// Deaf instead and becomes deaf. A deaf Handle drops publications.
func (h *Handle) receive(pub broker.Publication) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.deaf {
		return
	}
	size := len(pub.From) + pub.Size()
	if h.bytes > 0 && h.bytes+size > h.memory.cfg.QueueBytes {
		h.deaf = true
		h.events = append(h.events, broker.Deaf{All: true})
	} else {
		h.bytes += size
		h.events = append(h.events, broker.Received{Publication: pub})
	}
	h.signal()
}

func (h *Handle) signal() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// Run implements Broker. When it returns, the subscriptions are gone, and nobody may use the
// Handle any more.
func (h *Handle) Run(ctx context.Context, sink func(broker.Event)) error {
	defer h.unsubscribeAll()
	sweep := time.NewTicker(max(h.memory.cfg.HistoryAge/4, time.Millisecond))
	defer sweep.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-sweep.C:
			h.memory.sweep(now)
		case <-h.wake:
			for _, e := range h.Take() {
				sink(e)
			}
		}
	}
}

// Take removes the queued events and returns them in order. If the Handle was deaf, Take then
// queues a Subscribed for each of its topics. Run calls Take. A caller that steps the Handle calls
// Take instead of Run.
func (h *Handle) Take() []broker.Event {
	h.mu.Lock()
	events := h.events
	h.events, h.bytes = nil, 0
	h.mu.Unlock()
	h.reconfirm()
	return events
}

// reconfirm ends the deafness of the Handle, and queues a Subscribed for each topic. It does
// nothing if the Handle is not deaf, or if a publication is queued. It holds memory.Mu and mu all
// the time. So no publication is queued before these Subscribed events.
func (h *Handle) reconfirm() {
	m := h.memory
	m.Mu.Lock()
	defer m.Mu.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.deaf || h.bytes > 0 {
		return
	}
	h.deaf = false
	now := time.Now()
	for t, token := range h.tokens {
		h.events = append(h.events, m.subscribedLocked(t, token, now))
	}
	h.signal()
}

func (h *Handle) unsubscribeAll() {
	h.memory.Mu.Lock()
	defer h.memory.Mu.Unlock()
	for t := range h.tokens {
		h.unsubscribeLocked(t)
	}
}
