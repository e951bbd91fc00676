package gateway

import (
	"slices"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// topic is a topic's place at this node. It is there while it has members or a number on a link.
type topic struct {
	name     protocol.Topic
	numbers  int               // how many numbers name it, of all links
	position protocol.Position // of the last publication that the members were given
	members  []member
}

// moveLocked makes p the topic's position. h.mu must be held.
func (h *Hub) moveLocked(t *topic, p protocol.Position) {
	if t.position.Epoch != p.Epoch && t.position.Epoch != 0 && t.position != protocol.Unplaced {
		h.given.epochs = time.Now()
	}
	t.position = p
}

// desertedLocked reports whether nobody of t is alive. Hub.mu must be held.
func (t *topic) desertedLocked() bool {
	return !slices.ContainsFunc(t.members, func(m member) bool { return !m.session.dead })
}

// member and membership are the two ends of one binding; each knows the other's place, so that both leave their slices at once.
type member struct {
	session *Session
	slot    int // in session.memberships
}

type membership struct {
	topic *topic
	slot  int // in topic.members
}

// tidyLocked forgets t if nothing keeps it. h.mu must be held.
func (h *Hub) tidyLocked(t *topic) {
	if t.numbers == 0 && len(t.members) == 0 {
		delete(h.topics, t.name)
		h.metrics.topics.Dec()
	}
}

// bindLocked makes s a member of t, unless it is one. h.mu must be held.
func (h *Hub) bindLocked(s *Session, t *topic) {
	if s.findLocked(t) >= 0 {
		return
	}
	t.members = append(t.members, member{s, len(s.memberships)})
	s.memberships = append(s.memberships, membership{t, len(t.members) - 1})
	h.digest.Bindings++
	h.digest.BindingHash ^= link.BindingHash(s.info.ID, t.name)
	h.metrics.bindings.Inc()
}

// findLocked returns the slot of t among the session's memberships, -1 if it is not a member. Hub.mu must be held.
func (s *Session) findLocked(t *topic) int {
	for slot, m := range s.memberships {
		if m.topic == t {
			return slot
		}
	}
	return -1
}

// unbindLocked ends the membership in the slot. The last of each slice takes the free place. h.mu must be held.
func (h *Hub) unbindLocked(s *Session, slot int) {
	t, place := s.memberships[slot].topic, s.memberships[slot].slot

	last := len(t.members) - 1
	moved := t.members[last]
	t.members[place] = moved
	moved.session.memberships[moved.slot].slot = place
	t.members[last] = member{}
	t.members = t.members[:last]

	end := len(s.memberships) - 1
	other := s.memberships[end]
	s.memberships[slot] = other
	if slot != end {
		other.topic.members[other.slot].slot = slot
	}
	s.memberships[end] = membership{}
	s.memberships = s.memberships[:end]

	h.digest.Bindings--
	h.digest.BindingHash ^= link.BindingHash(s.info.ID, t.name)
	h.metrics.bindings.Dec()
	h.tidyLocked(t)
}
