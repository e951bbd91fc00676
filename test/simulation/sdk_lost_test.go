package simulation

import (
	"slices"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// closed checks a Close frame. It returns the session that the frame ends. If that session is
// ending already, or has ended, closed returns nil.
func (m *model) closed(e *edge, n link.Close) *session {
	ours := func(s *session) bool { return s.id == n.Session }
	i := slices.IndexFunc(e.sessions, ours)
	if i < 0 {
		return nil
	}
	s := e.sessions[i]
	if n.Within > 0 && n.Code == 3010 && n.Reason != "" && s.sdk != nil {
		if !m.mayHaveLost(s) {
			m.w.fail("P3: %s/%d is closed as if it had lost messages", e.name, s.id)
		}
		m.w.count("closed by a loss")
		return s
	}
	if n.Code == 3006 && n.Within == 0 && s.sdk != nil {
		m.closedByEnd(s)
		return s
	}
	if n.Code == 3005 && n.Reason != "" && m.refreshedLate(s) {
		m.w.count("closed by a refresh that came late")
		return s
	}
	if s.sdk == nil || s.sdk.end == nil || s.sdk.end.sdk.closing != n.Code || n.Code != 0 && n.Reason == "" {
		m.w.fail("P3: %s/%d is closed with %d %q, and nothing asked for that", e.name, s.id, n.Code, n.Reason)
		return s
	}
	for _, f := range s.sdk.frames {
		// A history command need not be answered before the frames that came after it.
		if f.answers && f.answered == 0 && f.sdk.method != "history" {
			m.w.fail("P2: %s/%d is closed, and number %d (%s) is not answered", e.name, s.id, f.number, f.sdk.method)
		}
		if f == s.sdk.end {
			break
		}
	}
	m.w.count("closed")
	return s
}

// refreshedLate reports whether a refresh of a session waits for its answer, although its token has
// ended. That is so if the edge had no link for longer than the token lasted.
func (m *model) refreshedLate(s *session) bool {
	return s.sdk != nil && slices.ContainsFunc(s.sdk.frames, func(f *frame) bool {
		return f.sdk.method == "refresh" && f.answered == 0 && m.isOver(f.sdk.claims)
	})
}

// mayHaveLost reports whether the edge of a session lacks publications of some topic of the
// session, or may lack some.
func (m *model) mayHaveLost(s *session) bool {
	for t := range s.interests {
		if m.missed(s, t) {
			return true
		}
	}
	return false
}

// missed reports whether the edge of a member lacks publications of a topic, or may lack some. A
// message that was given ahead counts as lacking until its publication comes, since another relay
// cannot know that the message was given ahead. If the edge has come to its relay by a move, missed
// returns true: the new relay may count messages as lost that the old link brought.
func (m *model) missed(s *session, t protocol.Topic) bool {
	i, n := s.interests[t], m.edges[s.e.instance]
	moved := s.e.used != nil && s.e.used.byMove
	return i != nil && i.in && (m.lossy || n.unplaced[t] || moved ||
		slices.ContainsFunc(m.stream(t).entries, func(e *entry) bool { return n.at[t].Before(e.position) }))
}

// unbound takes note of an Unbound, by which a client learns of a loss or of the end of its token.
// It returns the code that the client is told.
func (m *model) unbound(e *edge, n link.Unbound, t protocol.Topic) (code int) {
	if r, ok := read(string(n.Text)); ok && r.Push != nil && r.Push.Unsubscribe != nil {
		code = r.Push.Unsubscribe.Code
	}
	for _, s := range slices.Concat(e.sessions, e.closing, e.ended) {
		if s.id != n.Session {
			continue
		}
		if i := s.interests[t]; code == 2501 && (s.gone || i != nil && i.over(m.w.now)) {
			m.w.count("unsubscribed by an end")
		} else if code == 2501 {
			m.w.fail("P14: %s/%d is told that its token for %s has ended, and it has not", e.name, s.id, t)
			return code
		} else if s.sdk == nil || !s.gone && !m.missed(s, t) {
			m.w.fail("P4: %s/%d is told of a loss on %s, and lacks nothing", e.name, s.id, t)
			return code
		} else {
			m.w.count("unsubscribed by a loss")
		}
		i := s.interest(t)
		i.in = false
		for _, f := range s.sdk.frames {
			// The relay may judge this publish after the Unbound, and refuse it.
			if f.stores && f.answered == 0 && f.topic == t && t.IsGroup() {
				f.stores, f.sdk.may = false, true
			}
		}
		for _, x := range i.expected[i.next:] {
			if x.class == must {
				x.class = may
			}
		}
	}
	return code
}

// deliveredLoss checks the push by which a client learns that a loss, or the end of its token, has
// ended its membership.
func (m *model) deliveredLoss(s *session, c cause, text string, fail func(promise, what string)) {
	r, ok := read(text)
	if !ok || r.Push == nil || r.Push.Channel != string(c.topic) || r.Push.Unsubscribe == nil || r.Push.Unsubscribe.Code != c.unsubscribed ||
		c.session != s.id || c.unsubscribed != 2500 && c.unsubscribed != 2501 {
		fail("P4", "which tells neither of a loss nor of the end of a token")
		return
	}
	// An SDK then subscribes again at once, with the token that it has.
	if s.sdk.app.trail(c.topic).wanted && s.interests[c.topic].awaits == 0 {
		m.w.after(m.w.between(0, 2*time.Millisecond), func() {
			if s.interests[c.topic].awaits == 0 {
				m.w.sends(s, []line{m.w.subscription(s, string(c.topic), m.w.asksFor(s.sdk.app, c.topic, true))})
			}
		})
	}
}
