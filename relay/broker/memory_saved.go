package broker

import (
	"slices"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// Saved is what a Memory kept at one moment: histories, last positions and marks, as a snapshot of Redis has them. The zero Saved is an empty one.
type Saved struct {
	histories expiring[protocol.Topic, *history]
	positions expiring[protocol.Topic, last]
	marks     expiring[markKey, uint64]
}

// Save returns what is kept now, as a copy. Its cost is that of all that is kept.
func (m *Memory) Save() Saved {
	m.mu.Lock()
	defer m.mu.Unlock()
	return Saved{m.histories.copy((*history).copy), m.positions.copy(same), m.marks.copy(same)}
}

// Load replaces what is kept by what was saved earlier, or by nothing, as a Redis does that was restarted from a snapshot, or without one. It is another server from then on:
// each topic begins a new epoch at its next publication, later than any that was saved or is known to the publisher. Subscriptions stay, and nobody is told.
func (m *Memory) Load(s Saved) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.histories.load(s.histories, (*history).copy)
	m.positions.load(s.positions, same)
	m.server++
	m.marks.load(s.marks, same)
}

func same[V any](v V) V { return v }

func (h *history) copy() *history { return &history{size: h.size, items: slices.Clone(h.items)} }

// copy returns a copy, of each value what value returns.
func (x *expiring[K, V]) copy(value func(V) V) expiring[K, V] {
	c := newExpiring[K, V](x.age)
	c.load(*x, value)
	return c
}

// load replaces the entries by copies of those of from, which may be a zero value; the age stays.
func (x *expiring[K, V]) load(from expiring[K, V], value func(V) V) {
	*x = newExpiring[K, V](x.age)
	if from.order == nil {
		return
	}
	for el := from.order.Front(); el != nil; el = el.Next() {
		entry := *el.Value.(*expiringEntry[K, V])
		entry.value = value(entry.value)
		x.entries[entry.key] = x.order.PushBack(&entry)
	}
}
