package router

import (
	"hash/maphash"
	"time"

	"github.com/edgerelay/edgerelay/relay/router/dialect"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// addressed holds the topics that one user has addressed through one edge in the present window. To
// address a topic is to write to it, to join it or to leave it. A topic whose name clients cannot
// choose is not counted, see dialect.Command.Fixed. All connections of the user at that edge count
// together. Config.MaxAddressed bounds the number of topics, because each topic costs the broker a
// history and a mark, even if nobody follows the topic. A window lasts for Config.HistoryAge. A
// topic is remembered by its hash. The struct is kept when the user's connections end, so that a
// reconnect does not begin a new window.
type addressed struct {
	few   [3]uint64           // hashes of the first topics; a 0 is a free place
	more  map[uint64]struct{} // hashes of further topics, once addressed.few is full
	since time.Duration       // Router.clock when the window began
}

var addressedSeed = maphash.MakeSeed()

// take adds the topic t to the window and returns true. A topic that is in the window already is
// not added again. If t is new and the window is full, take adds nothing and returns false. If the
// window is over, take begins a new one before it adds t. The last three arguments are the present
// Router.clock, the length of a window, and the number of topics in a full window.
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

// address counts a frame's topic for the frame's user. It returns false if the topic is new and the
// user has already addressed Config.MaxAddressed topics in the present window.
func (r *Router) address(fr *frame) bool {
	return r.addressedBy(fr.session.edge, fr.session.user).take(fr.topic(), r.clock, r.cfg.HistoryAge, r.cfg.MaxAddressed)
}

// mayAddress calls address for a frame. If address returns false, mayAddress refuses the frame and
// returns false. Before a frame is published to a topic whose name a client may invent, mayAddress
// is called for the frame. For a leave, address is called instead, and its result is ignored. For a
// frame that was granted on an earlier link, neither is called.
func (r *Router) mayAddress(fr *frame) bool {
	if r.address(fr) {
		return true
	}
	r.deny(fr, dialect.Verdict{Reason: dialect.ManyAddressed, Most: r.cfg.MaxAddressed, Window: r.cfg.HistoryAge})
	r.m.dropped("addressed", 1)
	return false
}

// addressedBy returns the entry of edge.addressed for a user, and creates it if there is none.
func (r *Router) addressedBy(e *edge, user string) *addressed {
	a := e.addressed[user]
	if a == nil {
		a = &addressed{since: r.clock}
		if e.addressed == nil {
			e.addressed = make(map[string]*addressed)
		}
		e.addressed[user] = a
	}
	return a
}

// forgetAddressed removes from edge.addressed the users whose window is over.
func (e *edge) forgetAddressed(now, window time.Duration) {
	for user, a := range e.addressed {
		if now-a.since >= window {
			delete(e.addressed, user)
		}
	}
	if len(e.addressed) == 0 {
		e.addressed = nil // frees the memory, since a map does not shrink
	}
}
