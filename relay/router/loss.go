package router

import (
	"slices"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// lossWithin is the time over which an edge spreads the closing of sessions that have lost
// messages. Otherwise the clients of these sessions would all connect again at one moment.
const lossWithin = 5 * time.Second

const (
	// replayWait bounds how long the telling of a loss waits for an edge's replays. The last
	// numbers of the edge's log may be finished, and such numbers are never replayed.
	replayWait = time.Second
	// replayPoll is the pause between two looks at whether the awaited replays have come.
	replayPoll = 50 * time.Millisecond
)

// gap tells a follower's members that they lost messages, takes the follower past these messages,
// and returns true. Its second argument is the position of the last lost message. If there are
// clients of SDKs among the members, gap leaves the work to a job of type losing, and returns
// false. The follower then stays at its position until that job is done. At its end the job passes
// the follower to Router.advance, or to Router.dropIfIdle if no member is left.
func (r *Router) gap(f *follower, at protocol.Position, lost uint64) bool {
	if f.clients() == 0 {
		r.passLoss(f, at, lost)
		return true
	}
	r.fallBehind(f) // a follower that is behind already stays behind
	g := f.lag()
	if g.loss == nil {
		g.loss = &losing{
			follower: f, lag: g, at: at, lost: lost,
			members: slices.Clone(f.rare.clients.all()),
			until:   r.clock + replayWait,
		}
	} else if g.loss.at.Before(at) {
		g.loss.at, g.loss.lost = at, max(g.loss.lost, lost)
	}
	r.goOn(g.loss)
	return false
}

// passLoss takes a follower past a loss, and sends the edge the Gap.
func (r *Router) passLoss(f *follower, at protocol.Position, lost uint64) {
	r.m.gaps.Inc()
	r.m.lost.Add(float64(lost))
	r.cfg.Log.Warn("messages lost to the members of a topic on an edge", "topic", f.topic.name, "node", f.edge.node, "lost", lost)
	// The edge must be told the topic's number with the old position. With the new position the
	// edge would drop the Gap.
	r.number(f)
	f.position = at
	f.since, f.gapped = r.tick(), true
	gap := link.Gap{Topic: f.topic.number, Position: at, Lost: lost}
	if f.bound > f.clients() {
		gap.Text = r.dialects[link.FormChat].Lost(f.topic.name)
	}
	r.send(f.edge, gap.Append)
}

// losing is the job that tells a loss to those members of a follower that are clients of SDKs. It
// ends their memberships or closes their sessions. When all of them are told, the Gap is sent. The
// Gap takes the edge's position past the loss, so a later relay cannot know of the loss. Therefore
// the Gap comes last. If the link ends before the Gap is sent, the loss is told anew on the next
// link.
//
// The job leaves Router.jobs early if the link has no room, or if replays are awaited.
// Router.advance or Router.poll queues the job again. Until the loss is told, the follower is
// behind. A session that becomes a member in that time has lost nothing. All members that have lost
// messages were bound before the job began, so losing.members lists all of them that are clients of
// SDKs.
type losing struct {
	follower *follower
	lag      *lag              // lag.loss is this job until the loss is told or forgotten
	at       protocol.Position // position of the last lost message
	lost     uint64
	members  []*session    // clients of SDKs that were members when the loss was found
	next     int           // index of the next member to tell
	until    time.Duration // replays are awaited until Router.clock reaches this time
	queued   bool          // listed in Router.jobs
	polls    bool          // a timer is pending
}

// goOn queues a losing that is not queued already.
func (r *Router) goOn(j *losing) {
	if !j.queued {
		j.queued = true
		r.jobs = append(r.jobs, j)
	}
}

func (j *losing) do(r *Router, pieces int) (left int, done bool) {
	f := j.follower
	e := f.edge
	switch {
	case f.lag() != j.lag || j.lag.loss != j: // the members have left, or are told anew
		return pieces, true
	case !e.outbox.ready:
		j.queued = false
		return pieces, true
	case e.inbox.replaying() && r.clock < j.until:
		j.queued = false
		r.poll(j)
		return pieces, true
	}
	r.number(f) // with the position before the loss
	for ; j.next < len(j.members); j.next++ {
		if pieces == 0 {
			return 0, false
		}
		if !r.tellLoss(j.members[j.next], f) {
			j.queued = false
			return pieces, true // Writable or lookAgain resumes f
		}
		pieces--
	}
	j.lag.loss = nil
	r.passLoss(f, j.at, j.lost)
	if f.bound == 0 {
		r.dropIfIdle(f)
	} else {
		r.advance(f)
	}
	r.readOn(e)
	return pieces, true
}

// poll goes on with a losing after replayPoll.
func (r *Router) poll(j *losing) {
	if j.polls {
		return
	}
	j.polls = true
	r.after(replayPoll, func() {
		j.polls = false
		if j.follower.lag() == j.lag && j.lag.loss == j {
			r.goOn(j)
		}
	})
}

// tellLoss tells a client of an SDK of the loss: its membership at f ends, or its session is
// closed. If the link has no room for that, tellLoss returns false.
func (r *Router) tellLoss(s *session, f *follower) (told bool) {
	c := s.client()
	if c.leaving || !s.member(f) {
		return true
	}
	loss := r.speaks(s).AfterLoss(s.who(), f.topic.name, c.keepAt(f))
	if !r.room(s.edge, len(loss.Text)+len(loss.Reason)) {
		return false
	}
	// A replay that is still to come may be about this topic.
	if loss.Closes || c.closing || c.ways[f.topic.name].busy() || s.edge.inbox.replaying() {
		c.leaving = true
		r.m.close(loss.Code)
		r.send(s.edge, link.Close{
			Session: s.id, Code: loss.Code, Reason: loss.Reason, Within: uint64(lossWithin.Milliseconds()),
		}.Append)
		return true
	}
	r.tellFinished(s)
	r.m.unsubscribed.Inc()
	r.send(s.edge, link.Unbound{Session: s.id, Topic: f.topic.number, Text: loss.Text}.Append)
	r.part(s, f)
	return true
}

// replaying reports whether an edge may still replay frames, that is, send frames that it sent on
// an earlier link.
func (i *inbox) replaying() bool { return i.numbers.arrived < i.last }

// busy reports whether any frame about the topic waits to be judged, or is judged and not done yet.
// If the membership ended before these frames are done, a replay of a member's publish could be
// judged to be a stranger's.
func (w *way) busy() bool {
	return w != nil && (w.binding != nil || w.saying > 0 || len(w.parked) > 0)
}
