package router

import (
	"cmp"
	"slices"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// session is one client connection at an edge. One that is in no group and has nothing under way holds no more than this.
type session struct {
	edge *edge
	id   uint64
	user string // it shares the memory of its topic's name, where that is followed

	few  [2]*follower // bound to: its own topics, mostly; nil: none
	talk *talk        // nil: the zero value

	endpoint   protocol.Endpoint
	opening    bool  // not yet bound to its own topics
	ending     bool  // its End came
	gone       bool  // its End was handled, or its edge removed
	unfinished int32 // frames of this link
}

// talk is what a session has that is in groups or has something under way.
type talk struct {
	group string // of /chat/group

	more []*follower // bound to, beside few

	// waiting is the frame that waits for the broker's word; later ones are parked behind it.
	waiting   *frame
	parked    []*frame
	releasing bool // parked is being gone through

	said uint64 // the last number that it said to a group on this link, of those finished
	end  *frame // its End, which is finished behind all others; nil until it was handled
}

var silent talk // is only read

// talks returns what s has of it, to be read.
func (s *session) talks() *talk {
	if s.talk == nil {
		return &silent
	}
	return s.talk
}

// speak returns it to be changed. Whoever takes something away calls rest in the end.
func (s *session) speak() *talk {
	if s.talk == nil {
		s.talk = &talk{}
	}
	return s.talk
}

// rest forgets what has no meaning any more.
func (s *session) rest() {
	if t := s.talk; t != nil && t.group == "" && len(t.more) == 0 && t.waiting == nil && len(t.parked) == 0 && !t.releasing && t.said == 0 && t.end == nil {
		s.talk = nil
	}
}

// own returns the topics that s is bound to from its connect on.
func (s *session) own() []protocol.Topic { return s.endpoint.Topics(s.user, s.talks().group) }

// addSession puts a told session into the directory. A session known already stays as it is.
func (r *Router) addSession(e *edge, told link.Session) *session {
	if s := e.sessions[told.ID]; s != nil {
		return s
	}
	s := &session{edge: e, id: told.ID, endpoint: told.Endpoint, user: told.User}
	if told.Group != "" {
		s.speak().group = told.Group
	}
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
	s.edge.sessionHash ^= link.SessionHash(link.Session{ID: s.id, Endpoint: s.endpoint, User: s.user, Group: s.talks().group})
	r.m.sessions.Dec()
	if s.opening {
		s.opening = false
		for _, t := range s.own() {
			if f := r.follower(s.edge, t); f != nil {
				f.closeTo(s)
				r.dropIfIdle(f)
			}
		}
	}
	for more := s.talks().more; len(more) > 0; more = s.talks().more {
		r.unbind(s, more[len(more)-1])
	}
	for _, f := range s.few {
		r.unbind(s, f)
	}
}

// member reports whether s is bound to a topic at f, which may be nil. It looks through all topics of s, of which there are Config.MaxGroups and two at most.
func (s *session) member(f *follower) bool {
	return f != nil && (s.few[0] == f || s.few[1] == f || slices.Contains(s.talks().more, f))
}

// in reports whether t is one of the few topics that s is in; it looks nothing up.
func (s *session) in(t protocol.Topic) bool {
	return slices.ContainsFunc(s.few[:], func(f *follower) bool { return f != nil && f.topic.name == t })
}

// bound reports whether s is a member of t.
func (r *Router) bound(s *session, t protocol.Topic) bool { return s.member(r.follower(s.edge, t)) }

// memberships returns how many topics s is bound to.
func (s *session) memberships() int {
	n := len(s.talks().more)
	for _, f := range s.few {
		if f != nil {
			n++
		}
	}
	return n
}

// bind makes s a member at f's place. The edge is told by the caller's frame.
func (r *Router) bind(s *session, f *follower) {
	switch {
	case s.member(f):
		return
	case s.few[0] == nil:
		s.few[0] = f
	case s.few[1] == nil:
		s.few[1] = f
	default:
		t := s.speak()
		t.more = append(t.more, f)
	}
	if t := f.topic.name; t.IsUser() && t.Name() == s.user {
		s.user = t.Name()
	}
	f.bound++
	s.edge.grouped += f.share()
	s.edge.bindingHash ^= link.BindingHash(s.id, f.topic.name)
	s.edge.bindings++
	r.m.bindings.Inc()
}

// unbind ends s's membership.
func (r *Router) unbind(s *session, f *follower) {
	switch {
	case f == nil:
		return
	case s.few[0] == f:
		s.few[0] = nil
	case s.few[1] == f:
		s.few[1] = nil
	default:
		t := s.talks()
		i := len(t.more) - 1
		for i >= 0 && t.more[i] != f {
			i--
		}
		if i < 0 {
			return
		}
		if t.more = slices.Delete(t.more, i, i+1); len(t.more) == 0 {
			t.more = nil
			s.rest()
		}
	}
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
	own := s.own()
	for _, t := range own {
		r.follow(s.edge, t).openTo(s)
	}
	r.tryOpen(s, own)
	if s.opening && r.away {
		r.openAhead(s, own)
	}
}

// tryOpen binds s to all its own topics at once if every one of them can be: subscribed, and this edge not behind on it. The edge is then told
// that the connect may be answered: from here on no message is missed.
func (r *Router) tryOpen(s *session, own []protocol.Topic) {
	for _, t := range own {
		if f := r.follower(s.edge, t); f == nil || !f.bindable() {
			return
		}
	}
	s.opening = false
	opened := link.Opened{Session: s.id, Confirmed: true, Topics: r.opened[:0]}
	for _, t := range own {
		f := r.follower(s.edge, t)
		f.closeTo(s)
		r.enter(f)
		r.bind(s, f)
		opened.Topics = append(opened.Topics, f.topic.number)
	}
	r.opened = opened.Topics
	r.send(s.edge, opened.Append)
}

// openUnconfirmed answers connects that wait while the broker is away; they are confirmed when it is back.
func (r *Router) openUnconfirmed(e *edge) {
	waiting := slices.DeleteFunc(slices.Clone(e.followers), func(f *follower) bool { return !f.opens() })
	slices.SortFunc(waiting, func(a, b *follower) int { return cmp.Compare(a.topic.name, b.topic.name) })
	for _, f := range waiting {
		for _, s := range f.inOrder() {
			if own := s.own(); own[0] == f.topic.name { // once per session
				r.openAhead(s, own)
			}
		}
	}
}

// openAhead answers a connect that cannot be confirmed. The session is bound all the same if its edge is not behind on its topics: it gets what this relay's edges
// say.
func (r *Router) openAhead(s *session, own []protocol.Topic) {
	opened := link.Opened{Session: s.id, Topics: r.opened[:0]}
	if !slices.ContainsFunc(own, func(t protocol.Topic) bool { f := r.follower(s.edge, t); return f.bound > 0 && f.isBehind }) {
		for _, t := range own {
			f := r.follower(s.edge, t)
			r.enter(f)
			r.bind(s, f)
			opened.Topics = append(opened.Topics, f.topic.number)
		}
	}
	r.opened = opened.Topics
	r.send(s.edge, opened.Append)
}
