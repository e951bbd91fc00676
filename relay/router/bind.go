package router

import (
	"slices"

	"github.com/edgerelay/edgerelay/relay/router/dialect"
	"github.com/edgerelay/edgerelay/shared/link"
)

// A Bind or a Confirm makes a session a member without a notice. The frame may name several topics,
// and needs a follower of the session's edge for each of them. The frame waits until all these
// followers can take a member. Until then none of the followers is forgotten. The frame waits in
// the list rare.binders of the first follower that cannot take a member yet. A frame is in one such
// list at a time.

// bindTo begins a Bind or a Confirm. It refuses the frame, or binds the frame's session now, or
// makes the frame wait.
func (r *Router) bindTo(fr *frame) {
	if v := r.noRoom(fr); v.Reason != dialect.Done {
		r.refuseBind(fr, v)
		return
	}
	s := fr.session
	for _, b := range fr.bindings() {
		if r.directory.topics[b.Topic] == nil {
			r.subscribe(b.Topic, b.Range.Most > 0 && r.mayMake(fr, b.Topic))
		}
		r.follow(s.edge, b.Topic).noticed(+1)
	}
	s.edge.tables.count(s.client(), fr.keepBytes())
	s.client().coming += int32(len(fr.bindings()))
	r.tryBind(fr)
	switch {
	case fr.effect >= effectFinished:
	case fr.command.Verb == dialect.Confirm:
		s.client().confirming = fr
	default:
		s.client().way(fr.topic()).binding = fr
		if fr.late { // bindWait passed while fr was parked
			r.bindLate(fr)
		}
	}
}

// bindings returns the topics of a Bind or a Confirm, with their keeps.
func (fr *frame) bindings() []dialect.Binding {
	if fr.command.Verb == dialect.Confirm {
		return fr.command.Terms.Topics
	}
	terms := fr.command.Terms
	return []dialect.Binding{{Topic: fr.topic(), Keep: terms.Keep, Range: terms.Range}}
}

// keepBytes returns the total size of the keeps that a Bind or a Confirm brings, in bytes. Once the
// frame is judged, these bytes count in tables.keeps, even while the frame waits. So the frames
// that wait cannot bring more bytes together than the bounds on keeps permit.
func (fr *frame) keepBytes() (n int) {
	if fr.command.Verb == dialect.Confirm {
		n = len(fr.command.Terms.Keep)
	}
	for _, b := range fr.bindings() {
		n += len(b.Keep)
	}
	return n
}

// noRoom returns the reason to refuse a Bind or a Confirm. The reason Done means that the frame is
// not refused.
func (r *Router) noRoom(fr *frame) dialect.Verdict {
	s := fr.session
	if fr.command.Verb == dialect.Bind && r.bound(s, fr.topic()) {
		return dialect.Verdict{Reason: dialect.AlreadyMember}
	}
	if most := r.most[s.form]; s.memberships()+int(s.client().coming)+len(fr.bindings()) > most {
		return dialect.Verdict{Reason: dialect.ManyTopics, Most: most}
	}
	user := s.user
	if fr.command.Verb == dialect.Confirm {
		user = fr.command.Terms.User
	}
	more := slices.ContainsFunc(fr.bindings(), func(b dialect.Binding) bool { return !isOf(b.Topic, user) })
	if more && r.crowded(s.edge, user) {
		r.m.dropped("memberships", 1)
		return dialect.Verdict{Reason: dialect.ManyMemberships}
	}
	return r.noRoomFor(s, fr.keepBytes())
}

// noRoomFor returns the reason why the keeps of a session must not grow by the given number of
// bytes. The reason Done means that there is room.
func (r *Router) noRoomFor(s *session, more int) dialect.Verdict {
	switch {
	case int(s.client().bytes)+more > link.MaxKeeps:
		return dialect.Verdict{Reason: dialect.ManyKeeps, Most: link.MaxKeeps}
	case more > 0 && s.edge.tables.keeps+more > r.cfg.KeepBytes:
		r.m.dropped("keeps", 1)
		return dialect.Verdict{Reason: dialect.ManyMemberships}
	}
	return dialect.Verdict{}
}

// mayBind reports whether f can take a member now. In an outage f can take members as soon as the
// relay has entered the tables that f's edge told, since nobody knows how long the outage lasts.
// The members then begin at f's position. If f has no position yet, the members begin unplaced, see
// protocol.Unplaced. If f is behind, a new member is therefore sent messages that are older than
// its membership. Without these older messages, later messages might be lost.
func (r *Router) mayBind(f *follower) bool {
	return f.bindable() || r.outage.away && f.edge.outbox.ready
}

// tryBind binds the session of a Bind or a Confirm, or makes the frame wait.
func (r *Router) tryBind(fr *frame) {
	for _, b := range fr.bindings() {
		if f := r.directory.follower(fr.session.edge, b.Topic); !r.mayBind(f) {
			f.rare.binders.add(fr)
			return
		}
	}
	places, wait := r.places(fr)
	if wait != nil {
		wait.add(fr)
		return
	}
	r.endWait(fr)
	bindings := fr.bindings()
	switch {
	case fr.command.Verb == dialect.Confirm:
		r.confirm(fr, places)
	case bindings[0].Range.Strict && !places[0].Recovered:
		if f := r.directory.follower(fr.session.edge, bindings[0].Topic); f != nil {
			r.dropIfIdle(f)
		}
		r.refuseBind(fr, dialect.Verdict{Reason: dialect.Unrecoverable})
	default:
		r.bindNow(fr, places)
	}
	for _, b := range bindings {
		r.wakeAhead(b.Topic) // lanes may be waiting for a follower of the topic
	}
}

// tryBinders tries to bind the sessions of the frames that wait at f. It stops when f cannot take
// members.
func (r *Router) tryBinders(f *follower) {
	if f.rare == nil {
		return
	}
	for n := f.rare.binders.len(); n > 0 && f.rare != nil && f.rare.binders.first != nil && r.mayBind(f); n-- {
		fr := f.rare.binders.first
		f.rare.binders.remove(fr)
		r.tryBind(fr)
	}
}

// endWait takes a frame off the list in which it waits, and undoes the counts that bindTo made for
// it.
func (r *Router) endWait(fr *frame) {
	s := fr.session
	if fr.waits != nil {
		fr.waits.remove(fr)
	}
	for _, b := range fr.bindings() {
		r.directory.follower(s.edge, b.Topic).noticed(-1)
	}
	s.edge.tables.count(s.client(), -fr.keepBytes())
	s.client().coming -= int32(len(fr.bindings()))
	if s.client().confirming == fr {
		s.client().confirming = nil
	}
}

// dropWait ends the wait of a frame without binding its session. Followers that have no other
// reason to stay are forgotten.
func (r *Router) dropWait(fr *frame) {
	r.endWait(fr)
	for _, b := range fr.bindings() {
		if f := r.directory.follower(fr.session.edge, b.Topic); f != nil {
			r.dropIfIdle(f)
		}
	}
}

// bindNow makes the session of a Bind a member, and answers.
func (r *Router) bindNow(fr *frame, places []dialect.Place) {
	s, b := fr.session, fr.bindings()[0]
	f := r.directory.follower(s.edge, b.Topic)
	r.enter(f)
	r.bind(s, f)
	r.setKeep(s, f, b.Keep)
	text := r.verdict(fr, dialect.Verdict{Places: places})
	r.reply(s, text, link.Bound{
		Number: fr.number, Session: s.id, Topic: f.topic.number, Keep: b.Keep, Position: places[0].At, Text: text,
	}.Append)
	r.finish(fr)
}

// bindLate is called for a Bind when bindWait or more has passed since the Bind came, and for a
// Confirm when placeWait has passed. If a Bind waits at its follower, bindLate refuses it. If the
// Bind is still parked, bindLate only sets frame.late. When the turn of the Bind comes, it is then
// bound at once or refused.
//
// While a Bind waits at its follower, its session may publish as a member. So bindLate refuses the
// Bind only when these publishes are finished or granted. Otherwise a replay of such a publish
// could be judged to be a stranger's.
//
// A Confirm is not refused. From then on its session is bound as soon as the followers can take it,
// even if that means that nothing is recovered.
func (r *Router) bindLate(fr *frame) {
	fr.late = true
	switch {
	case fr.effect >= effectFinished || fr.waits == nil:
		return
	case fr.command.Verb == dialect.Confirm:
		fr.waits.remove(fr)
		r.tryBind(fr)
		return
	case fr.session.client().ways[fr.topic()].saying > 0:
		return
	}
	r.dropWait(fr)
	r.m.dropped("late", 1)
	r.refuseBind(fr, dialect.Verdict{Reason: dialect.Late})
}

// giveUp finishes a waiting Confirm without an answer. It is called when the session has ended.
func (r *Router) giveUp(fr *frame) {
	r.dropWait(fr)
	r.finish(fr)
}

// refuseBind answers a Bind or a Confirm that is refused. A session whose Confirm is refused is
// closed.
func (r *Router) refuseBind(fr *frame, v dialect.Verdict) {
	confirm := fr.command.Verb == dialect.Confirm
	r.deny(fr, v)
	if confirm {
		r.close(fr.session, 0, "")
	}
}

// unbindFrom carries out an Unbind: it ends the membership, and answers.
func (r *Router) unbindFrom(fr *frame) {
	s := fr.session
	f := r.directory.follower(s.edge, fr.topic())
	if !s.member(f) {
		r.deny(fr, dialect.Verdict{Reason: dialect.NotMember})
		return
	}
	r.tellFinished(s)
	r.number(f)
	r.send(s.edge, link.Left{Number: fr.number, Session: s.id, Topic: f.topic.number, Text: r.doneText(fr)}.Append)
	r.finish(fr)
	r.unbind(s, f)
}

// binders is a linked list of Binds and Confirms that wait for the same thing, in the order in
// which they came. Any frame can leave it in constant time.
type binders struct{ first, last *frame }

func (b *binders) add(fr *frame) {
	fr.waits = b
	if fr.prev = b.last; b.last != nil {
		b.last.next = fr
	} else {
		b.first = fr
	}
	b.last = fr
}

// remove takes a frame out. The frame then waits nowhere.
func (b *binders) remove(fr *frame) {
	if fr.prev != nil {
		fr.prev.next = fr.next
	} else {
		b.first = fr.next
	}
	if fr.next != nil {
		fr.next.prev = fr.prev
	} else {
		b.last = fr.prev
	}
	fr.prev, fr.next, fr.waits = nil, nil, nil
}
