package gateway

import "github.com/edgerelay/edgerelay/shared/link"

// Opened binds a session to its own topics. The first one, confirmed or not, lets the waiting connect be answered.
func (f *Feed) Opened(o link.Opened) {
	h := f.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.sessions[o.Session]
	if s == nil {
		return // forgotten meanwhile
	}
	for _, number := range o.Topics {
		if t := f.numberedLocked(number); t != nil {
			h.bindLocked(s, t)
		}
	}
	if !o.Confirmed {
		h.metrics.unconfirmed.Inc()
	}
	if s.opened != nil {
		close(s.opened)
		s.opened = nil
	}
}

// Joined binds a session to a group: it gets what comes from here on. With answer the client gets the text, before all that.
func (f *Feed) Joined(o link.Joined, answer bool) {
	h := f.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.sessions[o.Session]
	if s == nil {
		return
	}
	if t := f.numberedLocked(o.Topic); t != nil {
		h.bindLocked(s, t)
	}
	if answer {
		h.answerLocked(s, o.Text)
	}
}

// Left unbinds a session from a group: it gets nothing of it behind the answer.
func (f *Feed) Left(o link.Left, answer bool) {
	h := f.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.sessions[o.Session]
	if s == nil {
		return
	}
	if t := f.numberedLocked(o.Topic); t != nil {
		if slot := s.findLocked(t); slot >= 0 {
			h.unbindLocked(s, slot)
		}
	}
	if answer {
		h.answerLocked(s, o.Text)
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
