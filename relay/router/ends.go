package router

import (
	"container/heap"
	"time"

	"github.com/edgerelay/edgerelay/relay/router/dialect"
	"github.com/edgerelay/edgerelay/shared/link"
)

// This file ends memberships at the time that their keeps name, see dialect.Dialect.Ends. Edges
// know nothing of that time. While an edge has no link, its members receive nothing, and the next
// relay learns the keeps when the edge tells its tables.

// ending is a membership that ends by itself.
type ending struct {
	session  *session
	follower *follower
	at       int64 // when the membership ends, in Unix seconds
	place    int   // index in endings
	// withholds says that the follower waits for this end, see lag.overdue.
	withholds bool
}

// endings are the memberships of an edge that end by themselves, as a heap by ending.at.
type endings []*ending

// endsEvery is the time between two looks at the endings of an edge.
const endsEvery = time.Second

// endsWait bounds how many seconds the end of a membership waits until frames about its topic are
// done. Then the session is closed instead. A client could otherwise put off the end for ever.
// After a new link the end waits for replays, too, for as many seconds from the link's tables on.
// Then no more replays are awaited, since the last numbers of the edge's log may be finished.
const endsWait = 5

// watchEnds makes the router look at the endings of an edge after endsEvery, if there are any and
// nobody looks yet.
func (r *Router) watchEnds(e *edge) {
	if e.tables.watched || len(e.tables.ends) == 0 || !e.outbox.ready {
		return
	}
	e.tables.watched = true
	generation := e.generation
	r.after(endsEvery, func() {
		if e.generation != generation { // taking.begin has reset tables.watched
			return
		}
		e.tables.watched = false
		if len(e.tables.ends) > 0 && e.tables.ends[0].at <= r.now.Unix() && e.outbox.ready {
			r.jobs = append(r.jobs, parting{e})
			return
		}
		r.watchEnds(e)
	})
}

// endOverdue ends the memberships of an edge whose time came before the edge told them. Their
// followers do not catch up before that: what was said after the end is not for these members.
func (r *Router) endOverdue(e *edge) {
	if len(e.tables.ends) > 0 && e.tables.ends[0].at <= r.now.Unix() {
		r.jobs = append(r.jobs, parting{e})
	} else {
		r.watchEnds(e)
	}
}

// letOn is called when a membership has ended, or ends later. If its follower has waited for that,
// and for no other one, the follower catches up.
func (r *Router) letOn(x *ending) {
	g := x.follower.lag()
	if !x.withholds || g == nil {
		return
	}
	x.withholds = false
	if g.overdue--; g.overdue == 0 {
		r.after(0, func() { r.advance(x.follower) })
	}
}

// parting is the job that ends the memberships of an edge whose time has come. What has to wait is
// left for the next look.
type parting struct{ edge *edge }

func (j parting) do(r *Router, pieces int) (left int, done bool) {
	e := j.edge
	t := &e.tables
	for ; len(t.ends) > 0 && t.ends[0].at <= r.now.Unix() && e.outbox.ready; pieces-- {
		if pieces == 0 {
			return 0, false
		}
		x := heap.Pop(&t.ends).(*ending)
		again, room := r.endMembership(x)
		if again > 0 {
			x.at = again
			heap.Push(&t.ends, x)
		} else {
			r.letOn(x)
		}
		if !room {
			break
		}
	}
	r.watchEnds(e)
	return pieces, true
}

// endMembership ends a membership whose time has come. If it has to wait for frames about its
// topic, or for room in the link, the first result says when to try again, in Unix seconds.
// Otherwise that is 0. The second result is false if the link has no room.
func (r *Router) endMembership(x *ending) (again int64, room bool) {
	s, f := x.session, x.follower
	c, e := s.client(), s.edge
	over, busy := r.speaks(s).AfterEnd(f.topic.name), c.ways[f.topic.name].busy()
	switch {
	case c.leaving || c.closing || s.ending: // the session ends anyway
	case !r.room(e, len(over.Text)+len(over.Reason)):
		return x.at, false
	case e.inbox.replaying() && r.now.Unix() < e.tables.since+endsWait,
		busy && r.now.Unix() < max(r.speaks(s).Ends(c.keepAt(f)), e.tables.since)+endsWait:
		return r.now.Unix() + 1, true
	case busy:
		r.close(s, over.Code, over.Reason)
	default:
		r.tellFinished(s)
		r.number(f)
		r.m.expired.Inc()
		r.send(e, link.Unbound{Session: s.id, Topic: f.topic.number, Text: over.Text}.Append)
		r.unbind(s, f)
	}
	return 0, true
}

// schedule notes when a membership ends. The argument is the membership in client.keeps. If its
// time has come before its follower has caught up, the follower waits for the end.
func (r *Router) schedule(s *session, k *kept) {
	at := r.speaks(s).Ends(k.keep)
	if at == 0 {
		return
	}
	k.ending = &ending{session: s, follower: k.follower, at: at}
	if g := k.follower.lag(); at <= r.now.Unix() && k.follower.isBehind && g != nil {
		k.ending.withholds = true
		g.overdue++
	}
	heap.Push(&s.edge.tables.ends, k.ending)
	r.watchEnds(s.edge)
}

// unschedule forgets when the membership at f ends. If it does not end by itself, unschedule does
// nothing.
func (r *Router) unschedule(c *client, f *follower) {
	t := &f.edge.tables
	for i := range c.keeps {
		k := &c.keeps[i]
		if k.follower != f || k.ending == nil {
			continue
		}
		// If the edge's tables were replaced or dropped, the ending is in the heap no more.
		if at := k.ending.place; at < len(t.ends) && t.ends[at] == k.ending {
			heap.Remove(&t.ends, at)
			r.letOn(k.ending)
		}
		k.ending = nil
	}
}

// extend carries out an Extend: it replaces the keep of a membership, and answers.
func (r *Router) extend(fr *frame) {
	s, keep := fr.session, fr.command.Terms.Keep
	f := r.directory.follower(s.edge, fr.topic())
	if !s.member(f) || r.speaks(s).Ends(s.client().keepAt(f)) == 0 {
		r.deny(fr, dialect.Verdict{Reason: dialect.NotMember})
		return
	}
	if v := r.noRoomFor(s, len(keep)-len(s.client().keepAt(f))); v.Reason != dialect.Done {
		r.deny(fr, v)
		return
	}
	r.setKeep(s, f, keep)
	r.number(f)
	r.send(s.edge, link.Bound{
		Number: fr.number, Session: s.id, Topic: f.topic.number, Keep: keep, Text: r.doneText(fr),
	}.Append)
	r.finish(fr)
}

// Len, Less, Swap, Push and Pop implement heap.Interface.

func (h endings) Len() int           { return len(h) }
func (h endings) Less(i, j int) bool { return h[i].at < h[j].at }
func (h endings) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h *endings) Push(x any) {
	e := x.(*ending)
	e.place = len(*h)
	*h = append(*h, e)
}

func (h *endings) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return x
}
