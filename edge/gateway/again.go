package gateway

import "github.com/edgerelay/edgerelay/shared/protocol"

// backLocked takes a topic without living members back to an earlier position, and mutes its
// numbers on all links but the newest. The publications up to the position that the topic had come
// again, for members to come. h.mu must be held.
func (h *Hub) backLocked(t *topic, at protocol.Position) {
	h.noteAgainLocked(t)
	h.moveLocked(t, at)
	h.muteOlderLocked(t)
}

// maxAgain bounds the topics in Hub.again. What finds no room there may lack, after a change of
// epoch, publications that came before to others.
const maxAgain = 4096

// noteAgainLocked notes the position of a topic that goes back, or is removed and may be given an
// earlier position when it is made again. h.mu must be held.
func (h *Hub) noteAgainLocked(t *topic) {
	if len(h.again) >= maxAgain || t.position.IsZero() || t.position.IsUnplaced() {
		return
	}
	if h.again == nil {
		h.again = map[protocol.Topic]protocol.Position{}
	}
	h.again[t.name] = t.position
}

// comesAgainLocked reports whether the publication at the given position of t has come before, to
// members that have left since. It may then come again, for members that have come since. h.mu must
// be held.
func (h *Hub) comesAgainLocked(t *topic, at protocol.Position) bool {
	last, back := h.again[t.name]
	if back && last.Before(at) {
		delete(h.again, t.name)
		return false
	}
	return back
}

// muteOlderLocked mutes the numbers of t on all links but the newest. h.mu must be held.
func (h *Hub) muteOlderLocked(t *topic) {
	for _, f := range h.feeds {
		if f == h.newest {
			continue
		}
		for number, numbered := range f.numbers {
			if numbered == t {
				f.freeLocked(number)
				f.numbers[number] = nil
			}
		}
	}
}
