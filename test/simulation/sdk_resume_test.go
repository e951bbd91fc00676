package simulation

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// subscribed is the reply to a subscribe, and to a connect for one of its channels.
type subscribed struct {
	Recoverable   bool
	Positioned    bool
	Epoch         string
	Offset        uint64
	WasRecovering bool `json:"was_recovering"`
	Recovered     bool
	Publications  []pub
	expiry
}

// shows returns how many publications of a topic clients may see. It is 0 for a topic whose history
// they may not see, and whose positions they are not told.
func (w *world) shows(t protocol.Topic) int { return w.rules.Visible(string(t)) }

// took takes note that a reply has made an app a member of a topic, and checks what the reply says
// of the topic's history.
func (m *model) took(s *session, f *frame, t protocol.Topic, r *subscribed) {
	a, place, trail := f.sdk.asks[t], f.sdk.places[t], s.sdk.app.trail(t)
	failed := false
	fail := func(format string, args ...any) {
		failed = true
		m.w.fail("P11: %s/%d (%s): the reply to number %d says of %s, asked for what follows %s-%d (%v), at the place %v: %s",
			s.e.name, s.id, s.user, f.number, t, a.epoch, a.offset, a.resume, place, fmt.Sprintf(format, args...))
	}
	if r.WasRecovering != a.resume {
		fail("was_recovering is %v", r.WasRecovering)
	}
	if m.w.shows(t) == 0 {
		if r.Recoverable || r.Positioned || r.Epoch != "" || r.Offset != 0 || r.Recovered || len(r.Publications) > 0 {
			fail("something, and its history is not shown: %+v", *r)
		}
		trail.takes(r)
		trail.known, trail.resumed = false, false
		return
	}
	after := *trail
	after.takes(r)
	epoch, err := strconv.ParseUint(r.Epoch, 10, 64)
	at := protocol.Position{Epoch: epoch, Offset: after.offset}
	switch {
	case !r.Recoverable || !r.Positioned:
		fail("that it is not recoverable")
	case err != nil || epoch > protocol.MaxEpoch:
		fail("the epoch %q", r.Epoch)
	case !place.IsZero() && !place.IsUnplaced() && place != at:
		fail("that the client is at %v", at)
	case (place.IsZero() || place.IsUnplaced()) && epoch != 0 && at.Offset > 0:
		fail("that the client is at %v, and the place is not known", at)
	case !r.Recovered && len(r.Publications) > 0:
		fail("publications, and that nothing was recovered")
	case r.Recovered:
		m.recovered(a, t, at, r, f, fail)
	}
	m.countResume(s, f, a, t, r, fail)
	if i := s.interests[t]; failed || i.leaves > 0 {
		return // an SDK drops the reply if the app has unsubscribed since
	}
	m.restarts(s, t, at)
	for _, p := range r.Publications {
		if e := m.stream(t).at(protocol.Position{Epoch: epoch, Offset: p.Offset}); e != nil {
			m.hadBy(s, t, e)
		}
	}
	trail.takes(r)
	trail.at, trail.known, trail.resumed = at, epoch > 0, r.Recovered
}

// placed takes note of the places that the answer to a frame names.
func (m *model) placed(e *edge, number uint64, places map[protocol.Topic]protocol.Position) {
	if f := m.edges[e.instance].frames[number]; f != nil && f.sdk != nil {
		f.sdk.places = places
		for t, place := range places {
			if place.Epoch > 0 && place.Before(m.edges[e.instance].at[t]) {
				f.s.late = true
				m.w.count("bound behind its topic")
			}
		}
	}
}

// restarts takes note that a client has become a member of a topic anew, at a place before
// publications that it had in an earlier membership. It gets these again. That happens while its
// edge moves: the link that is left brings more than the next link's relay has heard.
func (m *model) restarts(s *session, t protocol.Topic, place protocol.Position) {
	i := s.interests[t]
	if place.Epoch == 0 {
		return
	}
	for n, x := range i.expected {
		if !x.got || !place.Before(x.position) || m.edges[s.e.instance].ahead[x.id] {
			continue // what its edge was given ahead is left to the method cameBehind
		}
		x.got, i.next = false, min(i.next, n)
		delete(s.had, x.id)
		if f := m.ids[x.id]; f != nil {
			h := hearing{f.s, t}
			s.heard[h] = min(s.heard[h], f.number-1)
		}
	}
}

// hadBy takes note that a reply has brought an entry to a session. From then on the session must
// not get the publication of the entry. The message may still be given ahead, like a message that
// was published before the session came: see deliveredLate.
func (m *model) hadBy(s *session, t protocol.Topic, e *entry) {
	if f := m.ids[e.id]; f != nil {
		s.heard[hearing{f.s, t}] = max(s.heard[hearing{f.s, t}], f.number)
	}
	for _, x := range s.interests[t].expected {
		if x.entry == e {
			x.got, x.class = true, mustNot
		}
	}
}

// at returns the entry at a position, or nil if there is none.
func (s *stream) at(p protocol.Position) *entry {
	// Positions ascend, since epochs do.
	n, there := slices.BinarySearchFunc(s.entries, p, func(e *entry, p protocol.Position) int {
		switch {
		case e.position.Before(p):
			return -1
		case e.position == p:
			return 0
		}
		return 1
	})
	if there {
		return s.entries[n]
	}
	return nil
}

// recovered checks a reply which says that the client has everything up to its place when it has
// taken the publications in the reply.
func (m *model) recovered(a ask, t protocol.Topic, place protocol.Position, r *subscribed, f *frame, fail func(string, ...any)) {
	since, ok := a.since()
	switch {
	case !ok:
		fail("that all was recovered, and no position was named")
		return
	case since.Epoch != place.Epoch:
		fail("that all was recovered, and the epoch is %d", place.Epoch)
		return
	case place.Before(since):
		fail("that all was recovered, and the position is from the future")
		return
	case uint64(len(r.Publications)) != place.Offset-since.Offset:
		fail("%d publications, and there are %d", len(r.Publications), place.Offset-since.Offset)
		return
	case len(r.Publications) > m.w.shows(t):
		fail("%d publications, and clients may see %d", len(r.Publications), m.w.shows(t))
		return
	}
	for n, p := range r.Publications {
		m.isEntry(t, protocol.Position{Epoch: since.Epoch, Offset: since.Offset + uint64(n) + 1}, p, fail)
	}
	// Publications that Redis has lost never come. So the reply must not say that all was
	// recovered. But a relay that has missed such a publication need not know of it.
	for _, e := range m.stream(t).entries {
		if place.Before(e.position) && e.gone && !e.restored && !e.unheard && e.at.Before(f.at) {
			fail("that all was recovered, and Redis has lost %q at %v", e.text, e.position)
			return
		}
	}
}

// isEntry checks a publication in a reply, which must be the one at the given position.
func (m *model) isEntry(t protocol.Topic, at protocol.Position, p pub, fail func(string, ...any)) {
	e := m.stream(t).at(at)
	said, err := p.said()
	switch {
	case p.Offset != at.Offset:
		fail("a publication at %d, want %v", p.Offset, at)
	case p.Epoch != epochAt(at):
		fail("a publication at %v with the epoch %q", at, p.Epoch)
	case e == nil:
		fail("a publication at %v, where there is none", at)
	case err != nil || said != e.said:
		fail("%s at %v, where %q is", p.Data, at, e.text)
	}
}

// epochAt returns the epoch that the push of a publication at the given position must name. Only
// the first publication of an epoch names one.
func epochAt(p protocol.Position) string {
	if p.Offset == 1 {
		return strconv.FormatUint(p.Epoch, 10)
	}
	return ""
}

// countResume counts the outcome of a resume. While world.plain is true, a resume must succeed if
// all is kept.
func (m *model) countResume(s *session, f *frame, a ask, t protocol.Topic, r *subscribed, fail func(string, ...any)) {
	if !a.resume {
		return
	}
	what := "resume: "
	if f.sdk.method == "connect" {
		what += "by connect: "
	}
	switch since, ok := a.since(); {
	case r.Recovered && len(r.Publications) > 0:
		what += "recovered publications"
	case r.Recovered:
		what += "nothing missed"
	case ok && m.keeps(t, since, f.at) && m.keeps(t, since, m.w.now) && !m.w.inOutage():
		what += "false, though all is kept"
		if m.w.plain {
			fail("that not all was recovered, though all is kept")
		}
	default:
		what += "false"
	}
	m.w.count(what)
}

// keeps reports whether, at the given time, Redis kept all publications of a topic after a
// position, and is known to have lost none of them.
func (m *model) keeps(t protocol.Topic, since protocol.Position, when time.Time) bool {
	s := m.stream(t)
	n := len(s.entries)
	if n == 0 || s.changed {
		return false
	}
	top := s.entries[n-1].position
	if top.Epoch != since.Epoch || top.Offset < since.Offset {
		return false
	}
	missed := int(top.Offset - since.Offset)
	kept := m.w.kept(t)
	return missed == 0 || missed <= min(kept.Size, m.w.shows(t)) && n-missed >= s.from && when.Sub(s.last) < kept.Age
}

// followed checks the position of a push that came to a client of an SDK, and takes note of it.
func (m *model) followed(s *session, c cause, p pub, fail func(promise, what string)) {
	shown := m.w.shows(c.topic) > 0 && !c.ahead && !c.position.IsZero()
	want := pub{}
	if shown {
		want = pub{Offset: c.position.Offset, Epoch: epochAt(c.position)}
	}
	if p.Offset != want.Offset || p.Epoch != want.Epoch {
		fail("P11", fmt.Sprintf("with the position %q-%d, want %q-%d", p.Epoch, p.Offset, want.Epoch, want.Offset))
		return
	}
	trail := s.sdk.app.trail(c.topic)
	if s.interests[c.topic].leaves > 0 {
		return // an SDK drops what comes after the app has unsubscribed
	}
	if c.ahead {
		// As in deliveredLate, the client's relay may not know that the message is published.
		f, e := m.ids[c.id], m.stream(c.topic).withID(c.id)
		knows := f != nil && e != nil && !e.gone && !e.unheard && !m.relinked(f, s)
		if knows && trail.known && trail.resumed && !trail.at.Before(e.position) {
			fail("P11", fmt.Sprintf("ahead, and its reply has told it that it has all up to %v, and so %v", trail.at, e.position))
		}
		trail.ahead[c.id] = true
		return
	}
	if !shown {
		return
	}
	if trail.known {
		m.followsOn(s, trail, c, fail)
	}
	trail.at, trail.known = c.position, true
	trail.takesPush(p, s.sdk.app.js)
}

// followsOn checks that nothing is missing between an app's position and a publication, and that
// the publication does not come again. What the app was given ahead may be missing.
func (m *model) followsOn(s *session, trail *trail, c cause, fail func(promise, what string)) {
	if end := s.sdk.end; end != nil && end.sdk.closing >= 3500 {
		return // such a client does not come back by itself, and is not told what it has lost
	}
	if m.lossy && trail.at.Offset == 0 && c.position.Epoch < trail.at.Epoch {
		return // Redis was emptied, an epoch was begun, and then Redis had again what it had before
	}
	if !trail.at.Before(c.position) {
		fail("P11", fmt.Sprintf("and it has all up to %v", trail.at))
		return
	}
	for _, e := range m.stream(c.topic).entries {
		if !trail.at.Before(e.position) || !e.position.Before(c.position) || trail.ahead[e.id] || s.had[e.id] {
			continue
		}
		// A client that came while Redis was away may have come after a message that its edge had
		// been given ahead. The client is then not given that message when it is published.
		if f := m.ids[e.id]; !trail.resumed && f != nil && m.edges[s.e.instance].ahead[e.id] && f.at.Before(s.interests[c.topic].since) {
			continue
		}
		// A message that Redis has lost is published again. The edge leaves it out, since it knows
		// the ID. It does so even for a client whose place was behind the first publication.
		if first := m.stream(c.topic).withID(e.id); first != e && !trail.at.Before(first.position) {
			continue
		}
		// After Redis has lost data, perhaps no relay knows how an epoch ended.
		if m.lossy && e.position.Epoch < c.position.Epoch {
			continue
		}
		fail("P11", fmt.Sprintf("and is at %v, and never got %q at %v", trail.at, e.text, e.position))
		return
	}
}

// passes takes an app past publications that its edge has lost, and that are older than the app's
// membership. A reply without a recovery may name a place before them.
func (r *trail) passes(at protocol.Position) {
	if r.known && !r.resumed && r.at.Before(at) {
		r.at = at
	}
}

// allAreBack checks that each app is connected again, and has all of its channels.
func (m *model) allAreBack(apps []*app) {
	for _, a := range apps {
		s := a.s
		if s.gone || !s.sdk.confirmed {
			m.w.fail("P11: %s has not come back: %s/%d", a.user, s.e.name, s.id)
			return
		}
		for _, t := range sortedKeys(a.trails) {
			r, i := a.trails[t], s.interests[t]
			if r.wanted && (i == nil || !i.in) {
				m.w.fail("P11: %s/%d (%s) wants %s, and is no member", s.e.name, s.id, a.user, t)
				return
			}
			entries := m.stream(t).entries
			if n := len(entries); i != nil && i.in && r.known && n > 0 && r.at.Before(entries[n-1].position) && !m.stream(t).changed {
				m.w.fail("P11: %s/%d (%s) has come back to %s, and has only what there is up to %v, not %q at %v",
					s.e.name, s.id, a.user, t, r.at, entries[n-1].text, entries[n-1].position)
				return
			}
		}
	}
}
