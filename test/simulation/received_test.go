package simulation

import (
	"fmt"
	"slices"
	"strings"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// late reports whether an entry may come to one who was not there.
func (m *model) late(i *interest, c cause, text string) bool {
	for _, e := range m.stream(c.topic).entries {
		if e.position == c.position && e.text == text {
			return i.isLoose(e) || e.unheard || m.stale(e)
		}
	}
	return false
}

// stale reports whether an entry may come to one who came when Redis had lost it: Redis had it again, and who came meanwhile is at no position; or it is in the tail of a relay that has no Redis,
// and does not know that it is lost.
func (m *model) stale(e *entry) bool {
	return e.restored || e.gone && !m.awaySince(m.w.now).IsZero()
}

// isLoose reports whether an entry is of the time without Redis in which one came.
func (i *interest) isLoose(e *entry) bool { return !i.loose.IsZero() && e.at.After(i.loose) }

// told takes note of a topic's position at an edge.
func (m *model) told(e *edge, t protocol.Topic, at protocol.Position) {
	n := m.edges[e.instance]
	if n.at[t].Before(at) {
		n.at[t] = at
	}
}

// numbered takes note of a topic's number, and of the place that its members are told.
func (m *model) numbered(e *edge, n link.TopicNumber) {
	known := m.edges[e.instance]
	known.unplaced[n.Topic] = n.Position == protocol.Unplaced
	if !slices.ContainsFunc(e.sessions, func(s *session) bool { i := s.interests[n.Topic]; return i != nil && i.in }) {
		delete(known.at, n.Topic) // whoever was there has gone
	}
	if n.Position != protocol.Unplaced {
		m.told(e, n.Topic, n.Position)
	}
}

// loosen takes note that a session has come to a topic, perhaps while a relay had no Redis. Its place in a group is looked for before what its edge had published there, and does not
// know of: of a link that was half open that may be long ago.
func (i *interest) loosen(m *model, e *edge, t protocol.Topic) {
	if !i.loose.IsZero() {
		return
	}
	i.loose = m.awaySince(i.came)
	if i.loose.IsZero() || !t.IsGroup() {
		return
	}
	for number, f := range m.edges[e.instance].frames {
		if number > e.acked && f.stored > 0 && f.topic == t && !i.loose.Before(f.storedAt) {
			i.loose = f.storedAt.Add(-1)
		}
	}
}

// broughtAhead takes note that an edge was brought what is not published, and has given it to its members: from then on it gives it to nobody.
func (m *model) broughtAhead(e *edge, t protocol.Topic, id uint64) {
	n := m.edges[e.instance]
	f := m.ids[id]
	if f == nil || f.topic != t {
		m.w.fail("%s: was given ahead what nobody said on %s", e.name, t)
		return
	}
	if n.ahead[id] {
		return
	}
	n.ahead[id] = true
	given := n.given == id
	for _, s := range e.sessions {
		i := s.interests[t]
		if i == nil || s.had[id] {
			continue
		}
		if given && i.in && i.leaves == 0 && (t.IsUser() || f.s.user != s.user) {
			m.w.fail("P4: %s/%d (%s) was not given ahead what others of its edge were: %q on %s", e.name, s.id, s.user, f.msg, t)
			return
		}
		for _, x := range i.expected {
			if x.id == id {
				x.class = mustNot
			}
		}
	}
}

// gap takes note that an edge was told of a loss.
func (m *model) gap(e *edge, t protocol.Topic, g link.Gap) {
	at := m.edges[e.instance].at[t]
	if !at.Before(g.Position) {
		return
	}
	m.w.tracef("%s: %d lost on %s up to %v", e.name, g.Lost, t, g.Position)
	s := m.stream(t)
	if !m.lossy && at.Epoch == g.Position.Epoch {
		// During a move the link that is left may have brought some of it since the tables were told: then it is told as lost what was not.
		lost := g.Position.Offset - at.Offset
		if g.Lost < lost || g.Lost > lost && !e.used.byMove {
			m.w.fail("P4: %s: %d messages of %s were told to be lost between %v and %v", e.name, g.Lost, t, at, g.Position)
			return
		}
		for i, entry := range s.entries {
			kept := i >= s.from && len(s.entries)-i <= m.w.config.history && m.w.now.Sub(s.last) < m.w.config.age
			if kept && at.Before(entry.position) && !g.Position.Before(entry.position) {
				m.w.fail("P4: %s: %q on %s was told to be lost, and is in the history", e.name, entry.text, t)
				return
			}
		}
	}
	for _, s := range e.sessions {
		i := s.interests[t]
		if i == nil {
			continue
		}
		for _, x := range i.expected[i.next:] {
			if !g.Position.Before(x.position) {
				x.excused = true
			}
		}
	}
	m.told(e, t, g.Position)
}

// delivered takes note of what a client was sent.
func (m *model) delivered(s *session, c cause, text string) {
	fail := func(promise, what string) {
		m.w.fail("%s: %s/%d (%s) got %q (on %s at %v), %s", promise, s.e.name, s.id, s.user, text, c.topic, c.position, what)
	}
	switch {
	case c.topic == "":
		m.deliveredAnswer(s, c, text, fail)
	case c.gap:
		if text != protocol.LostText(c.topic) {
			fail("P4", "which does not tell of a loss")
		}
	case s.interests[c.topic] == nil:
		fail("P6", "and has nothing to do with that topic")
	case c.id != 0 && !m.once(s, c, fail):
	case c.ahead:
		m.deliveredAhead(s, c, text, fail)
	case c.position.IsZero():
		m.deliveredBare(s, c, text, fail)
	default:
		m.deliveredEntry(s, c, text, fail)
	}
}

// once checks that what came had not come before, ahead of its publication or otherwise, and that nothing has come that its sender said later.
func (m *model) once(s *session, c cause, fail func(promise, what string)) bool {
	if s.had[c.id] {
		fail("P2", "a second time")
		return false
	}
	if s.never[c.id] {
		fail("P6", "which was given ahead before it came")
		return false
	}
	s.had[c.id] = true
	f := m.ids[c.id]
	if f == nil {
		return true // it is from elsewhere
	}
	h := hearing{f.s, c.topic}
	if f.number < s.heard[h] && !m.mayComeLate(s, c, f) {
		fail("P1", fmt.Sprintf("which is number %d, behind number %d", f.number, s.heard[h]))
		return false
	}
	s.heard[h] = f.number
	return true
}

// mayComeLate reports whether a message may come behind what its sender said later: it was told as lost; Redis has lost it, and got it again, or a relay does not know that, and it comes to one who was not there the
// first time; or it was published before this one came, and is given ahead by a relay that has not heard that it was.
func (m *model) mayComeLate(s *session, c cause, f *frame) bool {
	list := s.interests[c.topic].expected
	n := slices.IndexFunc(list, func(x *expected) bool { return x.id == c.id })
	switch {
	case f.stored > 1:
		return true
	case n < 0:
		at := slices.IndexFunc(m.stream(c.topic).entries, func(e *entry) bool { return e.id == c.id })
		return c.ahead && f.stored > 0 || at >= 0 && m.stale(m.stream(c.topic).entries[at])
	}
	return list[n].excused || c.ahead && list[n].class != must
}

// deliveredAhead checks what came before it was published, or at least before this edge knows.
func (m *model) deliveredAhead(s *session, c cause, text string, fail func(promise, what string)) {
	f, i := m.ids[c.id], s.interests[c.topic]
	switch {
	case f == nil || f.topic != c.topic || text != string(protocol.AppendText(nil, f.topic, f.s.user, f.msg)):
		fail("P2", "ahead, which nobody said")
	case !f.stores:
		fail("P2", "ahead, which is to be refused")
	case !c.topic.IsUser() && f.s.user == s.user:
		fail("P6", "ahead, from itself")
	case m.edges[s.e.instance].ahead[c.id]:
		fail("P6", "ahead, which its edge was given before")
	case !i.own && !i.in && i.awaits == 0:
		fail("P6", "ahead, and had been told that it has left")
	}
	m.edges[s.e.instance].given = c.id
	for _, x := range i.expected {
		if x.id == c.id {
			x.got = true
		}
	}
}

func (m *model) deliveredAnswer(s *session, c cause, text string, fail func(promise, what string)) {
	f := m.edges[s.e.instance].frames[c.number]
	if f == nil || c.session != s.id {
		fail("P2", "an answer that is not for it")
		return
	}
	group := f.topic.Name()
	ok := strings.HasPrefix(text, "error: ")
	switch {
	case f.stores && f.kind == protocol.KindJoin:
		ok = text == protocol.JoinText(s.user, group)
	case f.stores && f.kind == protocol.KindLeave:
		ok = text == protocol.LeaveText(s.user, group)
	case f.kind == protocol.KindLeave || f.kind == protocol.KindGroup:
		ok = ok || text == protocol.NotInText(s.user, group) || text == protocol.NotExistsText(group)
	}
	if !ok {
		fail("P2", "which does not answer its frame")
	}
}

func (m *model) deliveredBare(s *session, c cause, text string, fail func(promise, what string)) {
	e := m.stream(c.topic).bares[text]
	if e == nil {
		fail("P2", "which nobody published")
		return
	}
	// A relay to which the edge has linked since may have been brought it later than the one before.
	relinked := s.e.used != nil && s.e.used.began.After(e.at)
	if s.bares[e]++; s.bares[e] > 1 && !e.unsure && !relinked {
		fail("P2", "a second time")
	}
	if m.class(s, c.topic) == mustNot {
		fail("P6", "and is not a member")
	}
}

// deliveredEntry checks that what came is the next of what was stored that is to come.
func (m *model) deliveredEntry(s *session, c cause, text string, fail func(promise, what string)) {
	i := s.interests[c.topic]
	find := func(from, to int) int {
		for n := from; n < to; n++ {
			if x := i.expected[n]; x.position == c.position && x.text == text {
				return n
			}
		}
		return -1
	}
	n := find(i.next, len(i.expected))
	switch {
	case n < 0 && find(0, i.next) >= 0:
		x := i.expected[find(0, i.next)]
		switch {
		case x.got:
			fail("P2", "a second time")
		case !x.gone:
			fail("P1", "behind what was published later")
		}
		x.got = true
		return
	case n < 0 && m.late(i, c, text):
		return
	case n < 0:
		fail("P6", "which was not published while it was there")
		return
	case m.edges[s.e.instance].ahead[c.id] && i.expected[n].class == mustNot:
		fail("P6", "which its edge was given ahead before")
		return
	case !c.topic.IsUser() && i.expected[n].from == s.user:
		fail("P6", "from itself")
		return
	case i.expected[n].class == mustNot && !i.expected[n].unheard && !i.expected[n].gone && !i.isLoose(i.expected[n].entry):
		fail("P6", "which is not for it")
		return
	case !i.own && !i.in && i.awaits == 0 && !i.expected[n].unheard:
		fail("P6", "and had been told that it has left")
		return
	}
	for _, x := range i.expected[i.next:n] {
		// What was at the end of an epoch that Redis lost, and has left the history since, is not known to anybody.
		unknown := m.lossy && x.position.Epoch < c.position.Epoch
		if x.class == must && !x.got && !x.excused && !x.gone && !unknown {
			fail("P4", "and never "+x.text+" at "+x.position.String()+" before it")
			return
		}
	}
	i.expected[n].got = true
	i.next = n + 1
}
