package gateway

import (
	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// Publication encodes the message once and queues the same bytes for every member of the topic but the sessions of user p.Except. One
// that is not newer than the topic's position was given to the members before and is dropped; one without a position is always passed on, once of two links.
func (f *Feed) Publication(p link.Publication) {
	h := f.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	h.metrics.publications.Inc()
	t := f.advanceLocked(p.Topic, p.Position)
	if t == nil || h.overlap != nil && p.Position.IsZero() && !h.passLocked(f, t, p) {
		return
	}
	if p.ID != 0 && h.given.takePublished(p.ID, p.Position.Offset <= givenEarly && h.given.aftermath()) {
		h.metrics.dropped[dropRepeated].Inc()
		return
	}
	f.fanOutLocked(t, p.Payload, p.Except)
}

// Ahead gives a message to the members of the topic before it is published. When it is, they are not given it again.
func (f *Feed) Ahead(a link.Ahead) {
	h := f.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	t := f.numberedLocked(a.Topic)
	if t == nil {
		return
	}
	switch h.given.takeAhead(a.ID) {
	case pass:
		h.metrics.ahead.Inc()
		f.fanOutLocked(t, a.Payload, a.Except)
	case repeat:
		h.metrics.dropped[dropRepeated].Inc()
	case excess:
		h.metrics.late.Inc()
	}
}

// Gap tells the members that messages were lost to them, unless they were told already or had what comes after the loss.
func (f *Feed) Gap(g link.Gap) {
	if name, lost, members := f.gap(g); members > 0 {
		f.hub.log.Warn("messages were lost", "topic", name, "lost", lost, "members", members)
	}
}

// gap returns how many were lost, which is less than the relay knows of if another link has brought some of them: an edge that moves has two.
func (f *Feed) gap(g link.Gap) (name protocol.Topic, lost uint64, members int) {
	h := f.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	t := f.numberedLocked(g.Topic)
	if t == nil {
		return "", 0, 0
	}
	lost, before := g.Lost, t.position
	if f.advanceLocked(g.Topic, g.Position) == nil {
		return "", 0, 0
	}
	if before.Epoch == g.Position.Epoch {
		lost = min(lost, g.Position.Offset-before.Offset)
	}
	h.metrics.gaps.Inc()
	f.fanOutLocked(t, g.Text, "")
	return t.name, lost, len(t.members)
}

// advanceLocked moves a topic to p and returns it: nil when its members were at p before, or there is no such topic. The zero p moves
// nothing. The Hub's lock must be held.
func (f *Feed) advanceLocked(number uint64, p protocol.Position) *topic {
	t := f.numberedLocked(number)
	if t == nil || p.IsZero() {
		return t
	}
	if !t.position.Before(p) {
		f.hub.metrics.dropped[dropRepeated].Inc()
		return nil
	}
	f.hub.moveLocked(t, p)
	return t
}

// fanOutLocked costs one allocation, whatever the number of members. h.mu must be held.
func (h *Hub) fanOutLocked(t *topic, text []byte, except string) {
	if len(t.members) == 0 {
		return
	}
	frame := textFrame(text)
	var results [pushSealed + 1]int
	for i := range t.members {
		s := t.members[i].session
		if s.dead || except != "" && s.info.User == except {
			continue
		}
		results[s.deliver(frame)]++
	}
	for result, n := range results {
		h.count(pushed(result), n)
	}
}

// count counts n messages by what became of them.
func (h *Hub) count(result pushed, n int) {
	if n == 0 {
		return
	}
	switch result {
	case pushOK:
		h.metrics.deliveries.Add(float64(n))
	case pushFull:
		h.metrics.dropped[dropSlow].Add(float64(n))
	case pushSealed:
		h.metrics.dropped[dropEnding].Add(float64(n))
	}
}
