package router

import (
	"time"

	"github.com/edgerelay/edgerelay/relay/router/dialect"
)

// bindWait bounds the time from the arrival of a Bind to its binding, and from the arrival of a
// History to its answer. It also bounds the time for which a Confirm waits for the places of its
// session. An SDK gives up after 5 s.
const bindWait = 4 * time.Second

// waitings are the frames that bindWait bounds, in the order in which they came. A timer for each
// of them would keep a frame in memory for bindWait, though nearly all frames are finished within
// milliseconds. Here a frame stays until it is finished and has no unfinished frame before it.
type waitings []waiting

type waiting struct {
	frame *frame
	late  time.Duration // Router.clock when the frame is late
}

// limitWait makes lateFrames look at a frame when bindWait has passed. It does nothing for a frame
// that is finished, or that bindWait does not bound.
func (r *Router) limitWait(fr *frame) {
	switch fr.command.Verb {
	case dialect.Confirm, dialect.Bind, dialect.History:
		if fr.effect < effectFinished {
			r.waitings = append(r.waitings, waiting{fr, r.clock + bindWait})
		}
	}
}

// lateFrames handles the frames that have become late, and forgets the oldest frames up to the
// first one that is neither finished nor late.
func (r *Router) lateFrames() {
	for len(r.waitings) > 0 {
		first := r.waitings[0]
		if first.frame.effect < effectFinished {
			if r.clock < first.late {
				return
			}
			r.late(first.frame)
		}
		r.waitings[0] = waiting{}
		r.waitings = r.waitings[1:]
	}
	r.waitings = nil
}

func (r *Router) late(fr *frame) {
	if fr.command.Verb == dialect.History {
		r.rangeLate(fr)
		return
	}
	r.bindLate(fr)
}
