package router

import (
	"time"

	"github.com/edgerelay/edgerelay/relay/router/dialect"
)

const (
	// bindWait bounds the time from the arrival of a Bind to its binding, and from the arrival of a
	// History to its answer. An SDK gives up after 5 s.
	bindWait = 4 * time.Second
	// placeWait bounds the time from the arrival of a Confirm for which it waits for the places of
	// its session. An edge closes a guest whose connect is not confirmed 4 s after its first line.
	// So the line and its answer have a second for their ways.
	placeWait = 3 * time.Second
)

// deadline is the moment at which a frame is late. Router.deadlines has those of the frames that
// bindWait bounds, in the order in which the frames came. Router.placeDeadlines has those of the
// Confirms. A timer for each frame would keep the frame in memory for its whole wait, though nearly
// all frames are finished within milliseconds. In a list a frame stays until it is finished, and no
// frame before it is unfinished.
type deadline struct {
	frame *frame
	at    time.Duration // Router.clock
}

// setDeadline makes lateFrames look at a frame when its wait has passed. It does nothing for a
// frame that is finished, or whose wait is not bounded.
func (r *Router) setDeadline(fr *frame) {
	if fr.effect >= effectFinished {
		return
	}
	switch fr.command.Verb {
	case dialect.Bind, dialect.History:
		r.deadlines = append(r.deadlines, deadline{fr, r.clock + bindWait})
	case dialect.Confirm:
		r.placeDeadlines = append(r.placeDeadlines, deadline{fr, r.clock + placeWait})
	}
}

// lateFrames handles the frames that have become late.
func (r *Router) lateFrames() {
	r.lateOf(&r.placeDeadlines)
	r.lateOf(&r.deadlines)
}

// lateOf handles the frames of a list that have become late, and forgets the oldest frames up to
// the first one that is neither finished nor late.
func (r *Router) lateOf(list *[]deadline) {
	for len(*list) > 0 {
		first := (*list)[0]
		if first.frame.effect < effectFinished {
			if r.clock < first.at {
				return
			}
			r.late(first.frame)
		}
		(*list)[0] = deadline{}
		*list = (*list)[1:]
	}
	*list = nil
}

func (r *Router) late(fr *frame) {
	if fr.command.Verb == dialect.History {
		r.rangeLate(fr)
		return
	}
	r.bindLate(fr)
}
