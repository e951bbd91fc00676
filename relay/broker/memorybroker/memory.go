// Package memorybroker carries publications within one process.
package memorybroker

import (
	"cmp"
	"sync"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// Config says what a Memory keeps. Zero values mean the defaults.
type Config struct {
	HistorySize int           // publications kept per topic; default 256
	HistoryAge  time.Duration // expiry after a topic's last publication; default 120 s
	// MarkAge is how long a mark is kept after it was last set. A topic's last position is kept for
	// MarkAge longer than its history. The default is 1 h.
	MarkAge time.Duration
	// QueueBytes bounds the publications that wait in one Handle, by the bytes of their Content.
	// The default is 16 MiB. If no publication waits, one of any length is queued. When the queue
	// is full, the Handle sends Deaf and drops further publications. Its subscriptions then count
	// as lost, as on a Redis that ends a slow subscriber's connection. Once the queue has been
	// taken, the Handle confirms each subscription anew.
	QueueBytes int
}

// Memory is a back end within one process. It keeps histories, last positions and marks, as Redis
// does, and loses them when the process ends. Each relay has a Handle of its own on the Memory.
// Handles may be used concurrently. Of their methods, only Run blocks.
type Memory struct {
	cfg  Config
	name string

	Mu sync.Mutex // guards the following
	Kept
	// Server is the number of the Redis server that the Memory stands for. After Server has
	// changed, each topic begins a new epoch at its next publication, unless the topic is in
	// protocol.MaxEpoch.
	Server      uint64
	subscribers map[protocol.Topic][]*Handle // in the order in which they subscribed
	epochs      broker.Epochs
}

// Kept has what a Redis would save in a snapshot.
type Kept struct {
	Histories Expiring[protocol.Topic, *History]
	Positions Expiring[protocol.Topic, last]
	Marks     Expiring[markKey, uint64]
}

// The type last is a topic's last position, and the server that gave it.
type last struct {
	position protocol.Position
	server   uint64
}

// markKey names the topic and the instance that a mark is kept for.
type markKey struct {
	topic    protocol.Topic
	instance protocol.Instance
}

// New returns an empty Memory.
func New(cfg Config) *Memory {
	cfg.HistorySize = cmp.Or(cfg.HistorySize, broker.DefaultHistorySize)
	cfg.HistoryAge = cmp.Or(cfg.HistoryAge, broker.DefaultHistoryAge)
	cfg.MarkAge = cmp.Or(cfg.MarkAge, broker.DefaultMarkAge)
	cfg.QueueBytes = cmp.Or(cfg.QueueBytes, 16<<20)
	return &Memory{
		cfg:  cfg,
		name: "memory-" + protocol.NewInstance().String(),
		Kept: Kept{
			Histories: newExpiring[protocol.Topic, *History](cfg.HistoryAge),
			Positions: newExpiring[protocol.Topic, last](cfg.HistoryAge + cfg.MarkAge),
			Marks:     newExpiring[markKey, uint64](cfg.MarkAge),
		},
		subscribers: make(map[protocol.Topic][]*Handle),
	}
}

// publishLocked carries out a Publish in one atomic step. The caller holds Mu.
func (m *Memory) publishLocked(p broker.Publish, now time.Time) broker.Published {
	kept, _ := m.Positions.get(p.Topic, now)
	top := kept.position
	key := markKey{p.Topic, p.Instance}
	mark, _ := m.Marks.get(key, now)
	if mark < p.Floor {
		mark = p.Floor
		m.Marks.put(key, mark, now)
	}
	if p.Number <= mark {
		return broker.Published{Token: p.Token, Outcome: broker.Duplicate, Position: top}
	}
	if mark < p.Predecessor {
		return broker.Published{Token: p.Token, Outcome: broker.Refused}
	}
	h, ok := m.Histories.get(p.Topic, now)
	if !ok {
		h = &History{size: m.cfg.HistorySize}
	}
	// If another server gave top, that server may also have given later positions. The publications
	// at those positions are lost.
	old := kept.server != m.Server
	pub := broker.Publication{
		Topic: p.Topic, Position: next(top, old, p.Known, &m.epochs, now), Content: p.Content, Instance: p.Instance, Number: p.Number,
	}
	if pub.Position.Epoch != kept.position.Epoch {
		pub.Previous = kept.position
	}
	m.epochs.Saw(pub.Position)
	h.append(pub)
	m.Histories.put(p.Topic, h, now)
	m.Positions.put(p.Topic, last{pub.Position, m.Server}, now)
	m.Marks.put(key, p.Number, now)
	m.Send(pub)
	return broker.Published{Token: p.Token, Outcome: broker.Done, Position: pub.Position}
}

// Send gives pub to every subscriber of its topic. The caller holds Mu.
func (m *Memory) Send(pub broker.Publication) {
	for _, h := range m.subscribers[pub.Topic] {
		h.receive(pub)
	}
}

// topLocked returns a topic's last position, or zero if none is known. The caller holds Mu.
func (m *Memory) topLocked(t protocol.Topic, now time.Time) protocol.Position {
	kept, _ := m.Positions.get(t, now)
	return kept.position
}

// sweep forgets all expired entries.
func (m *Memory) sweep(now time.Time) {
	const batch = 1000 // entries of each kind in one round; few, so that no caller waits long
	for more := true; more; {
		m.Mu.Lock()
		more = m.Histories.sweep(now, batch)
		more = m.Positions.sweep(now, batch) || more
		more = m.Marks.sweep(now, batch) || more
		m.Mu.Unlock()
	}
}
