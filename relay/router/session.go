package router

import (
	"cmp"
	"slices"

	"github.com/edgerelay/edgerelay/relay/router/dialect"
	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// session is one client connection at an edge. A session that is in no group and has nothing under
// way usually has no extra state, and so takes little memory.
type session struct {
	edge *edge
	id   uint64
	user string // shares memory with the name of its user's topic, once bound to that topic

	few   [2]*follower // followers of topics that it is bound to; nil: free
	extra *extra       // nil: the zero value

	endpoint   protocol.Endpoint
	form       link.Form // form of its texts, and index of its dialect
	opening    bool      // its connect is not confirmed yet, see tryOpen
	ending     bool      // its End came
	unfinished int32     // number of its frames that are not finished
}

// extra is state that a session may need while it is in groups or has unfinished frames.
type extra struct {
	group string // as its edge told it; empty: none

	more []*follower // the other followers that it is bound to

	// The list underway has the joins and leaves that are judged and not in effect yet. Or it has a
	// single frame of a non-member that is not answered yet. All frames in the list are about one
	// group.
	underway  []*frame
	parked    []*frame               // frames that wait for earlier frames, in number order
	about     map[protocol.Topic]int // number of parked frames that are in a lane, by topic
	releasing bool                   // Router.release is going through extra.parked

	said uint64 // number of the last MemberPublish for tellFinished to tell; 0: none
	end  *frame // its End, if judge made it wait for earlier frames

	client *client // nil: it was told as a link.Session
}

var noExtra extra // read-only

// peek returns the extra state of s for reading.
func (s *session) peek() *extra {
	if s.extra == nil {
		return &noExtra
	}
	return s.extra
}

// grow returns the extra state of s for changing, and creates it if there is none. The method
// compact frees it again.
func (s *session) grow() *extra {
	if s.extra == nil {
		s.extra = &extra{}
	}
	return s.extra
}

// compact frees the extra state of s if it is empty.
func (s *session) compact() {
	x := s.extra
	if x == nil || x.group != "" || len(x.more) > 0 || len(x.underway) > 0 || len(x.parked) > 0 || x.releasing || x.client != nil {
		return
	}
	if x.said == 0 && x.end == nil {
		s.extra = nil
	}
}

// own returns the own topics of s, as the dialect names them. The result is valid until the end of
// the step.
func (r *Router) own(s *session) []protocol.Topic {
	from := len(r.scratch.own)
	r.scratch.own = r.speaks(s).Topics(r.scratch.own, s.who())
	return slices.Clip(r.scratch.own[from:])
}

// speaks returns the dialect of a session.
func (r *Router) speaks(s *session) dialect.Dialect { return r.dialects[s.form] }

// s.who() is the dialect.Session that describes s to dialects.
func (s *session) who() dialect.Session {
	x := s.peek()
	w := dialect.Session{ID: s.id, Instance: s.edge.instance, Endpoint: s.endpoint, User: s.user, Group: x.group}
	if c := x.client; c != nil {
		w.Open, w.Confirmed, w.Until, w.Keep = c.open, c.confirmed, c.until, c.keep
	}
	return w
}

// hash returns the hash of the session's row. The digest is made of such hashes.
func (s *session) hash() uint64 {
	x := s.peek()
	if x.client != nil {
		return link.ClientHash(x.client.row(s))
	}
	return link.SessionHash(link.Session{ID: s.id, Endpoint: s.endpoint, User: s.user, Group: x.group})
}

// addSession enters a session into the tables of its edge. It is given the link.Session or the
// link.Client by which the edge told of the session. If the session is known already, it is left
// unchanged.
func (r *Router) addSession(e *edge, told any) *session {
	var s *session
	switch told := told.(type) {
	case link.Session:
		s = &session{edge: e, id: told.ID, endpoint: told.Endpoint, user: told.User}
		if told.Group != "" {
			s.grow().group = told.Group
		}
	case link.Client:
		s = &session{edge: e, id: told.ID, form: link.FormJSON, user: told.User}
		s.grow().client = &client{open: told.Open, confirmed: told.Confirmed, until: told.Until, keep: told.Keep}
	}
	if known := e.tables.sessions[s.id]; known != nil {
		return known
	}
	if c := s.client(); c != nil {
		e.tables.count(c, len(c.keep))
	}
	e.tables.sessions[s.id] = s
	e.tables.sessionHash ^= s.hash()
	r.m.sessions.Inc()
	return s
}

// endSession removes a session when its End is judged. The session's keeps count until that End,
// which has the given number, is acknowledged.
func (r *Router) endSession(s *session, number uint64) {
	t := &s.edge.tables
	held := t.keeps
	r.removeSession(s)
	if held -= t.keeps; held > 0 {
		t.keeps += held
		t.ended = append(t.ended, ended{number, held})
	}
}

// removeSession unbinds a session everywhere and forgets it. It does nothing if the session is not
// in its edge's tables any more.
func (r *Router) removeSession(s *session) {
	if s.edge.tables.sessions[s.id] != s {
		return
	}
	delete(s.edge.tables.sessions, s.id)
	s.edge.tables.sessionHash ^= s.hash()
	r.m.sessions.Dec()
	if s.opening {
		s.opening = false
		for _, t := range r.own(s) {
			if f := r.directory.follower(s.edge, t); f != nil {
				f.closeTo(s)
				r.dropIfIdle(f)
			}
		}
	}
	for more := s.peek().more; len(more) > 0; more = s.peek().more {
		r.unbind(s, more[len(more)-1])
	}
	for _, f := range s.few {
		r.unbind(s, f)
	}
	if c := s.client(); c != nil {
		s.edge.tables.count(c, -int(c.bytes))
	}
}

// member reports whether s is bound at f, which may be nil. It searches the topics of s. A session
// has at most Router.mostTold topics.
func (s *session) member(f *follower) bool {
	return f != nil && (s.few[0] == f || s.few[1] == f || slices.Contains(s.peek().more, f))
}

// s.in(t) reports whether s.few has a follower of t. It looks nothing up in the directory.
func (s *session) in(t protocol.Topic) bool {
	return slices.ContainsFunc(s.few[:], func(f *follower) bool { return f != nil && f.topic.name == t })
}

// bound reports whether s is a member of t.
func (r *Router) bound(s *session, t protocol.Topic) bool {
	return s.member(r.directory.follower(s.edge, t))
}

// memberships returns how many topics s is bound to.
func (s *session) memberships() int {
	n := len(s.peek().more)
	for _, f := range s.few {
		if f != nil {
			n++
		}
	}
	return n
}

// bind makes s a member at f's position, unless s is a member of f's topic already. It does not
// tell the edge.
func (r *Router) bind(s *session, f *follower) {
	switch {
	case s.member(f):
		return
	case s.few[0] == nil:
		s.few[0] = f
	case s.few[1] == nil:
		s.few[1] = f
	default:
		x := s.grow()
		x.more = append(x.more, f)
	}
	if t := f.topic.name; t.IsUser() && t.Name() == s.user {
		s.user = t.Name()
	}
	f.bound++
	if s.form != link.FormChat {
		f.rarely().clients.add(s)
		f.topic.clients++
	}
	s.edge.tables.group(s.user, f.share(s), f.shareAlone(s))
	s.edge.tables.bindingHash ^= link.BindingHash(s.id, f.topic.name)
	s.edge.tables.bindings++
	r.m.bindings.Inc()
}

// unbind ends the membership of s at f, if there is one. The parameter f may be nil. If f has no
// reason to stay afterwards, f is forgotten.
func (r *Router) unbind(s *session, f *follower) {
	if f != nil && r.part(s, f) {
		r.dropIfIdle(f)
	}
}

// Router.part does what unbind does, but does not forget f. It reports whether there was a
// membership.
func (r *Router) part(s *session, f *follower) bool {
	switch {
	case s.few[0] == f:
		s.few[0] = nil
	case s.few[1] == f:
		s.few[1] = nil
	default:
		x := s.peek()
		i := len(x.more) - 1
		for i >= 0 && x.more[i] != f {
			i--
		}
		if i < 0 {
			return false
		}
		if x.more = slices.Delete(x.more, i, i+1); len(x.more) == 0 {
			x.more = nil
			s.compact()
		}
	}
	r.setKeep(s, f, nil)
	s.edge.tables.group(s.user, -f.share(s), -f.shareAlone(s))
	if s.form != link.FormChat {
		f.rare.clients.remove(s)
		f.topic.clients--
	}
	f.bound--
	s.edge.tables.bindingHash ^= link.BindingHash(s.id, f.topic.name)
	s.edge.tables.bindings--
	r.m.bindings.Dec()
	return true
}

// joined reports whether f may have members that became members by a command, not by their connect.
// By commands, sessions of the chat join groups and no other topics.
func (f *follower) joined() bool { return f.bound > 0 && (f.topic.name.IsGroup() || f.clients() > 0) }

// share returns how many bytes s adds to edge.tables.grouped as a member of f. It is called after s
// is bound, and before s is unbound. A session adds nothing at its own topics. At any other topic
// it adds memberCost, and perhaps the topic's row.
//
// The row counts once for the sessions of the chat and once for the clients of SDKs. It is added by
// the first member of each of these two kinds. But at the topic of another user, each client of an
// SDK adds the row. The first member there may be a session of that user, which has added nothing.
func (f *follower) share(s *session) int {
	members := f.clients()
	if s.form == link.FormChat {
		members = f.bound - members
	}
	if alone := f.shareAlone(s); alone == 0 || members == 1 || f.topic.name.IsUser() {
		return alone
	}
	return memberCost
}

// shareAlone returns how many bytes s would add to edge.tables.grouped if f had no other member. A
// session adds nothing at its own topics, because its connect alone gives it the right to be in
// them. A session of the chat joins only groups, and all its other topics are its own. A client of
// an SDK has one topic of its own: that of its user.
func (f *follower) shareAlone(s *session) int {
	name := f.topic.name
	if s.form == link.FormChat && !name.IsGroup() || s.form != link.FormChat && isOf(name, s.user) {
		return 0
	}
	return rowCost + len(name) + memberCost
}

// isOf reports whether t is the topic of the given user.
func isOf(t protocol.Topic, user string) bool { return t.IsUser() && t.Name() == user }

// group counts a change of a user's memberships, in bytes. It adds its second argument to
// tables.grouped, and its third one to the user's entry in tables.groupedBy. That entry is what
// tables.grouped would be if the user were alone at the edge and its sessions shared no topic.
func (t *tables) group(user string, more, alone int) {
	if alone == 0 {
		return
	}
	t.grouped += more
	switch of := t.groupedBy[user] + alone; {
	case of == 0:
		delete(t.groupedBy, user)
	case t.groupedBy == nil:
		t.groupedBy = map[string]int{user: of}
	default:
		t.groupedBy[user] = of
	}
}

// userShare is a divisor: once half of the room for an edge's memberships is used, a user who has
// 1/userShare of the room gets no more.
const userShare = 16

// crowded reports whether a user may have no further memberships at an edge. This rule keeps a
// single user from taking all the room, whatever names the user invents.
func (r *Router) crowded(e *edge, user string) bool {
	t, room := &e.tables, r.cfg.TellBytes/2
	return t.grouped >= room || t.grouped >= room/2 && t.groupedBy[user] >= room/userShare
}

// open makes a session wait at the followers of its own topics, and tries to bind it. If that fails
// and the broker is away, openAhead answers the connect.
func (r *Router) open(s *session) {
	s.opening = true
	own := r.own(s)
	for _, t := range own {
		r.follow(s.edge, t).openTo(s)
	}
	r.tryOpen(s, own)
	if s.opening && r.outage.away {
		r.openAhead(s, own)
	}
}

// tryOpen binds s to its own topics, if the edge has a bindable follower of each of them. It then
// sends the edge an Opened with Confirmed set.
func (r *Router) tryOpen(s *session, own []protocol.Topic) {
	for _, t := range own {
		if f := r.directory.follower(s.edge, t); f == nil || !f.bindable() {
			return
		}
	}
	s.opening = false
	opened := link.Opened{Session: s.id, Confirmed: true, Topics: r.scratch.opened[:0]}
	for _, t := range own {
		f := r.directory.follower(s.edge, t)
		f.closeTo(s)
		r.enter(f)
		r.bind(s, f)
		opened.Topics = append(opened.Topics, f.topic.number)
	}
	r.scratch.opened = opened.Topics
	r.send(s.edge, opened.Append)
}

// openUnconfirmed answers an edge's waiting connects when the broker goes away. tryOpen confirms
// these connects later. The Binds and Confirms that wait are put in effect now, and need nothing
// more later.
func (r *Router) openUnconfirmed(e *edge) {
	waiting := slices.DeleteFunc(slices.Clone(e.followers), func(f *follower) bool {
		return !f.opens() && (f.rare == nil || f.rare.binders.first == nil)
	})
	slices.SortFunc(waiting, func(a, b *follower) int { return cmp.Compare(a.topic.name, b.topic.name) })
	for _, f := range waiting {
		r.tryBinders(f)
		for _, s := range f.inOrder() {
			if own := r.own(s); own[0] == f.topic.name { // once per session
				r.openAhead(s, own)
			}
		}
	}
}

// openAhead sends the edge an Opened without Confirmed. With it the edge can answer the connect. If
// a follower of the session's own topics has members and is behind, the session is not bound yet.
// Otherwise it is bound, and may be sent messages given ahead.
func (r *Router) openAhead(s *session, own []protocol.Topic) {
	opened := link.Opened{Session: s.id, Topics: r.scratch.opened[:0]}
	if !slices.ContainsFunc(own, func(t protocol.Topic) bool { f := r.directory.follower(s.edge, t); return f.bound > 0 && f.isBehind }) {
		for _, t := range own {
			f := r.directory.follower(s.edge, t)
			r.enter(f)
			r.bind(s, f)
			opened.Topics = append(opened.Topics, f.topic.number)
		}
	}
	r.scratch.opened = opened.Topics
	r.send(s.edge, opened.Append)
}
