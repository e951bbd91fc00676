package simulation

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// late reports whether the entry at the position c.position may reach a session that was not in the
// topic when the entry was stored.
func (m *model) late(i *interest, c cause, text string) bool {
	for _, e := range m.stream(c.topic).entries {
		if e.position == c.position && e.text == text {
			return i.isLoose(e) || e.unheard || m.stale(e)
		}
	}
	return false
}

// stale reports whether an entry that Redis lost may reach a session that came after the loss.
// There are two cases. In the first case, Redis has the entry again. The session came while Redis
// lacked the entry, and has no position. In the second case, a relay without Redis has the entry in
// its tail, and does not know of the loss.
func (m *model) stale(e *entry) bool {
	return e.restored || e.gone && !m.awaySince(m.w.now).IsZero()
}

// isLoose reports whether the session came while a relay had no Redis, and may therefore get the
// entry. The session may get an entry that was stored after i.loose, or that is behind i.place.
func (i *interest) isLoose(e *entry) bool {
	return !i.loose.IsZero() && (e.at.After(i.loose) || i.placed && i.place.Before(e.position))
}

// told takes note that an edge has come to the given position in a topic. It does nothing if the
// edge has a later position.
func (m *model) told(e *edge, t protocol.Topic, at protocol.Position) {
	n := m.edges[e.instance]
	if n.at[t].Before(at) {
		n.at[t] = at
	}
}

// numbered takes note of a TopicNumber that came to an edge. The frame has the topic's position, or
// says that no position is known yet. The result reports whether the edge goes back to that
// position, and so takes no more of the topic from its older links.
func (m *model) numbered(e *edge, n link.TopicNumber) (back bool) {
	known := m.edges[e.instance]
	known.unplaced[n.Topic] = n.Position.IsUnplaced()
	if len(e.members(n.Topic)) == 0 {
		back = n.Position.Before(known.at[n.Topic])
		delete(known.at, n.Topic) // an edge without a member has no position
		delete(known.adopted, n.Topic)
	}
	if !n.Position.IsUnplaced() {
		delete(known.adopted, n.Topic)
		m.told(e, n.Topic, n.Position)
	}
	return back
}

// loosen sets i.loose, unless it is set already. It is called when a connect, a join or a subscribe
// is answered.
func (i *interest) loosen(m *model) {
	if i.loose.IsZero() {
		i.loose = m.awaySince(i.came)
	}
}

// broughtAhead takes note that an Ahead or an AheadForms frame came to an edge. The frame brought a
// message ahead of its publication, or only the ID of such a message. If the edge gave this message
// to one member, it must have given it to every other member that is to get it. The edge must not
// give the message to anybody later.
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
	n.ahead[id], n.aheadAt[id] = true, m.w.now
	given := n.given == id
	n.nobody[id] = !given
	for _, s := range e.sessions {
		i := s.interests[t]
		if i == nil || s.had[id] {
			continue
		}
		if given && i.in && i.leaves == 0 && (s.sdk != nil || t.IsUser() || f.s.user != s.user) {
			m.w.fail("P4: %s/%d (%s) was not given ahead what others of its edge were: %q on %s", e.name, s.id, s.user, f.msg, t)
			return
		}
		for _, x := range i.expected {
			switch {
			case x.id != id:
			case s.sdk == nil:
				x.class = mustNot
			case x.class == must: // the client's place may be before the publication
				x.class = may
			}
		}
	}
}

// lacks reports whether the session must still get an entry at the given position, or at an earlier
// position.
func (i *interest) lacks(at protocol.Position) bool {
	return slices.ContainsFunc(i.expected[i.next:], func(x *expected) bool {
		return x.class == must && !x.got && !x.excused && !x.gone && !at.Before(x.position)
	})
}

// gap checks a Gap that came to an edge, and takes note of the loss. It returns how many messages
// are lost. The second result is false if nobody can tell this number, or if the edge has the
// position of the Gap already.
func (m *model) gap(e *edge, t protocol.Topic, g link.Gap) (lost uint64, known bool) {
	at := m.edges[e.instance].at[t]
	if !at.Before(g.Position) {
		return 0, false
	}
	m.w.tracef("%s: %d lost on %s up to %v", e.name, g.Lost, t, g.Position)
	s := m.stream(t)
	if !m.lossy && at.Epoch == g.Position.Epoch {
		// The relay counts what the edge lacked when the edge told its tables on this link. During
		// a move, the old link may bring some of these messages later. The edge then counts fewer
		// messages as lost than the relay does.
		lost, known = g.Position.Offset-at.Offset, true
		if g.Lost < lost || g.Lost > lost && !e.used.byMove {
			m.w.fail("P4: %s: %d messages of %s were told to be lost between %v and %v", e.name, g.Lost, t, at, g.Position)
			return lost, known
		}
		for i, entry := range s.entries {
			kept := i >= s.from && len(s.entries)-i <= m.w.kept(t).Size && m.w.now.Sub(s.last) < m.w.kept(t).Age
			if kept && at.Before(entry.position) && !g.Position.Before(entry.position) {
				m.w.fail("P4: %s: %q on %s was told to be lost, and is in the history", e.name, entry.text, t)
				return lost, known
			}
		}
	}
	for _, s := range e.sessions {
		i := s.interests[t]
		if i == nil {
			continue
		}
		// A session that came while a relay had no Redis may have come after the loss. It must be
		// told only if it lacks a message. A session with an sdk.end is closed in any case.
		owed := i.loose.IsZero() || i.lacks(g.Position)
		if s.sdk != nil && i.in && s.sdk.end == nil && !s.leaving && owed {
			m.w.fail("P4: %s/%d (%s) is told of no loss on %s, and others of its edge are", e.name, s.id, s.user, t)
		}
		if s.sdk != nil && i.in && !owed { // what is lost is older than the client
			s.sdk.app.trail(t).passes(g.Position)
		}
		for _, x := range i.expected[i.next:] {
			if !g.Position.Before(x.position) {
				x.excused = true
			}
		}
	}
	m.told(e, t, g.Position)
	return lost, known
}

// delivered checks a text that came to the session s because of the frame that c describes.
func (m *model) delivered(s *session, c cause, text string) {
	fail := func(promise, what string) {
		m.w.fail("%s: %s/%d (%s) got %q (on %s at %v), %s", promise, s.e.name, s.id, s.user, text, c.topic, c.position, what)
	}
	if s.leaving && !c.position.IsZero() {
		fail("P11", "with a position, and its session is about to end, since it may lack messages")
		return
	}
	if s.sdk != nil {
		if c.unsubscribed != 0 {
			m.deliveredLoss(s, c, text, fail)
			return
		}
		if c.topic == "" || c.gap {
			m.deliveredReply(s, c, text, fail)
			return
		}
		if text = m.pushed(s, c, text, fail); text == "" {
			return
		}
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
	case s.sdk != nil && s.had[c.id] && !c.ahead && m.cameBehind(s, c.topic, c.id):
		// The client was given the message ahead, and has become a member anew since. The method
		// model.followed has checked the position.
	case c.id != 0 && !m.once(s, c, fail):
	case c.ahead:
		m.deliveredAhead(s, c, text, fail)
	case c.position.IsZero():
		m.deliveredBare(s, c, text, fail)
	default:
		m.deliveredEntry(s, c, text, fail)
	}
}

// once fails the run and returns false in three cases: the session has had the message already, the
// message's ID is in session.never, or the message comes behind a later message of the same sender.
// In the third case, mayComeLate may permit the message.
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
		return true // published elsewhere: its sender is not modelled
	}
	h := hearing{f.s, c.topic}
	if f.number < s.heard[h] && !m.mayComeLate(s, c, f) {
		fail("P1", fmt.Sprintf("which is number %d, behind number %d", f.number, s.heard[h]))
		return false
	}
	s.heard[h] = f.number
	return true
}

// cameBehind reports whether a client of an SDK has become a member after its edge was given a
// message ahead, or whether nobody at its edge was given the message then, but the edge was told
// its ID alone. The place of such a client is before the publication of the message. So the client
// gets the publication.
func (m *model) cameBehind(s *session, t protocol.Topic, id uint64) bool {
	n := m.edges[s.e.instance]
	at := n.aheadAt[id]
	return !at.IsZero() && (n.nobody[id] || !s.interests[t].since.Before(at))
}

// mayComeLate reports whether a message may come behind a later message of the same sender. There
// are six cases in which it may:
//   - The method cameBehind returns true, and the message is published.
//   - Redis lost the message, and the message was stored again.
//   - The session was told that the message is lost, and the publication itself comes all the same.
//   - Redis lost the message, and the session was not there when the message was first published.
//     Now Redis has the message again, or a relay does not know of the loss.
//   - The message was published, or may have been published, before the session came. A relay that
//     does not know of that publication gives the message ahead. The sender's or the receiver's
//     edge has linked anew.
//   - The session was told that the message is lost, and a relay that does not know of the loss
//     gives the message ahead. The sender's edge has left that relay, or the sender's or the
//     receiver's edge has linked anew.
func (m *model) mayComeLate(s *session, c cause, f *frame) bool {
	list := s.interests[c.topic].expected
	n := slices.IndexFunc(list, func(x *expected) bool { return x.id == c.id })
	switch {
	case f.stored > 1, s.sdk != nil && !c.ahead && m.cameBehind(s, c.topic, c.id):
		return true
	case n < 0:
		e := m.stream(c.topic).withID(c.id)
		return e != nil && (m.stale(e) || c.ahead && m.relinked(f, s))
	case c.ahead:
		late := list[n].class != must && m.relinked(f, s)
		return late || list[n].excused && (leftBehind(f, s) || m.relinked(f, s))
	}
	return list[n].excused
}

// relinked reports whether the sender's or the receiver's edge has linked anew since the message
// was accepted, or has no link. In these cases the receiver's relay may have the message without
// having published it, and may not know whether the receiver came before the publication.
func (m *model) relinked(f *frame, s *session) bool {
	for _, a := range []*attachment{f.s.e.used, s.e.used} {
		if a == nil || !a.began.Before(f.at) {
			return true
		}
	}
	return false
}

// deliveredAhead checks a message that came in an Ahead or an AheadForms frame.
func (m *model) deliveredAhead(s *session, c cause, text string, fail func(promise, what string)) {
	f, i := m.ids[c.id], s.interests[c.topic]
	switch {
	case f == nil || f.topic != c.topic || text != string(protocol.AppendText(nil, f.topic, f.s.user, f.msg)):
		fail("P2", "ahead, which nobody said")
	case !f.stores && !f.mayStore():
		fail("P2", "ahead, which is to be refused")
	case s.sdk == nil && !c.topic.IsUser() && f.s.user == s.user:
		fail("P6", "ahead, from itself")
	case m.edges[s.e.instance].ahead[c.id]:
		fail("P6", "ahead, which its edge was given before")
	case !i.own && !i.in && i.awaits == 0:
		fail("P6", "ahead, and had been told that it has left")
	}
	m.deliveredLate(s, c, f, fail)
	m.edges[s.e.instance].given = c.id
	for _, x := range i.expected {
		if x.id == c.id {
			x.got = true
		}
	}
}

// deliveredLate checks a message that was given ahead although it is published already. The
// receiver's relay may do that if it perhaps does not know of the publication, or of a loss.
// Otherwise the run fails if the message was published before the receiver came, or if the receiver
// was told that the message is lost.
func (m *model) deliveredLate(s *session, c cause, f *frame, fail func(promise, what string)) {
	if f == nil || f.stored == 0 {
		return
	}
	list := s.interests[c.topic].expected
	n := slices.IndexFunc(list, func(x *expected) bool { return x.id == c.id })
	if n >= 0 {
		if list[n].excused && f.stored == 1 && !leftBehind(f, s) && !m.relinked(f, s) {
			fail("P4", "ahead, which it was told is lost")
		}
		return
	}
	if e := m.stream(c.topic).withID(c.id); !e.unheard && !m.stale(e) && !m.relinked(f, s) {
		fail("P6", "ahead, which was published before it came")
	}
}

// leftBehind reports whether the receiver's relay may still have the message although the sender's
// edge has left this relay. That is possible if the two edges are on different relays now, or if
// one of the edges has no link.
func leftBehind(f *frame, s *session) bool {
	from, to := f.s.e.used, s.e.used
	return from == nil || to == nil || from.relay != to.relay
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

// broughtLater reports whether the link in use may repeat a publication that has no position. The
// edge cannot tell a repeat from another publication with the same text. Without a link,
// broughtLater returns true. So it does if an older link was up when the link in use began, and the
// publication was made more than 2 s ago: the hub counts no longer. With a link, it also returns
// true if all of these hold:
//   - The link began after the publication was made.
//   - The edge was not leaving its previous link when the publication was made. If it was, the hub
//     counted the publication, and drops its repeats.
//   - An older link was up when the link in use began, or the publication reached the relay after
//     the link in use began.
func (e *edge) broughtLater(bare *entry) bool {
	a := e.used
	if a == nil {
		return true
	}
	if a.byMove && e.w.now.Sub(bare.at) > 2*time.Second {
		return true
	}
	counted := !a.counted.IsZero() && a.counted.Before(bare.at)
	return a.began.After(bare.at) && !counted && (a.byMove || !bare.brought[a.relay.broker].Before(a.began))
}

// broughtFirst takes note that a link has brought a publication without a position to an edge. If
// no link brought it there earlier, broughtFirst checks that every member at the edge has got it. A
// member may lack it if the publication came without the member's form, and model.formMissed
// permits that.
func (m *model) broughtFirst(e *edge, t protocol.Topic, text string, has forms) {
	bare := m.stream(t).bares[text]
	if bare == nil || bare.given[e] {
		return
	}
	bare.given[e] = true
	for _, s := range e.sessions {
		if i := s.interests[t]; i != nil && i.in && s.bares[bare] == 0 && (has[s.form()] || !m.formMissed(e)) {
			m.w.fail("P4: %s/%d (%s) did not get %q on %s, which its edge got", e.name, s.id, s.user, text, t)
		}
	}
}

func (m *model) deliveredBare(s *session, c cause, text string, fail func(promise, what string)) {
	e := m.stream(c.topic).bares[text]
	if e == nil {
		fail("P2", "which nobody published")
		return
	}
	if s.bares[e]++; s.bares[e] == 1 {
		e.holed[s] = m.edges[s.e.instance].at[c.topic].Before(e.prev)
	} else if !e.holed[s] && !s.e.broughtLater(e) {
		fail("P2", "a second time")
	}
	if m.class(s, c.topic) == mustNot {
		fail("P6", "and is not a member")
	}
}

// deliveredEntry checks a publication with a position. The publication must be for the session and
// must come once. It must not come while the session lacks an earlier entry that the session must
// receive. Losses and outages permit exceptions.
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
	case m.edges[s.e.instance].ahead[c.id] && i.expected[n].class == mustNot && (s.sdk == nil || !m.cameBehind(s, c.topic, c.id)):
		fail("P6", "which its edge was given ahead before")
		return
	case s.sdk == nil && !c.topic.IsUser() && i.expected[n].from == s.user:
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
		// After Redis has lost data, perhaps no relay knows how an earlier epoch ended. The last
		// entries of that epoch can then be missing, and the session is told of no loss.
		unknown := m.lossy && x.position.Epoch < c.position.Epoch
		if x.class == must && !x.got && !x.excused && !x.gone && !unknown {
			fail("P4", "and never "+x.text+" at "+x.position.String()+" before it")
			return
		}
	}
	i.expected[n].got = true
	i.next = n + 1
}
