package router

import (
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/link"
)

// moveAll asks every edge that can to link elsewhere, beginning within a window; so it does edges that link from now on.
func (r *Router) moveAll(window time.Duration) {
	r.window = window
	for _, e := range r.inOrder() {
		if e.link != nil {
			r.askToMove(e.link)
		}
	}
}

// askToMove sends Drain when this relay is about to stop. It may stand anywhere among a link's frames.
func (r *Router) askToMove(l Link) {
	if r.window > 0 && l.Moves() {
		l.Append(link.Drain{Window: uint64(r.window.Milliseconds())}.Append(nil))
	}
}

// awaitLive notes a follower that was told on this link: Live waits for it.
func (r *Router) awaitLive(f *follower) {
	if f.bound > 0 && !f.awaited {
		f.awaited = true
		f.edge.awaited++
	}
}

// arrived is told that a follower is live, or is none any more. Live follows the last publication that made the last one so.
func (r *Router) arrived(f *follower) {
	if !f.awaited {
		return
	}
	f.awaited = false
	f.edge.awaited--
	r.tellLive(f.edge)
}

// tellLive says once a link that its edge has nothing to catch up with: not while the broker is away, when nobody can know.
func (r *Router) tellLive(e *edge) {
	if !e.liveDue || e.awaited > 0 || r.away {
		return
	}
	e.liveDue = false
	r.send(e, link.Live{}.Append)
}

// moved is told that an edge has another link, which is live: this one ends behind what had been published until now.
func (r *Router) moved(e *edge) *violation {
	if !e.ready || !e.link.Moves() || e.leaving != 0 {
		return &violation{link.CodeProtocol, "Moved where it can not be"}
	}
	token := r.token()
	e.leaving = token
	r.leaving[token] = e.link
	r.brk.Flush(token)
	r.after(leaveWait, func() { r.leave(token) })
	return nil
}

func (r *Router) flushed(ev broker.Flushed) {
	r.leave(ev.Token)
	r.heardOut(ev)
}

// leave ends a link at the end of the step, unless that was done.
func (r *Router) leave(token uint64) {
	if l := r.leaving[token]; l != nil {
		delete(r.leaving, token)
		r.left = append(r.left, l)
	}
}
