package gateway

import (
	"slices"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// lateMember is the state of a member that is late: it lacks publications of its topic that the
// other members have had.
//
// A relay names the position at which it binds a member. The topic may be further at this edge,
// since an older link has brought more publications. The link that has bound the member brings the
// publications that the member lacks. The other members have had these publications. So only late
// members are given them. A member is late until it has reached the topic's position. Publications
// that another link brings are not given to a late member. So the member gets the publications of
// its own link, in order.
//
// Only sessions of SDKs are late. Publications without a position go to all members, and so do
// messages that are given ahead.
type lateMember struct {
	// feed is the Feed of the link that has bound the member. It serves the member even if there is
	// a newer link meanwhile: the newer link begins at the topic's position, and does not bring
	// what the member lacks. If feed is nil, no link brings what the member lacks, and the session
	// is about to end. Until then the member is given nothing that has a position. So its SDK still
	// names the right position when it comes back.
	feed *Feed
	at   protocol.Position // the last publication that the member has, or does not need
	had  []uint64          // ids of messages that were given ahead while the member was late
}

const (
	// lateSpread is the time within which the session of a late member ends if no link serves the
	// member any more.
	lateSpread = 5 * time.Second
	// lateAhead bounds lateMember.had. Beyond it, a member may get a message twice: ahead, and when
	// its link brings the publication.
	lateAhead = 256
)

// placeLocked is called when f has bound s to t at the given position. If t is further, s is late.
// If the position is zero or unplaced, it is not known, and s begins where the topic is. f.hub.mu
// must be held.
func (f *Feed) placeLocked(s *Session, t *topic, at protocol.Position) {
	h := f.hub
	if at.Epoch == 0 || !at.Before(t.position) {
		return
	}
	if h.late == nil {
		h.late = map[*topic]map[*Session]*lateMember{}
	}
	if h.late[t] == nil {
		h.late[t] = map[*Session]*lateMember{}
	}
	h.late[t][s] = &lateMember{feed: f, at: at}
	h.metrics.late.Inc()
}

// levelLocked makes s a member of t that is not late. h.mu must be held.
func (h *Hub) levelLocked(s *Session, t *topic) {
	if h.late[t][s] == nil {
		return
	}
	h.metrics.late.Dec()
	if delete(h.late[t], s); len(h.late[t]) == 0 {
		delete(h.late, t)
	}
}

// reachLocked notes that the late member s of t has all publications up to the given position, or
// does not need them. h.mu must be held.
func (h *Hub) reachLocked(s *Session, t *topic, at protocol.Position) {
	m := h.late[t][s]
	if m.at = at; !at.Before(t.position) {
		h.levelLocked(s, t)
	}
}

// serveLocked gives p to those late members of its topic that lack p and that f serves. It returns
// false if there is no such member. The caller then handles p for the members that are not late.
// The publication must have a position. f.hub.mu must be held.
//
// If p is not beyond the topic's position, the members that are not late have had p, or are past p.
// If p is beyond the topic's position, p is for the members that are not late. By then each late
// member that f serves must have reached the topic's position. If such a member is still late, f
// has left out a publication, and serveLocked calls strandLocked for the member.
func (f *Feed) serveLocked(p *link.Publication, r *renderings) (served bool) {
	h, t := f.hub, f.numbers[p.Topic]
	if len(h.late[t]) == 0 {
		return false
	}
	beyond := t.position.Before(p.Position)
	// A message may have been published in an earlier epoch, and again in the topic's epoch.
	again := p.Position.Epoch == t.position.Epoch && p.Position.Offset <= givenEarly &&
		h.given.aftermath() && h.given.wasTwice(p.ID)
	var frame []byte
	var results [pushSealed + 1]int
	for s, m := range h.late[t] {
		switch {
		case m.feed != f || !m.at.Before(p.Position):
			continue
		case beyond:
			h.strandLocked(s, m)
			continue
		}
		served = true
		if !s.dead && !s.leaves() && !again && r.has[link.FormJSON] && !slices.Contains(m.had, p.ID) {
			if frame == nil {
				frame = textFrame(r.texts[link.FormJSON])
				f.bytes += len(frame)
			}
			f.queued++
			results[s.deliver(frame)]++
		}
		h.reachLocked(s, t, p.Position)
	}
	for result, n := range results {
		h.count(pushed(result), n)
	}
	return served
}

// noteAheadLocked notes that a message with the given id was given ahead to the members of t.
// h.mu must be held.
func (h *Hub) noteAheadLocked(t *topic, id uint64) {
	for _, m := range h.late[t] {
		if len(m.had) < lateAhead {
			m.had = append(m.had, id)
		}
	}
}

// skipLocked is called for a Gap of the link of f: publications up to the given position will not
// come on that link. The relay of the newest link has told each session of an SDK of the loss, by
// an Unbound or a Close. If f is the Feed of an older link, the edge has ignored each Unbound and
// each Close of that link's relay. In this case the late members that f serves are stranded.
// f.hub.mu must be held.
func (f *Feed) skipLocked(t *topic, at protocol.Position) {
	h := f.hub
	for s, m := range h.late[t] {
		switch {
		case m.feed != f || !m.at.Before(at):
		case h.newest == f:
			h.reachLocked(s, t, at)
		default:
			h.strandLocked(s, m)
		}
	}
}

// endServiceLocked is called when the link of f has ended. The late members that f has served are
// stranded, since the next link begins at the topic's position. h.mu must be held.
func (h *Hub) endServiceLocked(f *Feed) {
	for _, late := range h.late {
		for s, m := range late {
			if m.feed == f {
				h.strandLocked(s, m)
			}
		}
	}
}

// strandLocked is called when no link will bring what the late member s lacks. The session ends
// within lateSpread, and its SDK comes back and names the position that it has. h.mu must be held.
func (h *Hub) strandLocked(s *Session, m *lateMember) {
	m.feed = nil
	if !s.dead {
		s.closeLater(lateSpread, ReasonBehind, sdkCloseFrames[ReasonBehind])
	}
}
