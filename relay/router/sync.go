package router

import (
	"fmt"

	"github.com/edgerelay/edgerelay/relay/router/dialect"
	"github.com/edgerelay/edgerelay/shared/link"
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
		if row.Position.IsUnplaced() {
			e.tables.told.unplaced = append(e.tables.told.unplaced, row.Topic)
		}
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
	who := dialect.Session{ID: s.ID, Instance: e.instance, Endpoint: s.Endpoint, User: s.User, Group: s.Group}
	if err := r.dialects[link.FormChat].Check(who); err != nil {
		return &violation{link.CodeProtocol, err.Error()}
	}
	if len(e.tables.sessions) >= maxToldSessions || e.tables.told != nil && len(e.tables.told.sessions) >= maxToldSessions {
		return &violation{link.CodeLimit, "too many sessions"}
	}
	switch {
	case e.tables.told != nil: // takeSessions adds it, after Synced
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

// synced checks the tables that an edge told, and begins to take them in place of what is known of
// the edge. Topics that stay followed are not unsubscribed in between.
func (r *Router) synced(e *edge, f link.Synced) *violation {
	told := e.tables.told
	if told == nil {
		return &violation{link.CodeProtocol, "Synced twice"}
	}
	e.tables.told = nil
	if f.First == 0 || f.Sessions != uint64(len(told.sessions)) || f.Held != told.members {
		return &violation{link.CodeProtocol, fmt.Sprintf("Synced counts %d sessions and %d memberships; %d and %d were told",
			f.Sessions, f.Held, len(told.sessions), told.members)}
	}
	j := &taking{edge: e, told: told, synced: f}
	e.tables.taking = j
	j.begin(r)
	r.jobs = append(r.jobs, j)
	return nil
}

// maxTopics returns the largest number of topics that an edge may tell of one session. It leaves
// room for two own topics of the session beyond Config.MaxGroups.
func (r *Router) maxTopics() int { return r.cfg.MaxGroups + 2 }

// resume lets the follower of a told topic catch up from its position. The follower has been behind
// since taking.hold, unless an event of its topic has let it catch up already.
func (r *Router) resume(f *follower) {
	r.number(f)
	if top := f.edge.tables.taking.noted(f); top != nil {
		r.place(f, *top)
	} else if f.topic.subscribed {
		r.place(f, f.topic.top)
	}
	r.passRewind(f)
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

// digest sends the edge a Digest of its tables when one is due. The Digest follows the other frames
// of the step. So it describes the tables with the changes that those frames tell.
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
