package router

import (
	"slices"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// lossWithin is the time within which an edge closes the sessions that have lost messages. Their
// clients all connect again, so the sessions are not all closed at one moment.
const lossWithin = 5 * time.Second

// gap tells a follower's members that they lost messages, and takes the follower past them. The
// parameter at is the position of the last lost message.
func (r *Router) gap(f *follower, at protocol.Position, lost uint64) {
	r.m.gaps.Inc()
	r.m.lost.Add(float64(lost))
	r.cfg.Log.Warn("messages lost to the members of a topic on an edge", "topic", f.topic.name, "node", f.edge.node, "lost", lost)
	// The edge must be told the topic's number with the old position. With the new position the
	// edge would drop the Gap.
	r.number(f)
	chat := f.need() != needSDK
	r.tellClients(f)
	f.position = at
	f.since, f.gapped = r.tick(), true
	gap := link.Gap{Topic: f.topic.number, Position: at, Lost: lost}
	if chat {
		gap.Text = r.dialects[link.FormChat].Lost(f.topic.name)
	}
	r.send(f.edge, gap.Append)
}

// tellClients ends the memberships of clients of SDKs that have lost messages, or makes the edge
// close their sessions. It is called before the Gap is sent. Behind the Gap the edge's position is
// past the loss, so another relay would not know of it any more.
func (r *Router) tellClients(f *follower) {
	if f.clients() == 0 {
		return
	}
	for _, s := range slices.Clone(f.rare.clients.all()) {
		c := s.client()
		loss := r.speaks(s).AfterLoss(s.who(), f.topic.name, c.keepAt(f))
		switch {
		case c.closing, c.leaving:
		case loss.Closes, c.ways[f.topic.name].busy(), s.edge.replays():
			c.leaving = true
			r.m.close(loss.Code)
			r.send(s.edge, link.Close{
				Session: s.id, Code: loss.Code, Reason: loss.Reason, Within: uint64(lossWithin.Milliseconds()),
			}.Append)
		default:
			r.tellFinished(s)
			r.m.unsubscribed.Inc()
			r.send(s.edge, link.Unbound{Session: s.id, Topic: f.topic.number, Text: loss.Text}.Append)
			r.part(s, f)
		}
	}
	if f.bound == 0 { // the caller is still at work with f
		r.after(0, func() {
			if f.edge.tables.taking == nil { // otherwise takeDrop does this
				r.dropIfIdle(f)
			}
		})
	}
}

// replays reports whether the edge has yet to send numbers that it has told as a replay. Some of
// them may be of members, as busy says.
func (e *edge) replays() bool { return e.inbox.numbers.arrived < e.inbox.last }

// busy reports whether frames about the topic are judged and not done, or wait to be judged. If the
// membership ended before these frames, a replay could judge a member's publish to be a stranger's.
func (w *way) busy() bool {
	return w != nil && (w.binding != nil || w.saying > 0 || len(w.parked) > 0)
}
