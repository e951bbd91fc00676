package gateway

import "github.com/edgerelay/edgerelay/shared/link"

// Feed is what one link brings to the Hub. Topic numbers are the link's own; topics, their positions and members are the Hub's. While an edge moves to
// another relay there are two. Methods may be called by one goroutine at a time for each Feed.
type Feed struct {
	hub     *Hub
	numbers map[uint64]*topic // as the relay gave them
}

// Begin starts a link: it calls session for every session and then held for every topic with members, the dead included. It holds the Hub's lock: the two
// must only append to a buffer. A session that is being opened may be told here and by Upstream.Open: Session frames are idempotent.
func (h *Hub) Begin(session func(link.Session), held func(link.Held)) *Feed {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.sessions {
		session(s.info)
	}
	for _, t := range h.topics {
		t.tell(held)
	}
	f := &Feed{hub: h, numbers: map[uint64]*topic{}}
	h.beginOverlapLocked(f)
	return f
}

// Down ends the link: its topic numbers are void.
func (f *Feed) Down() {
	h := f.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range f.numbers {
		h.unnumberLocked(t)
	}
	clear(f.numbers)
	h.endOverlapLocked(f)
}

// Topic gives a topic its number. Its position becomes the one given unless ours is later.
func (f *Feed) Topic(n link.TopicNumber) {
	h := f.hub
	h.mu.Lock()
	defer h.mu.Unlock()
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
	if t.position.Before(n.Position) {
		t.position = n.Position
	}
}

// Untopic frees a number. The topic goes with it if it has no members and no other number.
func (f *Feed) Untopic(u link.Untopic) {
	f.hub.mu.Lock()
	defer f.hub.mu.Unlock()
	if t := f.numbers[u.ID]; t != nil {
		delete(f.numbers, u.ID)
		f.hub.unnumberLocked(t)
	}
}

// unnumberLocked takes one number of t away. h.mu must be held.
func (h *Hub) unnumberLocked(t *topic) {
	t.numbers--
	h.tidyLocked(t)
}

// numberedLocked finds a topic by its number. An unknown one is the relay's fault: it is counted, and the frame has no effect on that
// topic. The Hub's lock must be held.
func (f *Feed) numberedLocked(number uint64) *topic {
	t := f.numbers[number]
	if t == nil {
		f.hub.metrics.dropped[dropNoTopic].Inc()
	}
	return t
}
