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
	case link.Session, link.Client:
		if v = r.toldSession(e, row); v != nil || e.tables.told == nil {
			return v
		}
		e.tables.told.sessions = append(e.tables.told.sessions, f)
		size = rowSize(f)
	case link.Keep:
		if v = r.toldKeep(e, row); v != nil {
			return v
		}
		e.tables.told.keeps = append(e.tables.told.keeps, f)
		size = rowSize(f)
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

// rowSize returns the size of a told Session, Client or Keep, in bytes.
func rowSize(f any) int {
	switch row := f.(type) {
	case link.Session:
		return rowCost + len(row.User) + len(row.Group)
	case link.Client:
		return rowCost + len(row.User) + len(row.Keep)
	case link.Keep:
		return rowCost + len(row.Topic) + len(row.Keep)
	}
	return 0
}

// toldSession checks a told session. After Synced it also adds the session, unless this relay is
// stopping. The connect of a Client comes later, as a command.
func (r *Router) toldSession(e *edge, row any) *violation {
	e.tables.heard++
	form, who := asTold(e, row)
	if form != link.FormChat && !r.serves(e) {
		return errNoFeature
	}
	if err := r.dialects[form].Check(who); err != nil {
		return &violation{link.CodeProtocol, err.Error()}
	}
	if len(e.tables.sessions) >= maxToldSessions || e.tables.told != nil && len(e.tables.told.sessions) >= maxToldSessions {
		return &violation{link.CodeLimit, "too many sessions"}
	}
	if v := e.tables.mayKeep(len(who.Keep), r.cfg.KeepBytes); v != nil {
		return v
	}
	switch {
	case e.tables.told != nil: // takeSessions adds it, after Synced
	case r.stopping: // its edge is about to link elsewhere
	case e.tables.sessions[who.ID] == nil:
		if s := r.addSession(e, row); form == link.FormChat {
			r.open(s)
		}
	}
	return nil
}

// asTold returns the form of a session, and the session as dialects know it. The row is the
// link.Session or the link.Client by which the edge tells of the session.
func asTold(e *edge, row any) (link.Form, dialect.Session) {
	if c, ok := row.(link.Client); ok {
		return link.FormJSON, dialect.Session{
			ID: c.ID, Instance: e.instance, User: c.User, Open: c.Open,
			Confirmed: c.Confirmed, Until: c.Until, Keep: c.Keep,
		}
	}
	s := row.(link.Session)
	return link.FormChat, dialect.Session{ID: s.ID, Instance: e.instance, Endpoint: s.Endpoint, User: s.User, Group: s.Group}
}

// serves reports whether e may have clients of SDKs on its link.
func (r *Router) serves(e *edge) bool {
	return len(r.dialects) > int(link.FormJSON) && e.outbox.link.SDK()
}

var errNoFeature = &violation{link.CodeProtocol, "a Client or a Keep without the feature"}

// mayKeep returns an error if the given number of further bytes would take the edge's keeps above
// the given bound. Before Synced, mayKeep also adds these bytes to told.kept.
func (t *tables) mayKeep(more, most int) *violation {
	bytes := t.keeps + more
	if t.told != nil {
		t.told.kept += more
		bytes = t.told.kept
	}
	if more > 0 && bytes > most {
		return &violation{link.CodeLimit, fmt.Sprintf("keeps of more than %d bytes", most)}
	}
	return nil
}

// toldKeep checks the told keep of a membership. The method taking.keep checks later whether there
// is such a membership.
func (r *Router) toldKeep(e *edge, k link.Keep) *violation {
	if !r.serves(e) {
		return errNoFeature
	}
	if e.tables.told == nil {
		return &violation{link.CodeProtocol, "Keep after Synced"}
	}
	return e.tables.mayKeep(len(k.Keep), r.cfg.KeepBytes)
}

// toldHeld checks the told members of a topic.
func (r *Router) toldHeld(e *edge, h link.Held) *violation {
	if e.tables.told == nil {
		return &violation{link.CodeProtocol, "Held after Synced"}
	}
	if len(e.tables.told.keeps) > 0 {
		return &violation{link.CodeProtocol, "Held after Keep"}
	}
	if !h.Topic.Valid() {
		return &violation{link.CodeProtocol, "a topic that can not be"}
	}
	e.tables.told.members += uint64(len(h.Sessions))
	most := 0
	for form := range r.dialects {
		most = max(most, r.mostTold(link.Form(form)))
	}
	if e.tables.told.members > uint64(len(e.tables.told.sessions))*uint64(most) {
		return &violation{link.CodeProtocol, "more memberships than the sessions told can have"}
	}
	return nil
}

// synced checks the tables that an edge told. Then it begins to replace this relay's tables of the
// edge by the told ones. Topics that stay followed are not unsubscribed in between.
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

// mostTold returns the largest number of topics in which an edge may tell one session. That is two
// more than Router.most, so that there is room for own topics of the session.
func (r *Router) mostTold(form link.Form) int { return r.most[form] + 2 }

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
