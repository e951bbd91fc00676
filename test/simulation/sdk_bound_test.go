package simulation

import (
	"slices"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// comes takes note that a client of an SDK is a member of a topic from now on.
func (m *model) comes(e *edge, i *interest, t protocol.Topic) {
	n := m.edges[e.instance]
	i.in, i.since, i.place, i.placed = true, m.w.now, n.at[t], !n.unplaced[t]
	i.loosen(m)
}

// confirmed takes note of a Confirmed, which names the given topics.
func (m *model) confirmed(e *edge, n link.Confirmed, topics []protocol.Topic) {
	f := m.edges[e.instance].frames[n.Number]
	if f == nil || f.sdk == nil || f.sdk.method != "connect" || f.s.id != n.Session {
		m.w.fail("P9: %s: a Confirmed of number %d of session %d", e.name, n.Number, n.Session)
		return
	}
	s, k := f.s, f.sdk
	slices.Sort(topics)
	want := slices.Clone(k.topics)
	slices.Sort(want)
	if n.User != s.user || !m.grants(n.Until, f) || !slices.Equal(topics, want) || s.sdk.confirmed {
		m.w.fail("P14: %s/%d was confirmed as %q until %d in %q, want %q until %d in %q", e.name, s.id, n.User, n.Until, topics, s.user, k.claims.exp, want)
	}
	s.ready, s.sdk.confirmed, s.sdk.until = true, true, n.Until
	s.sdk.infos = append(s.sdk.infos, k.claims.info)
	for _, t := range k.topics {
		i := s.interests[t]
		m.comes(e, i, t)
		i.awaits--
	}
	m.w.expire(s)
}

// refreshed checks a Refreshed frame, and takes note of the new end of the session.
func (m *model) refreshed(e *edge, n link.Refreshed) {
	f := m.edges[e.instance].frames[n.Number]
	if f == nil || f.sdk == nil || f.sdk.method != "refresh" || f.s.id != n.Session || !m.grants(n.Until, f) {
		m.w.fail("P14: %s: a Refreshed of number %d of session %d until %d", e.name, n.Number, n.Session, n.Until)
		return
	}
	f.s.sdk.until = n.Until
	m.w.expire(f.s)
}
