package router

import (
	"fmt"
	"hash/maphash"
	"time"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// addressed bounds the topics that one user makes by one edge, with all its connections there: each user it writes to and each group it joins costs the broker a history and
// a mark, whether or not anybody is there. It knows those since its window began by their hashes: Config.MaxAddressed at most. It outlives the connections, else connecting
// again would begin it anew.
type addressed struct {
	topics map[uint64]struct{}
	since  time.Time
}

var addressedSeed = maphash.MakeSeed()

// take notes that a topic is addressed. False: there were most others in this window.
func (a *addressed) take(t protocol.Topic, at time.Time, window time.Duration, most int) bool {
	if at.Sub(a.since) >= window {
		a.topics, a.since = nil, at
	}
	sum := maphash.String(addressedSeed, string(t))
	if _, known := a.topics[sum]; known {
		return true
	}
	if len(a.topics) >= most {
		return false
	}
	if a.topics == nil {
		a.topics = make(map[uint64]struct{})
	}
	a.topics[sum] = struct{}{}
	return true
}

// mayAddress reports whether a direct message or a join may make its topic; it answers one that may not.
func (r *Router) mayAddress(fr *frame) bool {
	if r.addressedBy(fr.session).take(fr.topic, r.now, r.cfg.HistoryAge, r.cfg.MaxAddressed) {
		return true
	}
	r.leaveLane(fr)
	r.answer(fr, fmt.Sprintf("error: a user can address %d different users and groups in %v, not delivered", r.cfg.MaxAddressed, r.cfg.HistoryAge))
	r.finish(fr)
	r.m.dropped("addressed", 1)
	return false
}

// addressedBy returns what the session's user has addressed by its edge.
func (r *Router) addressedBy(s *session) *addressed {
	e := s.edge
	a := e.addressed[s.user]
	if a == nil {
		a = &addressed{since: r.now}
		if e.addressed == nil {
			e.addressed = make(map[string]*addressed)
		}
		e.addressed[s.user] = a
	}
	return a
}

// forgetAddressed lets those go whose window is over.
func (e *edge) forgetAddressed(now time.Time, window time.Duration) {
	for user, a := range e.addressed {
		if now.Sub(a.since) >= window {
			delete(e.addressed, user)
		}
	}
	if len(e.addressed) == 0 {
		e.addressed = nil // a map does not shrink
	}
}
