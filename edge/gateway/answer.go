package gateway

import "github.com/edgerelay/edgerelay/shared/link"

// Opened binds a session to its own topics. The first one, confirmed or not, lets the waiting connect be answered.
func (h *Hub) Opened(f link.Opened) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.sessions[f.Session]
	if s == nil {
		return // forgotten meanwhile
	}
	for _, number := range f.Topics {
		if t := h.numberedLocked(number); t != nil {
			h.bindLocked(s, t)
		}
	}
	if !f.Confirmed {
		h.metrics.unconfirmed.Inc()
	}
	if s.opened != nil {
		close(s.opened)
		s.opened = nil
	}
}

// Joined binds a session to a group: it gets what comes from here on. With answer the client gets the text, before all that.
func (h *Hub) Joined(f link.Joined, answer bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.sessions[f.Session]
	if s == nil {
		return
	}
	if t := h.numberedLocked(f.Topic); t != nil {
		h.bindLocked(s, t)
	}
	if answer {
		h.answerLocked(s, f.Text)
	}
}

// Left unbinds a session from a group: it gets nothing of it behind the answer.
func (h *Hub) Left(f link.Left, answer bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.sessions[f.Session]
	if s == nil {
		return
	}
	if t := h.numberedLocked(f.Topic); t != nil {
		if slot := s.findLocked(t); slot >= 0 {
			h.unbindLocked(s, slot)
		}
	}
	if answer {
		h.answerLocked(s, f.Text)
	}
}

// Answer passes an answer on to its client.
func (h *Hub) Answer(f link.Answer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s := h.sessions[f.Session]; s != nil {
		h.answerLocked(s, f.Text)
	}
}

// h.mu must be held.
func (h *Hub) answerLocked(s *Session, text []byte) {
	if s.dead {
		h.metrics.dropped[dropGone].Inc()
		return
	}
	h.count(s.deliver(textFrame(text)), 1)
}

// numberedLocked finds a topic by its number. An unknown one is the relay's fault: it is counted, and the frame has no effect on that
// topic. h.mu must be held.
func (h *Hub) numberedLocked(number uint64) *topic {
	t := h.numbers[number]
	if t == nil {
		h.metrics.dropped[dropNoTopic].Inc()
	}
	return t
}
