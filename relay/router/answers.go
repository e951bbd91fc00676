package router

import "github.com/edgerelay/edgerelay/shared/link"

// answers counts the long answers that are under way to an edge's sessions, see link.LongAnswer.
// What would exceed a bound waits. The edge keeps long answers in memory until its clients take
// them.
type answers struct {
	bytes   int
	users   map[string]int // bytes by user
	pending map[uint64]pending
	waiting binders    // Binds and Confirms that wait for room
	ranges  []*ranging // histories that wait for room, or for their turn to read
	reading int        // histories that read
}

// pending has the long answers under way to one session. The session may have ended.
type pending struct {
	user  string
	bytes int
}

// Bounds of the long answers under way to an edge, and to one user's sessions there, in bytes. An
// answer of any size passes while nothing else is under way.
const (
	maxAnswers     = 64 << 20
	maxUserAnswers = 4 << 20
)

// room reports whether a user can be sent an answer of the given size now.
func (a *answers) room(user string, size int) bool {
	return (a.bytes == 0 || a.bytes+size <= maxAnswers) && (a.users[user] == 0 || a.users[user]+size <= maxUserAnswers)
}

// answered counts an answer that is sent to a session.
func (a *answers) answered(s *session, size int) {
	if size <= link.LongAnswer || s.client() == nil {
		return
	}
	if a.pending == nil {
		a.users, a.pending = make(map[string]int), make(map[uint64]pending)
	}
	p := a.pending[s.id]
	if p.bytes == 0 {
		p.user = s.user
	}
	p.bytes += size
	a.pending[s.id] = p
	a.users[p.user] += size
	a.bytes += size
}

// drained takes a Drained of the edge. Bytes that are not under way do not count.
func (a *answers) drained(d link.Drained) {
	p, known := a.pending[d.Session]
	if !known {
		return
	}
	n := int(min(d.Bytes, uint64(p.bytes)))
	a.bytes -= n
	if a.users[p.user] -= n; a.users[p.user] <= 0 {
		delete(a.users, p.user)
	}
	if p.bytes -= n; p.bytes > 0 {
		a.pending[d.Session] = p
		return
	}
	if delete(a.pending, d.Session); len(a.pending) == 0 {
		a.users, a.pending = nil, nil // maps do not shrink
	}
}

// forget is called when the edge's link has ended. Frames that wait are forgotten elsewhere.
func (a *answers) forget() { a.bytes, a.users, a.pending = 0, nil, nil }

// answerOn goes on with what waits for room for long answers.
func (r *Router) answerOn(e *edge) {
	waiting := &e.answers.waiting
	for refused := 0; refused < answersTried && waiting.first != nil; {
		fr := waiting.first
		waiting.remove(fr)
		if r.tryBind(fr); fr.waits == waiting {
			refused++
		}
	}
	r.rangeOn(e)
}

// answersTried is the number of frames that still have to wait after which no more are tried.
const answersTried = 8
