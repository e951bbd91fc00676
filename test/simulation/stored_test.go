package simulation

import (
	"slices"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// arriving lets one who comes to a topic have what is on its way to relays: it comes behind what they know of.
func (m *model) arriving(t protocol.Topic, i *interest, user string) {
	for _, e := range m.stream(t).entries {
		if e.flying == 0 || !t.IsUser() && e.from == user {
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

// flies takes note that a publication is on its way to a relay (1), or no longer (-1).
func (m *model) flies(p broker.Publication, by int) {
	for _, e := range m.stream(p.Topic).entries {
		if e.position == p.Position {
			e.flying += by
		}
	}
}

// stored takes note of a publication.
func (m *model) stored(p broker.Publish, at protocol.Position) {
	again := false
	if n := m.edges[p.Instance]; n != nil {
		f := n.frames[p.Number]
		switch {
		case f == nil:
			m.w.fail("number %d of %s was published, and never accepted", p.Number, n.e.name)
			return
		case !f.stores:
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
		if again = f.stored > 0; !again {
			f.storedAt = m.w.now
		}
		f.stored++
		n.last[p.Topic] = p.Number
	}
	s := m.stream(p.Topic)
	e := &entry{index: len(s.entries), position: at, id: protocol.BriefID(p.Instance, p.Number), at: m.w.now, from: p.From, text: string(protocol.AppendText(nil, p.Topic, p.From, p.Msg))}
	if m.w.now.Sub(s.last) >= m.w.config.age {
		s.from = len(s.entries)
	}
	s.entries = append(s.entries, e)
	s.last = m.w.now
	m.expect(p.Topic, e, again)
}

// expect says for each session whether it is to have an entry.
func (m *model) expect(t protocol.Topic, e *entry, again bool) {
	for _, edge := range m.w.edges {
		for _, s := range edge.sessions {
			i := s.interests[t]
			if i == nil {
				continue
			}
			c := m.class(s, t)
			if !t.IsUser() && s.user == e.from || s.had[e.id] {
				c = mustNot
			} else if c == must && (again || m.edges[edge.instance].ahead[e.id]) {
				c = may // it may have had it; or its edge had, for others: then only one whose join was published before this gets it
			}
			i.expected = append(i.expected, &expected{entry: e, class: c, got: s.had[e.id]})
		}
	}
}

// bare takes note of a publication of an original server: it is received once at most.
func (m *model) bare(t protocol.Topic, from, msg string) {
	text := string(protocol.AppendText(nil, t, from, msg))
	m.stream(t).bares[text] = &entry{from: from, text: text, at: m.w.now, unsure: m.w.now.Before(m.unsure[t])}
}

// disturbed takes note that a relay's subscription was broken, or lost something: its edges may be given what is bare before they catch up with what came before it, and get
// it again from another relay's tail.
func (m *model) disturbed(t protocol.Topic) { m.unsure[t] = m.w.now.Add(10 * time.Second) }

// unheard takes note that a relay was not brought a publication, and knows nothing of it until the next one: who connects or joins there before, may get it then.
func (m *model) unheard(t protocol.Topic, at protocol.Position) {
	for _, e := range m.stream(t).entries {
		if e.position == at {
			e.unheard = true
		}
	}
	m.disturbed(t)
}

// lose takes note that Redis lost what it had beyond the first stored publications of each topic, and the marks of that time.
func (m *model) lose(kept map[protocol.Topic]int) {
	m.lossy = true
	for t, s := range m.topics {
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

// count returns how many publications of each topic there are.
func (m *model) count() map[protocol.Topic]int {
	n := map[protocol.Topic]int{}
	for t, s := range m.topics {
		n[t] = len(s.entries)
	}
	return n
}
