package router

import (
	"github.com/edgerelay/edgerelay/relay/router/dialect"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// This file keeps the order of one session's frames. It is for dialects whose order is
// dialect.ByTopic.
//
// Answers name their commands, so they may come in any order. Most frames wait only for earlier
// frames of their session on their own topic:
//   - A publish waits while an earlier Bind or Unbind is parked. It does not wait for a Bind that
//     waits at its follower: the session counts as a member already.
//   - A Bind or an Extend waits until an earlier Bind is answered, and while an earlier Unbind is
//     parked. It does not wait for publishes, since a stranger's publish is refused at once.
//   - An Unbind waits as a Bind does, and also until the earlier publishes are finished or
//     granted. Otherwise a replay of such a publish could be judged to be a stranger's.
//   - A Close and an End wait until no earlier frame of the session is held.
//
// All other frames are judged when they come. A frame is held while later ones may wait for it:
// from its arrival until it is finished or granted. When a frame is not held any more, its session
// and its topic are listed in Router.freed. Router.releaseFreed goes through that list at the end
// of the step, where no other change is under way.

// way has those commands of one session on one topic for which later commands on the topic wait.
type way struct {
	binding *frame   // Bind that was judged and waits at its follower; nil: none
	saying  int      // number of publishes that were judged and are held
	parked  []*frame // frames that wait, in number order; the first is a Bind, Unbind or Extend
}

// freed names a session and a topic. One of the session's frames on that topic was held, and is not
// held any more.
type freed struct {
	session *session
	topic   protocol.Topic
}

// publishes reports whether the frame is a Publish or a MemberPublish.
func (fr *frame) publishes() bool {
	return fr.command.Verb == dialect.Publish || fr.command.Verb == dialect.MemberPublish
}

// passes reports whether a frame can be judged now, if no frame is parked before it.
func (w *way) passes(fr *frame) bool {
	switch {
	case w == nil || fr.publishes() || fr.command.Verb == dialect.History:
		return true
	case fr.command.Verb == dialect.Unbind:
		return w.binding == nil && w.saying == 0
	}
	return w.binding == nil
}

// awaitByTopic judges a frame, or parks it until the frames that it has to wait for are done.
func (r *Router) awaitByTopic(fr *frame) {
	c := fr.session.client()
	if fr.end || fr.command.Verb == dialect.Close {
		if fr.end && c.confirming != nil {
			r.giveUp(c.confirming)
		}
		c.closing = c.closing || !fr.end
		c.last = append(c.last, fr)
		r.judgeLast(fr.session)
		return
	}
	if fr.effect < effectGranted && fr.command.Verb != dialect.History {
		fr.held = true
		c.held++
	}
	w := c.ways[fr.topic()]
	if fr.topic() == "" || fr.effect == effectGranted || fr.command.Verb == dialect.History || w.passes(fr) && (w == nil || len(w.parked) == 0) {
		r.judgeByTopic(fr)
	} else {
		if fr.publishes() {
			r.enlane(fr)
		}
		w.parked = append(w.parked, fr)
	}
	r.setDeadline(fr)
}

// judgeByTopic judges a frame whose turn has come.
func (r *Router) judgeByTopic(fr *frame) {
	if fr.publishes() && fr.held {
		fr.session.client().way(fr.topic()).saying++
	}
	r.judge(fr)
}

// judgeLast judges the Close and the End of a session once no frame before them is held.
func (r *Router) judgeLast(s *session) {
	for c := s.client(); c.held == 0 && len(c.last) > 0; {
		fr := c.last[0]
		if c.last = c.last[1:]; len(c.last) == 0 {
			c.last = nil
		}
		r.judge(fr)
	}
}

// way returns the way of a topic, and creates it if there is none.
func (c *client) way(t protocol.Topic) *way {
	w := c.ways[t]
	if w == nil {
		if c.ways == nil {
			c.ways = make(map[protocol.Topic]*way)
		}
		w = &way{}
		c.ways[t] = w
	}
	return w
}

// free is called for a frame that is finished or granted. The frame is not held any more.
func (r *Router) free(fr *frame) {
	if !fr.held {
		return
	}
	fr.held = false
	c := fr.session.client()
	c.held--
	if w := c.ways[fr.topic()]; w != nil {
		switch {
		case fr.publishes():
			w.saying--
		case w.binding == fr:
			w.binding = nil
		}
	}
	r.freed = append(r.freed, freed{fr.session, fr.topic()})
}

// releaseFreed goes through Router.freed. For each session and topic listed there, it judges the
// frames that have waited and may go on now.
func (r *Router) releaseFreed() {
	for i := 0; i < len(r.freed); i++ { // the judgement of a frame may append to the list
		s, t := r.freed[i].session, r.freed[i].topic
		c := s.client()
		if w := c.ways[t]; w != nil {
			for len(w.parked) > 0 && w.passes(w.parked[0]) {
				next := w.parked[0]
				w.parked = w.parked[1:]
				r.judgeByTopic(next)
			}
			if w.binding != nil && w.binding.late {
				r.bindLate(w.binding)
			}
			if w.binding == nil && w.saying == 0 && len(w.parked) == 0 {
				if delete(c.ways, t); len(c.ways) == 0 {
					c.ways = nil // a map does not shrink
				}
			}
		}
		r.judgeLast(s)
	}
	clear(r.freed)
	if r.freed = r.freed[:0]; cap(r.freed) > maxScratch/16 {
		r.freed = nil
	}
}
