package broker

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// Handle is one relay's Broker on a Memory. Requests are carried out at the call; their events are delivered from Run, in order.
type Handle struct {
	memory *Memory
	tokens map[protocol.Topic]uint64 // guarded by memory.mu

	mu     sync.Mutex // guards the following; taken after memory.mu, never before it
	events []Event
	bytes  int  // of the publications in events
	deaf   bool // the queue was full: publications are not queued until the subscriptions are confirmed anew

	wake chan struct{} // from whoever queued to Run; one slot
}

var _ Broker = (*Handle)(nil)

// Broker returns a new Handle, with no subscriptions.
func (m *Memory) Broker() *Handle {
	return &Handle{memory: m, tokens: make(map[protocol.Topic]uint64), wake: make(chan struct{}, 1)}
}

// Name implements Broker.
func (h *Handle) Name() string { return h.memory.name }

// Publish implements Broker.
func (h *Handle) Publish(p Publish) {
	h.memory.mu.Lock()
	defer h.memory.mu.Unlock()
	h.queue(h.memory.publishLocked(p, time.Now()))
}

// Subscribe implements Broker.
func (h *Handle) Subscribe(t protocol.Topic, token uint64) {
	m := h.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := h.tokens[t]; !ok {
		m.subscribers[t] = append(m.subscribers[t], h)
	}
	h.tokens[t] = token
	h.mu.Lock()
	deaf := h.deaf
	h.mu.Unlock()
	if !deaf { // else reconfirm does
		h.queue(Subscribed{Topic: t, Token: token, Top: m.topLocked(t, time.Now())})
	}
}

// Unsubscribe implements Broker.
func (h *Handle) Unsubscribe(t protocol.Topic) {
	h.memory.mu.Lock()
	defer h.memory.mu.Unlock()
	h.unsubscribeLocked(t)
}

// unsubscribeLocked ends a subscription if there is one; memory.mu must be held.
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
	h.memory.mu.Lock()
	defer h.memory.mu.Unlock()
	now := time.Now()
	kept, _ := h.memory.histories.get(t, now)
	page, more := kept.page(after)
	answer := History{Token: token, Topic: t, Publications: page, More: more, Top: h.memory.topLocked(t, now)}
	if len(page) > 0 {
		answer.Through = page[len(page)-1].Position
	}
	h.queue(answer)
}

// CountSubscribers implements Broker.
func (h *Handle) CountSubscribers(t protocol.Topic, token uint64) {
	h.memory.mu.Lock()
	defer h.memory.mu.Unlock()
	h.queue(Counted{Token: token, Count: int64(len(h.memory.subscribers[t]))})
}

// Flush implements Broker.
func (h *Handle) Flush(token uint64) {
	h.memory.mu.Lock()
	defer h.memory.mu.Unlock()
	h.queue(Flushed{token, true})
}

// queue adds the answer to a request: bounded by the requests, which are the caller's to bound.
func (h *Handle) queue(e Event) {
	h.mu.Lock()
	h.events = append(h.events, e)
	h.mu.Unlock()
	h.signal()
}

// receive queues a publication, or notes that there was no room for it.
func (h *Handle) receive(pub Publication) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.deaf {
		return
	}
	size := len(pub.From) + len(pub.Msg)
	if h.bytes > 0 && h.bytes+size > h.memory.cfg.QueueBytes {
		h.deaf = true
		h.events = append(h.events, Deaf{All: true})
	} else {
		h.bytes += size
		h.events = append(h.events, Received{pub})
	}
	h.signal()
}

func (h *Handle) signal() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// Run implements Broker. When it returns the subscriptions are gone, and nobody may use the Handle any more.
func (h *Handle) Run(ctx context.Context, sink func(Event)) error {
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

// Take returns what is queued, for one who steps the Handle instead of running it.
func (h *Handle) Take() []Event {
	h.mu.Lock()
	events := h.events
	h.events, h.bytes = nil, 0
	h.mu.Unlock()
	h.reconfirm()
	return events
}

// reconfirm confirms all subscriptions anew when a queue that was full has been delivered, in one step with the end of the deafness.
func (h *Handle) reconfirm() {
	m := h.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.deaf || h.bytes > 0 {
		return
	}
	h.deaf = false
	now := time.Now()
	for t, token := range h.tokens {
		h.events = append(h.events, Subscribed{Topic: t, Token: token, Top: m.topLocked(t, now)})
	}
	h.signal()
}

func (h *Handle) unsubscribeAll() {
	h.memory.mu.Lock()
	defer h.memory.mu.Unlock()
	for t := range h.tokens {
		h.unsubscribeLocked(t)
	}
}
