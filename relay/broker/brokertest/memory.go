package brokertest

import (
	"container/list"
	"slices"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/broker/memorybroker"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// Memory is a memorybroker.Memory that stands for a Redis. PublishBare publishes on that Redis as
// an original server does, and Load restarts that Redis from a snapshot.
type Memory struct{ *memorybroker.Memory }

// These aliases spare tests the import of memorybroker.
type (
	MemoryConfig = memorybroker.Config
	Handle       = memorybroker.Handle
)

// NewMemory returns an empty Memory.
func NewMemory(cfg MemoryConfig) *Memory { return &Memory{memorybroker.New(cfg)} }

// PublishBare publishes as an original server does. The message reaches the present subscribers of
// the topic. It leaves no history, mark or position.
func (m *Memory) PublishBare(t protocol.Topic, from, msg string) {
	m.Mu.Lock()
	defer m.Mu.Unlock()
	m.Send(broker.Publication{Topic: t, Content: protocol.Content{From: from, Msg: msg}})
}

// Saved is what a Memory kept at one moment: histories, last positions and marks, as a snapshot
// of Redis has them. The zero Saved is empty.
type Saved struct{ kept memorybroker.Kept }

// Save returns a copy of all entries that the Memory keeps now. The time that Save takes grows with
// their number.
func (m *Memory) Save() (s Saved) {
	m.Mu.Lock()
	defer m.Mu.Unlock()
	load(&s.kept, &m.Kept)
	return s
}

// Load replaces what the Memory keeps with a copy of what s has. This stands for a restart of Redis
// from a snapshot. The zero Saved stands for a restart without a snapshot. After Load the Memory
// counts as another server. At its next publication each topic begins a new epoch, unless the topic
// is in protocol.MaxEpoch. The new epoch is later than the saved epoch of the topic. It is also
// later than the epoch of the publisher's Known, if the epoch of Known is below protocol.MaxEpoch.
// Subscriptions stay, and no Event tells of the restart.
func (m *Memory) Load(s Saved) {
	m.Mu.Lock()
	defer m.Mu.Unlock()
	load(&m.Kept, &s.kept)
	m.Server++
}

// load replaces all entries in *to with copies of the entries in *from.
func load(to, from *memorybroker.Kept) {
	loadEntries(&to.Histories, &from.Histories, func(h *memorybroker.History) *memorybroker.History {
		c := *h
		c.Items = slices.Clone(h.Items)
		return &c
	})
	loadEntries(&to.Positions, &from.Positions, same)
	loadEntries(&to.Marks, &from.Marks, same)
}

func same[V any](v V) V { return v }

// loadEntries replaces the entries in *to with copies of the entries in *from. If *from is a zero
// Expiring, *to becomes empty. The function named value copies the value of one entry.
func loadEntries[K comparable, V any](to, from *memorybroker.Expiring[K, V], value func(V) V) {
	to.Entries, to.Orders = make(map[K]*list.Element), make(map[time.Duration]*list.List)
	for age, order := range from.Orders {
		to.Orders[age] = list.New()
		for el := order.Front(); el != nil; el = el.Next() {
			entry := *el.Value.(*memorybroker.Entry[K, V])
			entry.Value = value(entry.Value)
			to.Entries[entry.Key] = to.Orders[age].PushBack(&entry)
		}
	}
}
