package router

import (
	"math"

	"github.com/edgerelay/edgerelay/shared/link"
)

// moment orders three kinds of events within one relay: a frame's first sending to the broker, the
// arrival of a follower's first member, and the telling of a gap. The count stops at the type's
// maximum, after years. No frame that is first sent from then on is uncertain.
type moment uint32

// tick begins the next moment and returns it.
func (r *Router) tick() moment {
	if r.outage.moment < math.MaxUint32 {
		r.outage.moment++
	}
	return r.outage.moment
}

// origin tells since when a frame may have been published although no answer to it has come, and
// whether another relay may have published it.
type origin struct {
	sent  moment // may have been published from this moment on; 0: never sent
	again bool   // came in a replay; another relay may have published it
}

// uncertain reports whether a frame of the given origin is uncertain for f. The frame is uncertain
// if it may have been published before f's members came, or if it may be among the messages whose
// loss the members were told.
func (f *follower) uncertain(from origin) bool {
	return from.sent != 0 && (from.sent <= f.since || f.gapped && from.again)
}

// aheadTo returns the bytes that f's edge is sent for a message given ahead. The first case that
// applies counts:
//   - the ID alone, if the publication is known not to lie after f's position;
//   - the message, if it is not uncertain for f;
//   - nil, if the members may have been told that the message is lost: they wait for the broker;
//   - the ID alone, if the members may have come after the message.
//
// An edge never gives its members a message of which it was sent the ID alone.
func (f *follower) aheadTo(item *tailItem) []byte {
	switch {
	case !item.at.IsZero() && !f.position.IsUnplaced() && !f.position.Before(item.at):
	case !f.uncertain(item.origin):
		return item.bytes
	case f.gapped:
		return nil
	}
	return link.Ahead{Topic: f.topic.number, ID: item.id}.Append(nil)
}

// deliverAhead does for a message given ahead what deliver does for a publication.
func (r *Router) deliverAhead(f *follower, item *tailItem) {
	if f.isBehind || f.bound == 0 || !f.edge.outbox.ready {
		return
	}
	if bytes := f.aheadTo(item); bytes != nil {
		r.deliver(f, item.position, bytes)
	} else {
		r.holdBack(f)
	}
}

// holdBack keeps a follower behind until the broker is back.
func (r *Router) holdBack(f *follower) {
	r.m.behind("uncertain")
	r.fallBehind(f)
	f.lag().held = true
}

// letGo releases the followers that were held back.
func (c *catchup) letGo() {
	for _, f := range c.behind {
		f.waits.lag.held = false
	}
}
