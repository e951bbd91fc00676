package router

import (
	"fmt"
	"slices"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// taking is the job that replaces an edge's tables by those that the edge told.
type taking struct {
	edge    *edge
	told    *told
	synced  link.Synced
	began   uint64  // tails.added as of Synced
	strayed bool    // tables.strayed as of Synced
	numbers numbers // inbox.numbers as of Synced

	// tops has the topics that were told as unplaced. A topic is removed from this map when its
	// follower has its turn in takeResume. The value is the topic's end at Synced. If the topic is
	// not subscribed at Synced, the value is nil until a Subscribed comes, which sets it to the
	// topic's end. The members begin at this position or at an earlier one.
	tops map[protocol.Topic]*protocol.Position

	phase  takePhase
	next   int         // index of the phase's next element
	member int         // index of the next member in told.held[next]
	held   []*follower // the follower for each topic in told.held

	later []any // frames that came after Synced; an element is nil once it is handled
	bytes int   // size of all frames that came after Synced, handled ones included
}

// takePhase is a phase of a taking. The next phase begins when all elements of this one, such as
// the told sessions, have been handled.
type takePhase uint8

const (
	takeReset    takePhase = iota // reset each follower
	takeSessions                  // enter each told session
	takeHeld                      // bind each told member
	takeKeeps                     // set each told keep of a membership
	takeResume                    // let each follower in taking.held catch up
	takeOpen                      // open the sessions that are not bound to their own topics
	takeDrop                      // drop the followers that have no reason to stay
	takeLater                     // handle the frames that came meanwhile
)

// begin forgets the edge's tables of earlier links, but keeps the edge's followers.
func (j *taking) begin(r *Router) {
	e := j.edge
	r.begun(e, j.synced.First, j.synced.Last)
	r.void(e)
	r.m.sessions.Sub(float64(len(e.tables.sessions)))
	r.m.bindings.Sub(float64(e.tables.bindings))
	j.began, j.strayed, e.tables.strayed = r.tails.added(), e.tables.strayed, false
	e.tables.sessions = make(map[uint64]*session, len(j.told.sessions))
	e.tables.sessionHash, e.tables.bindingHash, e.tables.bindings = 0, 0, 0
	e.tables.grouped, e.tables.groupedBy, e.tables.keeps, e.tables.ended = 0, nil, 0, nil
	e.tables.ends, e.tables.watched = nil, false
	j.numbers = e.inbox.numbers
	e.inbox.numbers.start(j.synced.First)
	e.passed = nil
	// The topics whose members have no position are subscribed now, before the first piece, so that
	// these members miss little.
	for _, name := range j.told.unplaced {
		if j.tops == nil {
			j.tops = make(map[protocol.Topic]*protocol.Position, len(j.told.unplaced))
		}
		t := r.follow(e, name).topic
		if j.tops[name] = nil; t.subscribed {
			j.tops[name] = new(t.top)
		}
	}
	j.held = make([]*follower, len(j.told.held))
}

// ended reports whether the job is done, or the link on which the tables were told has ended.
func (j *taking) ended() bool { return j.edge.tables.taking != j }

func (j *taking) do(r *Router, pieces int) (left int, done bool) {
	for ; pieces > 0 && !j.ended(); pieces-- {
		if v := j.piece(r); v != nil {
			r.cut(j.edge, v.code, v.text) // ends the job too
		}
	}
	return pieces, j.ended()
}

// drop forgets the job of an edge whose link has ended.
func (t *tables) drop() {
	if j := t.taking; j != nil {
		t.taking = nil
		t.strayed = t.strayed || j.strayed
		if j.phase < takeLater { // no frame that came after Synced was handled
			j.edge.inbox.numbers = j.numbers
		}
		*j = taking{edge: j.edge} // Router.jobs may have this job for a while, so it is emptied
	}
	t.told = nil
}

// notes reports whether f's topic is in j.tops. If it is there without a position, notes sets the
// given position. The topic is not there if it was not told as unplaced, or if f has had its turn
// in takeResume. If j is nil, notes returns false.
func (j *taking) notes(f *follower, top protocol.Position) bool {
	if j == nil {
		return false
	}
	noted, waits := j.tops[f.topic.name]
	if waits && noted == nil {
		j.tops[f.topic.name] = &top
	}
	return waits
}

// noted removes f's topic from j.tops. It returns the position that j.tops had for the topic; nil
// if there was none. The receiver may be nil.
func (j *taking) noted(f *follower) *protocol.Position {
	if j == nil {
		return nil
	}
	top := j.tops[f.topic.name]
	delete(j.tops, f.topic.name)
	return top
}

// piece handles one element of the present phase. If none is left, it begins the next phase.
func (j *taking) piece(r *Router) *violation {
	e := j.edge
	switch j.phase {
	case takeReset:
		if j.next == len(e.followers) {
			j.enter(takeSessions)
			return nil
		}
		j.reset(e.followers[j.next])
		j.next++
	case takeSessions:
		if j.next == len(j.told.sessions) {
			// Live is sent only when unlive is 0. The 1 is for takeResume, which subtracts it when
			// all followers have been resumed.
			e.catchup.unlive, e.catchup.liveDue = 1, e.outbox.link.Moves()
			j.enter(takeHeld)
			return nil
		}
		r.addSession(e, j.told.sessions[j.next])
		j.next++
	case takeHeld:
		if j.next == len(j.held) {
			if j.enter(takeKeeps); len(j.told.keeps) == 0 {
				j.ready(r)
			}
			return nil
		}
		return j.hold(r, j.told.held[j.next].(link.Held))
	case takeKeeps:
		if j.next == len(j.told.keeps) {
			j.ready(r)
			return nil
		}
		j.next++
		return j.keep(r, j.told.keeps[j.next-1].(link.Keep))
	case takeResume:
		if j.next == len(j.held) {
			e.catchup.unlive--
			r.tellLive(e)
			j.enter(takeOpen)
			return nil
		}
		r.resume(j.held[j.next])
		j.next++
	case takeOpen:
		if j.next == len(j.told.sessions) {
			j.enter(takeDrop)
			j.next = len(e.followers)
			return nil
		}
		if s, ok := j.told.sessions[j.next].(link.Session); ok {
			j.open(r, e.tables.sessions[s.ID])
		}
		j.next++
	case takeDrop:
		// This phase begins with the last follower, since dropFollower moves the last follower into
		// the free place.
		if j.next == 0 {
			r.taken(j)
			j.enter(takeLater)
			return nil
		}
		j.next--
		r.dropIfIdle(e.followers[j.next])
	case takeLater:
		if j.next == len(j.later) {
			e.tables.taking = nil
			return nil
		}
		f := j.later[j.next]
		j.later[j.next] = nil
		j.next++
		return r.handle(e, f)
	}
	return nil
}

// ready is called when all that the edge told is entered. From then on frames are sent to the edge.
func (j *taking) ready(r *Router) {
	j.edge.outbox.ready, j.edge.tables.since = true, r.now.Unix()
	r.sendStatus(j.edge)
	r.endOverdue(j.edge)
	j.enter(takeResume)
}

func (j *taking) enter(phase takePhase) { j.phase, j.next = phase, 0 }

// reset clears the state of a follower. The follower stays, and so its topic stays subscribed, at
// least until takeDrop. If members may have come while the edge was linked to another relay, the
// moment at which the first member came is forgotten. The moment of a gap is kept.
func (j *taking) reset(f *follower) {
	f.edge.catchup.remove(f)
	f.topic.clients -= f.clients()
	since := f.since
	if j.strayed && !f.gapped {
		since = 0
	}
	*f = follower{topic: f.topic, edge: f.edge, inTopic: f.inTopic, inEdge: f.inEdge, since: since, gapped: f.gapped}
}

// hold binds the next told member of a topic. Before the first member it gives the topic's follower
// the told position. With the first member the follower falls behind.
func (j *taking) hold(r *Router, h link.Held) *violation {
	e := j.edge
	f := j.held[j.next]
	if f == nil {
		f = r.follow(e, h.Topic)
		j.held[j.next] = f
		f.position = h.Position
		f.adopted = h.Position.IsUnplaced()
		if !f.adopted && h.Position.Epoch < protocol.MaxEpoch {
			r.knows(f.topic, h.Position)
		}
	}
	s := e.tables.sessions[h.Sessions[j.member]]
	if s == nil {
		return &violation{link.CodeProtocol, "a member that was not told as a session"}
	}
	if s.memberships() >= r.mostTold(s.form) {
		return &violation{link.CodeProtocol, "a session in more topics than it can be"}
	}
	r.bind(s, f)
	if f.bound == 1 {
		r.fallBehind(f)
		f.lag().fresh = r.tails.since(f.topic, j.began)
		r.holdLive(f)
	}
	if j.member++; j.member == len(h.Sessions) {
		j.next, j.member = j.next+1, 0
	}
	return nil
}

// keep sets the told keep of a membership.
func (j *taking) keep(r *Router, k link.Keep) *violation {
	s, f := j.edge.tables.sessions[k.Session], r.directory.follower(j.edge, k.Topic)
	switch {
	case s == nil || s.client() == nil:
		return &violation{link.CodeProtocol, "a keep of a session that was not told as a Client"}
	case !s.member(f):
		return &violation{link.CodeProtocol, "a keep of a membership that was not told"}
	case s.client().keepAt(f) != nil:
		return &violation{link.CodeProtocol, "a keep that was told twice"}
	case int(s.client().bytes)+len(k.Keep) > link.MaxKeeps:
		return &violation{link.CodeLimit, fmt.Sprintf("keeps of more than %d bytes in one session", link.MaxKeeps)}
	}
	r.setKeep(s, f, k.Keep)
	return nil
}

// open opens a session that is not bound to all of its own topics. It also opens a session without
// own topics. Such a session is in no Held that could show that it was opened before. So its edge
// may still wait for the Opened.
func (j *taking) open(r *Router, s *session) {
	own := r.own(s)
	missing := func(t protocol.Topic) bool { return !s.in(t) && !r.bound(s, t) }
	if len(own) == 0 || slices.ContainsFunc(own, missing) {
		r.open(s)
	}
}

// taken is called when the told tables have replaced the old ones. It frees the told rows, and
// makes Digests due from now on. The frames in taking.later are not handled yet.
func (r *Router) taken(j *taking) {
	e := j.edge
	r.cfg.Log.Info("edge's tables told", "node", e.node, "sessions", len(e.tables.sessions), "topics", len(e.followers),
		"replays", j.synced.Last+1-j.synced.First)
	j.told, j.held = nil, nil
	r.digestLater(e)
}

// wait stores a frame that came after Synced. The frame is handled after the tables are taken.
func (j *taking) wait(r *Router, f any) *violation {
	switch f := f.(type) {
	case link.Message:
		j.bytes += frameCost + len(f.Payload)
	case link.Session, link.Client:
		j.bytes += rowSize(f)
	default:
		j.bytes += rowCost
	}
	most := int(j.edge.inbox.logSize) + r.cfg.TellBytes
	if j.bytes > most {
		return &violation{link.CodeLimit, fmt.Sprintf("frames of more than %d bytes before its tables were taken", most)}
	}
	j.later = append(j.later, f)
	return nil
}
