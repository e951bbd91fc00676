package broker

import (
	"cmp"
	"strconv"
	"sync"
	"time"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// MemoryConfig says what a Memory keeps. Zero values mean the defaults.
type MemoryConfig struct {
	HistorySize int           // publications kept per topic; default 256
	HistoryAge  time.Duration // a topic's history expires this long after its last publication; default 120 s
	MarkAge     time.Duration // a mark expires this long after it was last set, a topic's last position this long after its history; default 1 h
	// QueueBytes bounds the publications that wait in one Handle, counted by their texts; default 16 MiB. When it is full the Handle's
	// subscriptions are lost as they would be on Redis: Deaf, and each is confirmed anew once the queue has been delivered.
	QueueBytes int
}

// Memory is a back end within one process: what Redis keeps, with the same semantics, gone when the process ends. Each relay has a Handle of
// its own on it. All methods may be called concurrently and none blocks.
type Memory struct {
	cfg  MemoryConfig
	name string

	mu          sync.Mutex // guards the following
	histories   expiring[protocol.Topic, *history]
	positions   expiring[protocol.Topic, last]
	marks       expiring[markKey, uint64]
	subscribers map[protocol.Topic][]*Handle // in the order in which they subscribed
	server      uint64                       // counts the Loads
}

// last is a topic's last position, and the server that gave it.
type last struct {
	position protocol.Position
	server   uint64
}

// markKey names what a mark is kept for.
type markKey struct {
	topic    protocol.Topic
	instance protocol.Instance
}

// NewMemory returns an empty Memory.
func NewMemory(cfg MemoryConfig) *Memory {
	cfg.HistorySize = cmp.Or(cfg.HistorySize, 256)
	cfg.HistoryAge = cmp.Or(cfg.HistoryAge, 120*time.Second)
	cfg.MarkAge = cmp.Or(cfg.MarkAge, time.Hour)
	cfg.QueueBytes = cmp.Or(cfg.QueueBytes, 16<<20)
	return &Memory{
		cfg:         cfg,
		name:        "memory-" + protocol.NewInstance().String(),
		histories:   newExpiring[protocol.Topic, *history](cfg.HistoryAge),
		positions:   newExpiring[protocol.Topic, last](cfg.HistoryAge + cfg.MarkAge),
		marks:       newExpiring[markKey, uint64](cfg.MarkAge),
		subscribers: make(map[protocol.Topic][]*Handle),
	}
}

// PublishBare publishes as an original server does: to those who are subscribed now, without history, mark or position.
func (m *Memory) PublishBare(t protocol.Topic, from, msg string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sendLocked(Publication{Topic: t, From: from, Msg: msg})
}

// publishLocked is the atomic step behind Publish; mu must be held.
func (m *Memory) publishLocked(p Publish, now time.Time) Published {
	kept, _ := m.positions.get(p.Topic, now)
	top := kept.position
	key := markKey{p.Topic, p.Instance}
	mark, _ := m.marks.get(key, now)
	if mark < p.Floor {
		mark = p.Floor
		m.marks.put(key, mark, now)
	}
	if p.Number <= mark {
		return Published{Token: p.Token, Outcome: Duplicate, Position: top}
	}
	if mark < p.Predecessor {
		return Published{Token: p.Token, Outcome: Refused}
	}
	h, ok := m.histories.get(p.Topic, now)
	if !ok {
		h = &history{size: m.cfg.HistorySize}
	}
	old := kept.server != m.server // more may have been given since
	pub := Publication{
		Topic: p.Topic, Position: next(top, old, p.Known, now), From: p.From, Msg: p.Msg, Instance: p.Instance, Number: p.Number,
	}
	if pub.Position.Epoch != kept.position.Epoch {
		pub.Previous = kept.position
	}
	h.append(pub)
	m.histories.put(p.Topic, h, now)
	m.positions.put(p.Topic, last{pub.Position, m.server}, now)
	m.marks.put(key, p.Number, now)
	m.sendLocked(pub)
	return Published{Token: p.Token, Outcome: Done, Position: pub.Position}
}

// sendLocked gives pub to every subscriber; mu must be held.
func (m *Memory) sendLocked(pub Publication) {
	for _, h := range m.subscribers[pub.Topic] {
		h.receive(pub)
	}
}

// topLocked returns a topic's last position, zero if none is known; mu must be held.
func (m *Memory) topLocked(t protocol.Topic, now time.Time) protocol.Position {
	kept, _ := m.positions.get(t, now)
	return kept.position
}

// sweep forgets what has expired.
func (m *Memory) sweep(now time.Time) {
	const batch = 1000 // so that nobody waits long for mu
	for more := true; more; {
		m.mu.Lock()
		more = m.histories.sweep(now, batch)
		more = m.positions.sweep(now, batch) || more
		more = m.marks.sweep(now, batch) || more
		m.mu.Unlock()
	}
}

// String describes what is kept, for logs.
func (m *Memory) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strconv.Itoa(m.histories.len()) + " histories, " + strconv.Itoa(m.positions.len()) + " positions, " +
		strconv.Itoa(m.marks.len()) + " marks, " + strconv.Itoa(len(m.subscribers)) + " topics subscribed"
}
