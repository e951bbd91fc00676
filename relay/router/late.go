package router

import (
	"time"

	"github.com/edgerelay/edgerelay/relay/router/dialect"
)

// bindWait bounds the time from the arrival of a Bind to its binding, and from the arrival of a
// History to its answer. It also bounds the time for which a Confirm waits for the places of its
// session. An SDK gives up after 5 s.
const bindWait = 4 * time.Second

// deadline is the moment at which a frame is late. Router.deadlines has those of the frames that
// bindWait bounds, in the order in which the frames came. A timer for each frame would keep the
// frame in memory for bindWait, though nearly all frames are finished within milliseconds. In the
// list a frame stays until it is finished, and no frame before it is unfinished.
type deadline struct {
	frame *frame
	at    time.Duration // Router.clock
}

// setDeadline makes lateFrames look at a frame when bindWait has passed. It does nothing for a
// frame that is finished, or that bindWait does not bound.
func (r *Router) setDeadline(fr *frame) {
	switch fr.command.Verb {
	case dialect.Confirm, dialect.Bind, dialect.History:
		if fr.effect < effectFinished {
			r.deadlines = append(r.deadlines, deadline{fr, r.clock + bindWait})
		}
	}
}

// lateFrames handles the frames that have become late, and forgets the oldest frames up to the
// first one that is neither finished nor late.
func (r *Router) lateFrames() {
	for len(r.deadlines) > 0 {
		first := r.deadlines[0]
		if first.frame.effect < effectFinished {
			if r.clock < first.at {
				return
			}
			r.late(first.frame)
		}
		r.deadlines[0] = deadline{}
		r.deadlines = r.deadlines[1:]
	}
	r.deadlines = nil
}

func (r *Router) late(fr *frame) {
	if fr.command.Verb == dialect.History {
		r.rangeLate(fr)
		return
	}
	r.bindLate(fr)
}
