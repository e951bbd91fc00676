package router

import (
	"fmt"
	"slices"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// maxToldSessions bounds the sessions of one edge.
const maxToldSessions = 1 << 20

// tell takes a row of an edge's tables.
func (r *Router) tell(e *edge, f any) *violation {
	size, v := 0, (*violation)(nil)
	switch row := f.(type) {
	case link.Session:
		if v = r.toldSession(e, row); v != nil || e.tables.told == nil {
			return v
		}
		e.tables.told.sessions = append(e.tables.told.sessions, f)
		size = rowCost + len(row.User) + len(row.Group)
	case link.Held:
		if v = r.toldHeld(e, row); v != nil || len(row.Sessions) == 0 {
			return v
		}
		e.tables.told.held = append(e.tables.told.held, f)
		size = rowCost + len(row.Topic) + memberCost*len(row.Sessions)
	}
	if e.tables.told.bytes += size; e.tables.told.bytes > r.cfg.TellBytes {
		return &violation{link.CodeLimit, fmt.Sprintf("tables of more than %d bytes", r.cfg.TellBytes)}
	}
	return nil
}

// toldSession checks a told session. After Synced it also adds the session, unless this relay is
// stopping.
func (r *Router) toldSession(e *edge, s link.Session) *violation {
	e.tables.heard++
	if err := r.dialect.Check(s); err != nil {
		return &violation{link.CodeProtocol, err.Error()}
	}
	if len(e.tables.sessions) >= maxToldSessions || e.tables.told != nil && len(e.tables.told.sessions) >= maxToldSessions {
		return &violation{link.CodeLimit, "too many sessions"}
	}
	switch {
	case e.tables.told != nil: // Synced adds it
	case r.stopping: // its edge is about to link elsewhere
	case e.tables.sessions[s.ID] == nil:
		r.open(r.addSession(e, s))
	}
	return nil
}

// toldHeld checks the told members of a topic.
func (r *Router) toldHeld(e *edge, h link.Held) *violation {
	if e.tables.told == nil {
		return &violation{link.CodeProtocol, "Held after Synced"}
	}
	if !h.Topic.Valid() {
		return &violation{link.CodeProtocol, "a topic that can not be"}
	}
	e.tables.told.members += uint64(len(h.Sessions))
	if e.tables.told.members > uint64(len(e.tables.told.sessions))*uint64(r.maxTopics()) {
		return &violation{link.CodeProtocol, "more memberships than the sessions told can have"}
	}
	return nil
}

// synced replaces what is known of an edge by the tables that it told. It forgets the unfinished
// frames of the edge, which sends them again. Topics that stay followed are not unsubscribed in
// between.
func (r *Router) synced(e *edge, f link.Synced) *violation {
	told := e.tables.told
	if told == nil {
		return &violation{link.CodeProtocol, "Synced twice"}
	}
	e.tables.told = nil
	bindings := told.members
	if f.First == 0 || f.Sessions != uint64(len(told.sessions)) || f.Held != bindings {
		return &violation{link.CodeProtocol, fmt.Sprintf("Synced counts %d sessions and %d memberships; %d and %d were told",
			f.Sessions, f.Held, len(told.sessions), bindings)}
	}
	r.begun(e, f.First, f.Last)
	r.void(e)
	r.clear(e, len(told.sessions))
	e.inbox.numbers.start(f.First)
	e.passed = nil
	e.outbox.ready = true
	r.sendStatus(e)
	for _, s := range told.sessions {
		r.addSession(e, s.(link.Session))
	}
	held := make([]*follower, len(told.held))
	for i, h := range told.held {
		f, v := r.hold(e, h.(link.Held))
		if v != nil {
			r.dropIdle(e)
			return v
		}
		held[i] = f
	}
	e.catchup.unlive, e.catchup.liveDue = 0, e.outbox.link.Moves()
	for _, follower := range e.followers {
		r.holdLive(follower)
	}
	for _, follower := range held {
		r.resume(follower)
	}
	r.tellLive(e)
	for _, told := range told.sessions {
		s := e.tables.sessions[told.(link.Session).ID]
		for _, t := range r.own(s) {
			if !s.in(t) && !r.bound(s, t) {
				r.open(s)
				break
			}
		}
	}
	r.dropIdle(e)
	r.log.Info("edge's tables told", "node", e.node, "sessions", len(e.tables.sessions), "topics", len(e.followers),
		"replays", f.Last+1-f.First)
	r.digestLater(e)
	return nil
}

// clear empties an edge's tables, to be filled with the expected number of sessions. Its followers
// are reset but stay: they keep their topics subscribed until it is known which of them are needed.
// The moment at which a follower's members came is forgotten if they may have come at another
// relay. The moment of a gap that they were told is kept.
func (r *Router) clear(e *edge, expected int) {
	for _, f := range e.followers {
		since := f.since
		if e.tables.strayed && !f.gapped {
			since = 0
		}
		*f = follower{topic: f.topic, edge: e, inTopic: f.inTopic, inEdge: f.inEdge, since: since, gapped: f.gapped}
	}
	e.tables.strayed = false
	for _, s := range e.tables.sessions {
		s.gone = true
	}
	r.m.sessions.Sub(float64(len(e.tables.sessions)))
	r.m.bindings.Sub(float64(e.tables.bindings))
	e.tables.sessions = make(map[uint64]*session, expected)
	e.catchup.behind, e.catchup.unread = nil, nil
	e.tables.sessionHash, e.tables.bindingHash, e.tables.bindings, e.tables.grouped = 0, 0, 0, 0
}

// dropIdle forgets the followers that have no reason to stay.
func (r *Router) dropIdle(e *edge) {
	for _, f := range slices.Clone(e.followers) {
		r.dropIfIdle(f)
	}
}

// hold binds a topic's told members at the told position.
func (r *Router) hold(e *edge, h link.Held) (*follower, *violation) {
	f := r.follow(e, h.Topic)
	f.position = h.Position
	f.adopted = h.Position.IsUnplaced()
	if !f.adopted && h.Position.Epoch < protocol.MaxEpoch {
		r.knows(f.topic, h.Position)
	}
	for _, id := range h.Sessions {
		s := e.tables.sessions[id]
		if s == nil {
			return f, &violation{link.CodeProtocol, "a member that was not told as a session"}
		}
		if s.memberships() >= r.maxTopics() {
			return f, &violation{link.CodeProtocol, "a session in more topics than it can be"}
		}
		r.bind(s, f)
	}
	return f, nil
}

// maxTopics returns the largest number of topics that an edge may tell of one session. It leaves
// room for two of the session's own beyond Config.MaxGroups.
func (r *Router) maxTopics() int { return r.cfg.MaxGroups + 2 }

// resume lets a follower that was told catch up from its position.
func (r *Router) resume(f *follower) {
	if f.bound == 0 {
		return
	}
	r.number(f)
	if f.topic.subscribed {
		r.place(f, f.topic.top)
	}
	r.passRewind(f)
	r.fallBehind(f)
	r.advance(f)
}

// digestLater makes a Digest due every Config.DigestEvery while the link lasts. At the same times
// it calls forgetAddressed.
func (r *Router) digestLater(e *edge) {
	generation := e.generation
	r.after(r.cfg.DigestEvery, func() {
		if e.outbox.ready && e.generation == generation {
			e.tables.digestDue = true
			e.forgetAddressed(r.clock, r.cfg.HistoryAge)
			r.touch(e)
			r.digestLater(e)
		}
	})
}

// digest sends the edge a Digest of its tables when one is due. It follows the other frames of the
// step, so that it describes the tables as the edge was told them.
func (r *Router) digest(e *edge) {
	if !e.tables.digestDue || r.stopping { // the tables of a stopping relay lack new sessions
		return
	}
	e.tables.digestDue = false
	e.outbox.frames = link.Digest{
		Heard:       e.tables.heard,
		Sessions:    uint64(len(e.tables.sessions)),
		SessionHash: e.tables.sessionHash,
		Bindings:    e.tables.bindings,
		BindingHash: e.tables.bindingHash,
	}.Append(e.outbox.frames)
}
