package router

import (
	"math"

	"github.com/edgerelay/edgerelay/shared/link"
)

// moment orders events within one relay, such as a frame's first sending to the broker, the arrival
// of a follower's first member, and the telling of a gap. When the count reaches the type's
// maximum, it stays there. For a frame that is sent later, origin.sent is one more than the
// maximum, and so overflows to 0. Therefore such a frame is never uncertain.
type moment uint32

// tick begins the next moment and returns it.
func (r *Router) tick() moment {
	if r.outage.moment < math.MaxUint32 {
		r.outage.moment++
	}
	return r.outage.moment
}

// origin tells when a frame was first sent to the broker or was replayed, and whether another relay
// may have published it.
type origin struct {
	sent  moment // moment after the first sending, or after the Synced of a replay; 0: not sent
	again bool   // came in a replay; another relay may have published it
}

// uncertain reports whether a frame of the given origin is uncertain for f. The frame is uncertain
// if it may have been published before f's members came. The frame is also uncertain if the members
// may have been told that it is lost.
func (f *follower) uncertain(from origin) bool {
	return from.sent != 0 && (from.sent <= f.since || f.gapped && from.again)
}

// aheadTo returns the bytes to send to f's edge for a message given ahead. The first case that
// applies counts:
//   - the ID alone, if the publication is known to lie at f's position or before it;
//   - the message, if it is not uncertain for f;
//   - nil, if the members may have been told that the message is lost: they wait for the broker;
//   - the ID alone otherwise: the members may have come after the message.
//
// An edge that is sent the ID alone is to drop the message when it is published.
func (r *Router) aheadTo(f *follower, item *tailItem) []byte {
	switch {
	case !item.at.IsZero() && !f.position.IsUnplaced() && !f.position.Before(item.at):
	case !f.uncertain(item.origin):
		return r.frameFor(f, item)
	case f.gapped:
		return nil
	}
	return link.Ahead{Topic: f.topic.number, ID: item.id}.Append(nil)
}

// deliverAhead delivers a message given ahead to the edge of a live follower with members. If
// aheadTo returns nil, deliverAhead holds the follower back.
func (r *Router) deliverAhead(f *follower, item *tailItem) {
	if !f.served() {
		return
	}
	if bytes := r.aheadTo(f, item); bytes != nil {
		r.deliver(f, item.position, bytes)
	} else {
		r.holdBack(f)
	}
}

// holdBack makes a follower fall behind and wait until the broker is back.
func (r *Router) holdBack(f *follower) {
	r.m.behind("uncertain")
	r.fallBehind(f)
	f.lag().held = true
}

// letGo releases the followers that were held back.
func (c *catchup) letGo() {
	for _, f := range c.behind {
		f.rare.lag.held = false
	}
}
