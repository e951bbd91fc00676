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
	few   [3]uint64           // the first ones; 0: none
	more  map[uint64]struct{} // those beyond
	since time.Duration       // of Router.clock
}

var addressedSeed = maphash.MakeSeed()

// take notes that a topic is addressed. False: there were most others in this window.
func (a *addressed) take(t protocol.Topic, at, window time.Duration, most int) bool {
	if at-a.since >= window {
		*a = addressed{since: at}
	}
	sum := max(maphash.String(addressedSeed, string(t)), 1)
	for i, known := range a.few {
		switch {
		case known == sum:
			return true
		case known == 0 && i < most:
			a.few[i] = sum
			return true
		case known == 0:
			return false
		}
	}
	if _, known := a.more[sum]; known {
		return true
	}
	if len(a.few)+len(a.more) >= most {
		return false
	}
	if a.more == nil {
		a.more = make(map[uint64]struct{})
	}
	a.more[sum] = struct{}{}
	return true
}

// mayAddress reports whether a direct message or a join may make its topic; it answers one that may not.
func (r *Router) mayAddress(fr *frame) bool {
	if r.addressedBy(fr.session).take(fr.topic, r.clock, r.cfg.HistoryAge, r.cfg.MaxAddressed) {
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
		a = &addressed{since: r.clock}
		if e.addressed == nil {
			e.addressed = make(map[string]*addressed)
		}
		e.addressed[s.user] = a
	}
	return a
}

// forgetAddressed lets those go whose window is over.
func (e *edge) forgetAddressed(now, window time.Duration) {
	for user, a := range e.addressed {
		if now-a.since >= window {
			delete(e.addressed, user)
		}
	}
	if len(e.addressed) == 0 {
		e.addressed = nil // a map does not shrink
	}
}
