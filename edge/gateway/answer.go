package gateway

import "github.com/edgerelay/edgerelay/shared/link"

// OnDrained sets the function that says Drained to the relay. It is called at most once, before the
// link brings its first frame. The function say must not block, and must call no method of the Hub.
// The Feed calls say once for each long answer that its link has brought, as soon as the answer was
// written to the client's socket, or was dropped. So say may also be called by goroutines that do
// not call the Feed, and after Down.
func (f *Feed) OnDrained(say func(link.Drained)) {
	f.hub.mu.Lock()
	defer f.hub.mu.Unlock()
	f.drained = say
}

// replyLocked handles the text of an Answer, an Answered, a Bound or a Confirmed, which the link of
// f has brought. If the parameter answer is true, replyLocked queues the text for the client. A
// text that is a long answer counts in the queue's bound for long answers. If a long answer is not
// queued, replyLocked says Drained at once. The Feed f is nil if there is no link. h.mu must be
// held.
func (h *Hub) replyLocked(f *Feed, session uint64, text []byte, answer bool) {
	s := h.sessions[session]
	if !link.IsLong(text) || s != nil && s.sdk == nil {
		if s != nil && answer {
			h.answerLocked(s, text)
		}
		return
	}
	var say func(link.Drained)
	if f != nil {
		say = f.drained
	}
	size := len(text)
	drain := func() {
		if say != nil {
			say(link.Drained{Session: session, Bytes: uint64(size)})
		}
	}
	switch {
	case s == nil || !answer:
		drain()
	case s.dead:
		h.metrics.dropped[dropGone].Inc()
		drain()
	default:
		held := h.metrics.longAnswers
		held.Add(float64(size))
		result := s.deliverLong(textFrame(text), func() {
			held.Add(-float64(size))
			drain()
		})
		if h.count(result, 1); result != pushOK {
			held.Add(-float64(size))
			drain()
		}
	}
}
