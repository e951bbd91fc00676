package router

import (
	"cmp"
	"maps"
	"slices"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// session is one client connection at an edge.
type session struct {
	edge     *edge
	id       uint64
	endpoint protocol.Endpoint
	user     string
	group    string // of /chat/group

	topics  []*follower // bound to
	opening bool        // not yet bound to its own topics
	ending  bool        // its End came
	gone    bool        // its End was handled, or its edge removed

	// waiting is the frame that waits for the broker's word; later ones are parked behind it.
	waiting   *frame
	parked    []*frame
	releasing bool // parked is being gone through

	unfinished int    // frames of this link
	said       uint64 // the last number that it said to a group on this link, of those finished
	end        *frame // its End, which is finished behind all others; nil until it was handled
}

// addSession puts a told session into the directory. A session known already stays as it is.
func (r *Router) addSession(e *edge, told link.Session) *session {
	if s := e.sessions[told.ID]; s != nil {
		return s
	}
	s := &session{edge: e, id: told.ID, endpoint: told.Endpoint, user: told.User, group: told.Group}
	e.sessions[s.id] = s
	e.sessionHash ^= link.SessionHash(told)
	r.m.sessions.Inc()
	return s
}

// removeSession unbinds a session everywhere and forgets it.
func (r *Router) removeSession(s *session) {
	if s.gone {
		return
	}
	s.gone = true
	delete(s.edge.sessions, s.id)
	s.edge.sessionHash ^= link.SessionHash(link.Session{ID: s.id, Endpoint: s.endpoint, User: s.user, Group: s.group})
	r.m.sessions.Dec()
	if s.opening {
		s.opening = false
		for _, t := range s.endpoint.Topics(s.user, s.group) {
			if f := s.edge.followers[t]; f != nil {
				f.closeTo(s)
				r.dropIfIdle(f)
			}
		}
	}
	for len(s.topics) > 0 {
		r.unbind(s, s.topics[len(s.topics)-1])
	}
}

// bound reports whether s is a member of t.
func (s *session) bound(t protocol.Topic) bool {
	return slices.ContainsFunc(s.topics, func(f *follower) bool { return f.topic.name == t })
}

// bind makes s a member at f's place. The edge is told by the caller's frame.
func (r *Router) bind(s *session, f *follower) {
	if slices.Contains(s.topics, f) {
		return
	}
	s.topics = append(s.topics, f)
	f.bound++
	s.edge.grouped += f.share()
	s.edge.bindingHash ^= link.BindingHash(s.id, f.topic.name)
	s.edge.bindings++
	r.m.bindings.Inc()
}

// unbind ends s's membership.
func (r *Router) unbind(s *session, f *follower) {
	i := slices.Index(s.topics, f)
	if i < 0 {
		return
	}
	s.topics = slices.Delete(s.topics, i, i+1)
	s.edge.grouped -= f.share()
	f.bound--
	s.edge.bindingHash ^= link.BindingHash(s.id, f.topic.name)
	s.edge.bindings--
	r.m.bindings.Dec()
	r.dropIfIdle(f)
}

// share is what the last of f's members takes of edge.grouped.
func (f *follower) share() int {
	switch {
	case !f.topic.name.IsGroup():
		return 0
	case f.bound == 1:
		return rowCost + len(f.topic.name) + memberCost
	}
	return memberCost
}

// open starts binding a session to its own topics; it is finished by tryOpen.
func (r *Router) open(s *session) {
	s.opening = true
	for _, t := range s.endpoint.Topics(s.user, s.group) {
		f := r.follow(s.edge, t)
		if f.openers == nil {
			f.openers = make(map[*session]struct{})
		}
		f.openers[s] = struct{}{}
	}
	r.tryOpen(s)
	if s.opening && r.away {
		r.openAhead(s)
	}
}

// inOrder returns the connects that wait to be bound at f in the order of their ids: so that the same inputs have the same outputs.
func (f *follower) inOrder() []*session {
	return slices.SortedFunc(maps.Keys(f.openers), func(a, b *session) int { return cmp.Compare(a.id, b.id) })
}

// closeTo takes s out of those that wait.
func (f *follower) closeTo(s *session) {
	if delete(f.openers, s); len(f.openers) == 0 {
		f.openers = nil
	}
}

// tryOpen binds s to all its own topics at once if every one of them can be: subscribed, and this edge not behind on it. The edge is then told
// that the connect may be answered: from here on no message is missed.
func (r *Router) tryOpen(s *session) {
	own := s.endpoint.Topics(s.user, s.group)
	for _, t := range own {
		if f := s.edge.followers[t]; f == nil || !f.bindable() {
			return
		}
	}
	s.opening = false
	opened := link.Opened{Session: s.id, Confirmed: true}
	for _, t := range own {
		f := s.edge.followers[t]
		f.closeTo(s)
		r.enter(f)
		r.bind(s, f)
		opened.Topics = append(opened.Topics, f.topic.number)
	}
	r.send(s.edge, opened.Append)
}

// openUnconfirmed answers connects that wait while the broker is away; they are confirmed when it is back.
func (r *Router) openUnconfirmed(e *edge) {
	for _, name := range slices.Sorted(maps.Keys(e.followers)) {
		f := e.followers[name]
		for _, s := range f.inOrder() {
			if s.endpoint.Topics(s.user, s.group)[0] == f.topic.name { // once per session
				r.openAhead(s)
			}
		}
	}
}

// openAhead answers a connect that cannot be confirmed. The session is bound all the same if its edge is not behind on its topics: it gets what this relay's edges
// say.
func (r *Router) openAhead(s *session) {
	own := s.endpoint.Topics(s.user, s.group)
	opened := link.Opened{Session: s.id}
	if !slices.ContainsFunc(own, func(t protocol.Topic) bool { f := s.edge.followers[t]; return f.bound > 0 && f.isBehind }) {
		for _, t := range own {
			f := s.edge.followers[t]
			r.enter(f)
			r.bind(s, f)
			opened.Topics = append(opened.Topics, f.topic.number)
		}
	}
	r.send(s.edge, opened.Append)
}

// without removes x from list, in place.
func without[T comparable](list []T, x T) []T {
	if i := slices.Index(list, x); i >= 0 {
		return slices.Delete(list, i, i+1)
	}
	return list
}
