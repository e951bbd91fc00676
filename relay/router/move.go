package router

import (
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/link"
)

// moveAll asks each edge to link elsewhere, if the edge can move. Each edge begins to move at a
// random moment within the given time. Edges that link later are asked too.
func (r *Router) moveAll(window time.Duration) {
	r.window = window
	for _, e := range r.directory.inOrder() {
		if e.outbox.link != nil {
			r.askToMove(e.outbox.link)
		}
	}
}

// askToMove sends Drain on l if moveAll was called and the edge can move. It appends to the link
// directly, since Drain may come anywhere among a link's frames.
func (r *Router) askToMove(l Link) {
	if r.window > 0 && l.Moves() {
		l.Append(link.Drain{Window: uint64(r.window.Milliseconds())}.Append(nil))
	}
}

// holdLive is called for followers of topics that the edge has told on this link. If f has members,
// holdLive makes link.Live wait until f is live or dropped.
func (r *Router) holdLive(f *follower) {
	if f.bound > 0 && !f.holdsLive {
		f.holdsLive = true
		f.edge.catchup.unlive++
	}
}

// arrived handles a follower that became live or was dropped. If Live waited for this follower,
// arrived calls tellLive. So Live comes after the publication that made the follower live.
func (r *Router) arrived(f *follower) {
	if !f.holdsLive {
		return
	}
	f.holdsLive = false
	f.edge.catchup.unlive--
	r.tellLive(f.edge)
}

// tellLive sends Live if it is still due on the link and waits for no follower. While the broker is
// away, nobody can know which publications were missed. So Live waits until the broker is back.
func (r *Router) tellLive(e *edge) {
	if !e.catchup.liveDue || e.catchup.unlive > 0 || r.outage.away {
		return
	}
	e.catchup.liveDue = false
	r.send(e, link.Live{}.Append)
}

// moved handles Moved: another link of the edge has taken over. The link on which Moved came ends
// when the broker has answered a Flush, or after leaveWait. Usually this link has by then carried
// all that was published before Moved came.
func (r *Router) moved(e *edge) *violation {
	if !e.outbox.ready || !e.outbox.link.Moves() || e.leaving != 0 {
		return &violation{link.CodeProtocol, "Moved where it can not be"}
	}
	token := r.requests.ask(mover{e.outbox.link})
	e.leaving = token
	r.brk.Flush(token)
	r.after(leaveWait, func() { r.leave(token) })
	return nil
}

func (r *Router) flushed(ev broker.Flushed) {
	r.leave(ev.Token)
	r.heardOut(ev)
}

// leave ends a link that its edge has left. Router.moved has asked the broker for a Flush on behalf
// of that link, and the argument is the token of that request. The link is closed at the end of the
// step. If there is no such link, or leave was already called with this token, leave does nothing.
func (r *Router) leave(token uint64) {
	if m := asker[mover](&r.requests, token); m.Link != nil {
		r.left = append(r.left, m.Link)
	}
}
