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
		if v = r.toldSession(e, row); v != nil || e.told == nil {
			return v
		}
		e.told.sessions = append(e.told.sessions, f)
		size = rowCost + len(row.User) + len(row.Group)
	case link.Held:
		if v = r.toldHeld(e, row); v != nil || len(row.Sessions) == 0 {
			return v
		}
		e.told.held = append(e.told.held, f)
		size = rowCost + len(row.Topic) + memberCost*len(row.Sessions)
	}
	if e.told.bytes += size; e.told.bytes > r.cfg.TellBytes {
		return &violation{link.CodeLimit, fmt.Sprintf("tables of more than %d bytes", r.cfg.TellBytes)}
	}
	return nil
}

// toldSession checks a session that is told, and takes it in if the tables were.
func (r *Router) toldSession(e *edge, s link.Session) *violation {
	e.heard++
	if s.Endpoint < protocol.EndpointChannel || s.Endpoint > protocol.EndpointAll || protocol.CheckID(s.User) != nil ||
		(s.Endpoint == protocol.EndpointGroup) != (protocol.CheckID(s.Group) == nil) {
		return &violation{link.CodeProtocol, "a session with an endpoint, user or group that can not be"}
	}
	if len(e.sessions) >= maxToldSessions || e.told != nil && len(e.told.sessions) >= maxToldSessions {
		return &violation{link.CodeLimit, "too many sessions"}
	}
	switch {
	case e.told != nil: // Synced takes it in
	case r.stopping: // its edge is about to link elsewhere
	case e.sessions[s.ID] == nil:
		r.open(r.addSession(e, s))
	}
	return nil
}

// toldHeld checks members of a topic that are told.
func (r *Router) toldHeld(e *edge, h link.Held) *violation {
	if e.told == nil {
		return &violation{link.CodeProtocol, "Held after Synced"}
	}
	if h.Topic != protocol.All && !((h.Topic.IsUser() || h.Topic.IsGroup()) && protocol.CheckID(h.Topic.Name()) == nil) {
		return &violation{link.CodeProtocol, "a topic that can not be"}
	}
	e.told.members += uint64(len(h.Sessions))
	if e.told.members > uint64(len(e.told.sessions))*uint64(r.maxTopics()) {
		return &violation{link.CodeProtocol, "more memberships than the sessions told can have"}
	}
	return nil
}

// synced replaces what is known of an edge by what it told: its tables are the truth, and the frames it has not seen acknowledged come
// again. Topics that stay followed are not unsubscribed in between.
func (r *Router) synced(e *edge, f link.Synced) *violation {
	told := e.told
	if told == nil {
		return &violation{link.CodeProtocol, "Synced twice"}
	}
	e.told = nil
	bindings := told.members
	if f.First == 0 || f.Sessions != uint64(len(told.sessions)) || f.Held != bindings {
		return &violation{link.CodeProtocol, fmt.Sprintf("Synced counts %d sessions and %d memberships; %d and %d were told",
			f.Sessions, f.Held, len(told.sessions), bindings)}
	}
	r.begun(e, f.First)
	r.void(e)
	r.clear(e, len(told.sessions))
	e.numbers.start(f.First)
	e.passed = nil
	e.ready = true
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
	e.awaited, e.liveDue = 0, e.link.Moves()
	for _, follower := range e.followers {
		r.awaitLive(follower)
	}
	for _, follower := range held {
		r.resume(follower)
	}
	r.tellLive(e)
	for _, told := range told.sessions {
		s := e.sessions[told.(link.Session).ID]
		for _, t := range s.own() {
			if !s.in(t) && !r.bound(s, t) {
				r.open(s)
				break
			}
		}
	}
	r.dropIdle(e)
	r.log.Info("edge's tables told", "node", e.node, "sessions", len(e.sessions), "topics", len(e.followers),
		"replays", f.Last+1-f.First)
	r.digestLater(e)
	return nil
}

// clear empties an edge's tables, to be filled with so many sessions. Its followers begin anew, where they are: they keep their topics subscribed until it is known which are needed.
func (r *Router) clear(e *edge, expected int) {
	for _, f := range e.followers {
		*f = follower{topic: f.topic, edge: e, inTopic: f.inTopic, inEdge: f.inEdge}
	}
	for _, s := range e.sessions {
		s.gone = true
	}
	r.m.sessions.Sub(float64(len(e.sessions)))
	r.m.bindings.Sub(float64(e.bindings))
	e.sessions = make(map[uint64]*session, expected)
	e.behind, e.unread = nil, nil
	e.sessionHash, e.bindingHash, e.bindings, e.grouped = 0, 0, 0, 0
}

// dropIdle forgets those of them that were not needed.
func (r *Router) dropIdle(e *edge) {
	for _, f := range slices.Clone(e.followers) {
		r.dropIfIdle(f)
	}
}

// hold binds a topic's told members at the told position.
func (r *Router) hold(e *edge, h link.Held) (*follower, *violation) {
	f := r.follow(e, h.Topic)
	f.position = h.Position
	f.adopted = h.Position == protocol.Unplaced
	if h.Position != protocol.Unplaced && h.Position.Epoch < protocol.MaxEpoch {
		r.knows(f.topic, h.Position)
	}
	for _, id := range h.Sessions {
		s := e.sessions[id]
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

// maxTopics is how many topics one session is in at most: its groups, and its own two.
func (r *Router) maxTopics() int { return r.cfg.MaxGroups + 2 }

// resume lets a told follower catch up from its position.
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

// digestLater asks for the comparison of tables, again and again while the link lasts, and tidies up after the edge's users.
func (r *Router) digestLater(e *edge) {
	generation := e.generation
	r.after(r.cfg.DigestEvery, func() {
		if e.ready && e.generation == generation {
			e.digestDue = true
			e.forgetAddressed(r.clock, r.cfg.HistoryAge)
			r.touch(e)
			r.digestLater(e)
		}
	})
}

// digest adds the comparison of tables when it is due, behind the acknowledgement: what the relay changes in them it has told by then, and the
// edge sees whether something that it changed is still on its way.
func (r *Router) digest(e *edge) {
	if !e.digestDue || r.stopping { // while stopping, new sessions are not taken in
		return
	}
	e.digestDue = false
	e.out = link.Digest{
		Heard:       e.heard,
		Sessions:    uint64(len(e.sessions)),
		SessionHash: e.sessionHash,
		Bindings:    e.bindings,
		BindingHash: e.bindingHash,
	}.Append(e.out)
}
