package gateway

import (
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// Feed is what one link brings to the Hub. Topic numbers are the link's own; topics, their positions and members are the Hub's. While an edge moves to
// another relay there are two. Methods may be called by one goroutine at a time for each Feed.
type Feed struct {
	hub     *Hub
	numbers map[uint64]*topic // as the relay gave them; nil: muted, see Topic
	holding bool              // between BeginBatch and EndBatch
	queued  int               // messages since, for all members
	bytes   int               // of them for one member, at most
}

// BeginBatch is called before each frame of a batch, and EndBatch behind the last: what is queued meanwhile for clients is written then, with few system calls. EndBatch writes some of it
// itself; neither blocks.
func (f *Feed) BeginBatch() {
	if f.holding && f.queued < holdMost && f.bytes < f.hub.writers.enough {
		return
	}
	f.EndBatch()
	f.holding = true
	f.hub.writers.hold()
}

// EndBatch is called behind the last frame of a batch; without a frame it does nothing.
func (f *Feed) EndBatch() {
	if !f.holding {
		return
	}
	enough := f.queued >= holdMost || f.bytes >= f.hub.writers.enough
	f.holding, f.queued, f.bytes = false, 0, 0
	f.hub.writers.release(enough)
}

// fanOutLocked is Hub.fanOutLocked of what the batch brings. Hub.mu must be held.
func (f *Feed) fanOutLocked(t *topic, text []byte, except string) {
	f.queued += len(t.members)
	f.bytes += len(text)
	f.hub.fanOutLocked(t, text, except)
}

// Begin starts a link: it calls session for every session and then held for every topic with members, the dead included. It holds the Hub's lock: the two
// must only append to a buffer. A session that is being opened may be told here and by Upstream.Open: Session frames are idempotent.
func (h *Hub) Begin(session func(link.Session), held func(link.Held)) *Feed {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.sessions {
		s.told = true
		session(s.info)
	}
	for _, t := range h.topics {
		t.tell(held)
	}
	f := &Feed{hub: h, numbers: map[uint64]*topic{}}
	h.beginOverlapLocked(f)
	return f
}

// Down ends the link, and the batch that it may have broken off: its topic numbers are void.
func (f *Feed) Down() {
	f.EndBatch()
	h := f.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range f.numbers {
		if t != nil {
			h.unnumberLocked(t)
		}
	}
	clear(f.numbers)
	h.endOverlapLocked(f)
}

// Topic gives a topic its number. Its position becomes the one given unless ours is later; one that was unplaced, or whose members are all dead, becomes it in any
// case: who comes next begins there.
//
// From a link that is being left it mutes the number: that relay begins with the topic anew, at its own top, and knows nothing of the members that the new link
// has bound, which is yet to bring what lies before.
func (f *Feed) Topic(n link.TopicNumber) {
	h := f.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.newest != f {
		f.freeLocked(n.ID)
		f.numbers[n.ID] = nil
		return
	}
	t := h.topics[n.Topic]
	if t == nil {
		t = &topic{name: n.Topic}
		h.topics[n.Topic] = t
		h.metrics.topics.Inc()
	}
	if old := f.numbers[n.ID]; old != t {
		t.numbers++
		f.numbers[n.ID] = t
		if old != nil {
			h.unnumberLocked(old)
		}
	}
	if t.position == protocol.Unplaced || t.position.Before(n.Position) || t.desertedLocked() {
		h.moveLocked(t, n.Position)
	}
}

// BrokerBack tells that the relay's broker is there. What comes ahead is given again, if there was no room for it: the relay gives it all anew when its broker is away again.
func (f *Feed) BrokerBack() {
	f.hub.mu.Lock()
	defer f.hub.mu.Unlock()
	f.hub.given.brokerBack(time.Now())
}

// Untopic frees a number. The topic goes with it if it has no members and no other number.
func (f *Feed) Untopic(u link.Untopic) {
	f.hub.mu.Lock()
	defer f.hub.mu.Unlock()
	f.freeLocked(u.ID)
}

// freeLocked takes a number back. The Hub's lock must be held.
func (f *Feed) freeLocked(number uint64) {
	t := f.numbers[number]
	delete(f.numbers, number)
	if t != nil {
		f.hub.unnumberLocked(t)
	}
}

// unnumberLocked takes one number of t away. h.mu must be held.
func (h *Hub) unnumberLocked(t *topic) {
	t.numbers--
	h.tidyLocked(t)
}

// numberedLocked finds a topic by its number. What comes for a muted one comes by the new link too. An unknown one is the relay's fault. Both are counted, and the
// frame has no effect on that topic. The Hub's lock must be held.
func (f *Feed) numberedLocked(number uint64) *topic {
	t, known := f.numbers[number]
	switch {
	case t != nil:
	case known:
		f.hub.metrics.dropped[dropRepeated].Inc()
	default:
		f.hub.metrics.dropped[dropNoTopic].Inc()
	}
	return t
}
