package simulation

import (
	"slices"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/broker/brokertest"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// arriving takes note that a session comes to a topic. The session may receive publications that
// are still on their way to a relay, since that relay does not know them yet when the session
// comes. For a client of the chat, the parameter user is its user: the client does not get what
// this user publishes, except on a user's topic. For a client of an SDK, the parameter user is "".
func (m *model) arriving(t protocol.Topic, i *interest, user string) {
	for _, e := range m.stream(t).entries {
		if e.flying == 0 || user != "" && !t.IsUser() && e.from == user {
			continue
		}
		at, there := slices.BinarySearchFunc(i.expected, e.index, func(x *expected, index int) int { return x.index - index })
		switch {
		case !there && at >= i.next:
			i.expected = slices.Insert(i.expected, at, &expected{entry: e})
		case there && i.expected[at].class == mustNot:
			i.expected[at].class = may
		}
	}
}

// flies notes that a publication is on its way to one relay more, or to one relay fewer. The
// parameter by is then 1 or -1.
func (m *model) flies(p broker.Publication, by int) {
	for _, e := range m.stream(p.Topic).entries {
		if e.position == p.Position {
			e.flying += by
		}
	}
}

// stored checks a publication that the broker has stored, and takes note of it.
func (m *model) stored(p broker.Publish, at protocol.Position, by *brokertest.Handle) {
	again := false
	if n := m.edges[p.Instance]; n != nil {
		f := n.frames[p.Number]
		switch {
		case f == nil:
			m.w.fail("number %d of %s was published, and never accepted", p.Number, n.e.name)
			return
		case f.sdk != nil && !m.mayStore(f, p):
			return
		case f.sdk == nil && !f.stores:
			m.w.fail("number %d of %s (%q to %s) was published, and is to be refused", p.Number, n.e.name, f.msg, f.topic)
			return
		case p.Topic != f.topic || p.Msg != f.msg || p.From != f.s.user:
			m.w.fail("number %d of %s was changed on its way: %+v", p.Number, n.e.name, p)
			return
		case f.stored > 0 && !f.again:
			m.w.fail("P2: number %d of %s (%q to %s) was published twice", p.Number, n.e.name, f.msg, f.topic)
			return
		case p.Number < n.last[p.Topic] && !f.again:
			m.w.fail("P1: number %d of %s (to %s) was published behind %d", p.Number, n.e.name, f.topic, n.last[p.Topic])
			return
		}
		again = f.stored > 0
		f.stored++
		n.last[p.Topic] = p.Number
	}
	s := m.stream(p.Topic)
	e := &entry{index: len(s.entries), position: at, id: protocol.BriefID(p.Instance, p.Number), at: m.w.now, from: p.From, text: string(protocol.AppendText(nil, p.Topic, p.From, p.Msg)), said: p.Content}
	if m.w.now.Sub(s.last) >= m.w.kept(p.Topic).Age {
		s.from = len(s.entries)
	}
	s.entries = append(s.entries, e)
	s.last, s.changed = m.w.now, false
	m.look(p.Topic)
	m.expect(p.Topic, e, again, by)
}

// expect decides for each session of the topic whether it must, may or must not receive an entry.
// If the parameter again is true, the same message was stored before. The parameter by is the
// handle of the relay that has published the entry.
func (m *model) expect(t protocol.Topic, e *entry, again bool, by *brokertest.Handle) {
	for _, edge := range m.w.edges {
		for _, s := range edge.sessions {
			i := s.interests[t]
			if i == nil {
				continue
			}
			c := m.class(s, t)
			owed := c == may && m.owed(s, t, e, by)
			if owed {
				c = must
			}
			if s.sdk == nil && !t.IsUser() && s.user == e.from || s.had[e.id] {
				c = mustNot
			} else if c == must && (again || m.edges[edge.instance].ahead[e.id]) {
				// The session may have had the entry already. Or the edge was given the message
				// ahead of the entry, and may give the entry to no other session.
				c = may
			}
			i.expected = append(i.expected, &expected{entry: e, class: c, got: s.had[e.id], owed: owed})
		}
	}
}

// owed reports whether a client of an SDK must get what its own relay has published, even while the
// client's edge knows no position of the topic. That is so if the client came while Redis was away.
// The client's subscribe was confirmed, so the client must get all that was said later. If the edge
// linked to the relay after the client came, the relay owes the client nothing, since it does not
// know when the client came. It owes nothing either if the edge had told it members of the topic
// without a position: then one place is looked for in history, for all of the edge's members.
func (m *model) owed(s *session, t protocol.Topic, e *entry, by *brokertest.Handle) bool {
	here, f, i := s.e.used, m.ids[e.id], s.interests[t]
	return s.sdk != nil && !m.edges[s.e.instance].adopted[t] && i.in && i.leaves == 0 && f != nil && f.at.After(i.since) &&
		here != nil && here.relay.broker.handle == by && here.began.Before(i.came)
}

// linked takes note that an edge begins a link. If a topic has no known position at the edge, its
// members there may now miss publications that the relay of the earlier link owed them.
func (m *model) linked(e *edge) {
	for _, s := range e.sessions {
		for t, i := range s.interests {
			m.edges[e.instance].adopted[t] = m.edges[e.instance].unplaced[t]
			for _, x := range i.expected[i.next:] {
				if x.owed && x.class == must && m.edges[e.instance].unplaced[t] {
					x.class = may
				}
			}
		}
	}
}

// bare takes note of a publication that an original server made, and that has no position.
func (m *model) bare(t protocol.Topic, from, msg string) {
	text := string(protocol.AppendText(nil, t, from, msg))
	e := &entry{from: from, text: text, said: protocol.Content{From: from, Msg: msg}, at: m.w.now, brought: map[*relayBroker]time.Time{}, holed: map[*session]bool{}, given: map[*edge]bool{}}
	s := m.stream(t)
	if n := len(s.entries); n > 0 {
		e.prev = s.entries[n-1].position
	}
	s.bares[text] = e
}

// broughtBare takes note that a publication of an original server has reached a relay. It does
// nothing for other publications.
func (m *model) broughtBare(c *relayBroker, p broker.Publication) {
	if p.Position.IsZero() {
		m.stream(p.Topic).bares[string(protocol.AppendText(nil, p.Topic, p.From, p.Msg))].brought[c] = m.w.now
	}
}

// unheard takes note that a publication did not reach a relay. The relay may know nothing of it
// until the topic's next publication or a Subscribed comes. A session that connects or joins at
// this relay in the meantime may still get the missed publication.
func (m *model) unheard(t protocol.Topic, at protocol.Position) {
	for _, e := range m.stream(t).entries {
		if e.position == at {
			e.unheard = true
		}
	}
}

// lose takes note that Redis goes back to a saved state, or is emptied. The parameter kept is what
// model.count returned when that state was saved. It is nil if Redis is emptied. All entries of a
// topic beyond its count in kept are lost. Marks against duplicates may be lost too, so any frame
// may be stored again.
func (m *model) lose(kept map[protocol.Topic]int) {
	m.lossy = true
	for t, s := range m.topics {
		s.changed = true
		for n, e := range s.entries {
			e.restored = e.restored || e.gone && n < kept[t]
			e.gone = e.gone || n >= kept[t]
		}
	}
	for _, n := range m.edges {
		for _, f := range n.frames {
			f.again = true
		}
	}
}

// count returns how many publications of each topic were stored, including those that Redis has
// lost.
func (m *model) count() map[protocol.Topic]int {
	n := map[protocol.Topic]int{}
	for t, s := range m.topics {
		n[t] = len(s.entries)
	}
	return n
}
