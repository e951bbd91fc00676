package router

import (
	"maps"
	"slices"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
)

// answers counts the long answers that are under way to an edge's sessions, see link.LongAnswer.
// What would exceed a bound waits. The edge keeps long answers in memory until its clients take
// them.
type answers struct {
	bytes   int
	users   map[string]*userAnswers
	pending map[uint64]pending
	window  window
	waiting binders    // Binds and Confirms that wait for a step, the link, or room here
	ranges  []*ranging // History commands that wait for room, or for their turn to read
	reading int        // number of History commands that read now
	turn    bool       // in the last advanceAll, what waits here had its turn before the followers
	next    bool       // the job answering goes on with what waits here
}

// userAnswers counts the long answers that are under way to the sessions of one user.
type userAnswers struct {
	bytes   int
	waiting binders // Binds and Confirms that wait for room among these
}

// pending has the long answers under way to one session. The session may have ended.
type pending struct {
	user  string
	bytes int
	fresh int // those of them that are in the window
}

// Bounds of the long answers under way to an edge, and to one user's sessions there, in bytes. Both
// have room for any one answer, which maxMissed or maxRange bounds.
const (
	maxAnswers     = 64 << 20
	maxUserAnswers = 4 << 20
	// answersShare is a divisor: a user may have 1/answersShare of what all other users leave free
	// of maxAnswers. So users who take nothing leave room for others, and most for short answers.
	answersShare = 4
)

// room reports whether there is room for an answer of the given size to a user among all answers.
func (a *answers) room(user string, size int) bool {
	of := 0
	if u := a.users[user]; u != nil {
		of = u.bytes
	}
	return of+size <= (maxAnswers-(a.bytes-of))/answersShare
}

// roomOf reports whether there is room for an answer of the given size among those of a user.
func (a *answers) roomOf(user string, size int) bool {
	u := a.users[user]
	return u == nil || u.bytes+size <= maxUserAnswers
}

// user returns the counts of a user, and creates them if there are none.
func (a *answers) user(user string) *userAnswers {
	u := a.users[user]
	if u == nil {
		if u = (&userAnswers{}); a.users == nil {
			a.users = make(map[string]*userAnswers)
		}
		a.users[user] = u
	}
	return u
}

// reply sends the edge of s an Answer, an Answered, a Bound or a Confirmed, which has a text for
// the client of s. It counts the text if that is a long answer.
func (r *Router) reply(s *session, text []byte, frame func([]byte) []byte) {
	s.edge.answers.answered(s, text, r.clock)
	r.ageWindow(s.edge)
	r.send(s.edge, frame)
}

// answered counts an answer that is sent to a session, if it is a long answer.
func (a *answers) answered(s *session, text []byte, now time.Duration) {
	if !link.IsLong(text) || s.client() == nil || !s.edge.outbox.ready {
		return
	}
	size := len(text)
	if a.pending == nil {
		a.pending = make(map[uint64]pending)
	}
	p := a.pending[s.id]
	if p.bytes == 0 {
		p.user = s.user
	}
	p.bytes += size
	p.fresh += size
	a.pending[s.id] = p
	a.user(p.user).bytes += size
	a.bytes += size
	a.window.bytes += size
	a.window.sent = append(a.window.sent, sentAnswer{now, s.id, size})
}

// drained takes a Drained of the edge, and returns the session's user. Bytes that are not under way
// do not count.
func (a *answers) drained(d link.Drained) (user string) {
	p, known := a.pending[d.Session]
	if !known {
		return ""
	}
	n := int(min(d.Bytes, uint64(p.bytes)))
	a.bytes -= n
	a.user(p.user).bytes -= n
	fresh := min(n, p.fresh)
	p.fresh -= fresh
	a.window.bytes -= fresh
	if p.bytes -= n; p.bytes > 0 {
		a.pending[d.Session] = p
	} else if delete(a.pending, d.Session); len(a.pending) == 0 {
		a.pending = nil // a map does not shrink
	}
	return p.user
}

// tidy forgets the counts of a user if no long answer is under way and no frame waits there.
func (a *answers) tidy(user string) {
	if u := a.users[user]; u != nil && u.bytes == 0 && u.waiting.first == nil {
		if delete(a.users, user); len(a.users) == 0 {
			a.users = nil // a map does not shrink
		}
	}
}

// forget is called when the edge's link has ended. Frames that wait are forgotten elsewhere.
func (a *answers) forget() {
	a.bytes, a.users, a.pending = 0, nil, nil
	a.window.bytes, a.window.sent = 0, nil
}

// drained takes a Drained of an edge. It goes on with the frames that waited for room for long
// answers.
func (r *Router) drained(e *edge, d link.Drained) {
	user := e.answers.drained(d)
	if u := e.answers.users[user]; u != nil {
		r.tryWaiting(&u.waiting)
	}
	e.answers.tidy(user)
	r.answerOn(e)
}

// answerOn goes on with what waits for room in the link, or among all long answers.
func (r *Router) answerOn(e *edge) {
	a := &e.answers
	r.tryWaiting(&a.waiting)
	r.rangeOn(e)
	if a.waiting.first == nil && len(a.ranges) == 0 {
		a.window.since = 0
	}
}

// answerAway is called when the broker has gone away. It goes on with all frames of an edge that
// wait for room for long answers. While the broker is away, no answer has publications, and so no
// answer needs that room.
func (r *Router) answerAway(e *edge) {
	for _, user := range slices.Sorted(maps.Keys(e.answers.users)) {
		if u := e.answers.users[user]; u != nil {
			r.tryWaiting(&u.waiting)
		}
		e.answers.tidy(user)
	}
	r.answerOn(e)
}

// A step makes answers with repliedMost bytes of publications, for all edges together. Further
// answers wait for the next step, so that no step takes long and others' messages pass between
// them. An answer counts as repliedLeast at least. A single answer may exceed the bound.
const (
	repliedMost  = 64 << 10
	repliedLeast = 2 << 10
)

// answering is the job that goes on with what waits at an edge for the next step.
type answering struct{ edge *edge }

// answerNext makes the next step go on with what waits for it at an edge.
func (r *Router) answerNext(e *edge) {
	if !e.answers.next {
		e.answers.next = true
		r.jobs = append(r.jobs, answering{e})
	}
}

func (j answering) do(r *Router, pieces int) (left int, done bool) {
	a := &j.edge.answers
	if r.replied >= repliedMost {
		return 0, false
	}
	a.next = false
	r.answerOn(j.edge)
	return pieces - 1, true
}

// tryWaiting tries the frames of a list again, until answersTried of them still have to wait there.
// It stops when the step has made as many answers as it may. While the broker is away it tries all,
// since no answer has publications then.
func (r *Router) tryWaiting(list *binders) {
	for refused := 0; refused < answersTried && list.first != nil; {
		fr := list.first
		switch e := fr.session.edge; {
		case r.outage.away:
		case r.replied >= repliedMost:
			r.answerNext(e)
			return
		case list == &e.answers.waiting && !r.roomInWindow(e):
			return
		}
		list.remove(fr)
		if r.tryBind(fr); fr.waits == list {
			refused++
		}
	}
}

// answersTried is the number of frames that find no room at their edge before tryWaiting stops.
const answersTried = 8
