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
	// Retention returns what is kept of a topic, if that is more than HistorySize and HistoryAge.
	// If Retention is nil, no topic is kept for longer than others. It is called with Memory.Mu
	// held.
	Retention func(protocol.Topic) broker.Retention
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

// The type last is a topic's last position, and the server that gave it. If the offset is 0, there
// is no last position: that server has begun the epoch, and nothing was published since.
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
			Histories: newExpiring[protocol.Topic, *History](),
			Positions: newExpiring[protocol.Topic, last](),
			Marks:     newExpiring[markKey, uint64](),
		},
		subscribers: make(map[protocol.Topic][]*Handle),
	}
}

// keptOf returns what is kept of a topic.
func (m *Memory) keptOf(t protocol.Topic) broker.Retention {
	usual := broker.Retention{Size: m.cfg.HistorySize, Age: m.cfg.HistoryAge}
	if m.cfg.Retention == nil {
		return usual
	}
	return usual.Raised(m.cfg.Retention(t))
}

// publishLocked carries out a Publish in one atomic step. The caller holds Mu.
func (m *Memory) publishLocked(p broker.Publish, now time.Time) broker.Published {
	kept, _ := m.Positions.get(p.Topic, now)
	top := kept.top()
	key := markKey{p.Topic, p.Instance}
	mark, _ := m.Marks.get(key, now)
	if mark < p.Floor {
		mark = p.Floor
		m.Marks.put(key, mark, m.cfg.MarkAge, now)
	}
	if p.Number <= mark {
		return broker.Published{Token: p.Token, Outcome: broker.Duplicate, Position: top}
	}
	if mark < p.Predecessor {
		return broker.Published{Token: p.Token, Outcome: broker.Refused}
	}
	h, ok := m.Histories.get(p.Topic, now)
	if !ok {
		h = new(History)
	}
	// If another server gave top, that server may also have given later positions. The publications
	// at those positions are lost.
	old := kept.server != m.Server
	pub := broker.Publication{
		Topic: p.Topic, Position: next(kept.position, old, p.Known, &m.epochs, now), Content: p.Content, Instance: p.Instance, Number: p.Number,
	}
	if pub.Position.Epoch != top.Epoch {
		pub.Previous = top
	}
	m.epochs.Saw(pub.Position)
	retention := m.keptOf(p.Topic)
	h.append(pub, retention.Size)
	m.Histories.put(p.Topic, h, retention.Age, now)
	m.Positions.put(p.Topic, last{pub.Position, m.Server}, retention.Age+m.cfg.MarkAge, now)
	m.Marks.put(key, p.Number, m.cfg.MarkAge, now)
	m.Send(pub)
	return broker.Published{Token: p.Token, Outcome: broker.Done, Position: pub.Position}
}

// The method top returns the last position, or zero if nothing was published in its epoch.
func (l last) top() protocol.Position {
	if l.position.Offset == 0 {
		return protocol.Position{}
	}
	return l.position
}

// beginLocked carries out a Begin. The caller holds Mu.
func (m *Memory) beginLocked(t protocol.Topic, token uint64, now time.Time) broker.Began {
	kept, ok := m.Positions.get(t, now)
	// If another server has begun the epoch, it may have given positions there, which are lost.
	if !ok || kept.position.Offset == 0 && kept.server != m.Server && kept.position.Epoch != protocol.MaxEpoch {
		first := next(kept.position, true, protocol.Position{}, &m.epochs, now)
		kept = last{protocol.Position{Epoch: first.Epoch}, m.Server}
		m.epochs.Saw(first)
		m.Positions.put(t, kept, m.keptOf(t).Age+m.cfg.MarkAge, now)
	}
	return broker.Began{Token: token, Topic: t, Top: kept.position, Genuine: kept.server == m.Server}
}

// subscribedLocked returns the Subscribed event of a topic. The caller holds Mu.
func (m *Memory) subscribedLocked(t protocol.Topic, token uint64, now time.Time) broker.Subscribed {
	kept, ok := m.Positions.get(t, now)
	e := broker.Subscribed{Topic: t, Token: token, Top: kept.top(), Genuine: ok && kept.server == m.Server}
	if e.Genuine && e.Top.IsZero() {
		e.Begun = kept.position.Epoch
	}
	return e
}

// Send gives pub to every subscriber of its topic. The caller holds Mu.
func (m *Memory) Send(pub broker.Publication) {
	for _, h := range m.subscribers[pub.Topic] {
		h.receive(pub)
	}
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
