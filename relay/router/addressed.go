package router

import (
	"fmt"
	"hash/maphash"
	"time"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// addressed bounds the topics that one session makes: each user it writes to and each group it joins costs the broker a history and a mark, whether or not
// anybody is there. It knows those since its window began by their hashes: Config.MaxAddressed at most.
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
	if fr.session.addressed.take(fr.topic, r.now, r.cfg.HistoryAge, r.cfg.MaxAddressed) {
		return true
	}
	r.leaveLane(fr)
	r.answer(fr, fmt.Sprintf("error: a connection can address %d different users and groups in %v, not delivered", r.cfg.MaxAddressed, r.cfg.HistoryAge))
	r.finish(fr)
	r.m.dropped("addressed", 1)
	return false
}
