package router

import (
	"fmt"
	"slices"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// The functions here play the clients of SDKs at a testEdge. These clients speak the dialect of
// lines_test.go.

// guest adds a session that is told as a Client, and is not confirmed.
func (e *testEdge) guest(id uint64) { e.tellClient(link.Client{ID: id}) }

func (e *testEdge) tellClient(c link.Client) {
	e.sessions[c.ID] = link.Session{ID: c.ID, User: c.User}
	e.clients[c.ID] = c
	e.heard++
	e.send(c)
}

// client adds a session to the tables that the edge tells on its next link. The session is
// confirmed, and is a member of some topics.
func (e *testEdge) client(id uint64, user string, topics ...protocol.Topic) {
	e.sessions[id] = link.Session{ID: id, User: user}
	e.clients[id] = link.Client{ID: id, User: user, Confirmed: true}
	for _, t := range topics {
		if e.topics[t] == nil {
			e.topics[t] = &heldTopic{}
		}
		e.topics[t].members = append(e.topics[t].members, id)
	}
}

// keepRows returns the Keeps that the edge tells.
func (e *testEdge) keepRows() (rows []any) {
	for _, id := range sorted(e.clients) {
		for _, name := range sorted(e.topics) {
			if keep := e.keeps[ofMember{id, name}]; len(keep) > 0 && slices.Contains(e.topics[name].members, id) {
				rows = append(rows, link.Keep{Session: id, Topic: name, Keep: keep})
			}
		}
	}
	return rows
}

// setKeep notes the keep of a membership.
func (e *testEdge) setKeep(id uint64, name protocol.Topic, keep []byte) {
	delete(e.keeps, ofMember{id, name})
	if _, ok := e.sessions[id]; ok && len(keep) > 0 {
		e.keeps[ofMember{id, name}] = slices.Clone(keep)
	}
}

// bindAt binds a session that begins at a place. If the topic is further at this edge, the member
// is late: the newest link brings what it lacks.
func (e *testEdge) bindAt(topic, session uint64, at protocol.Position) {
	e.bind(topic, session)
	name := e.names[topic]
	switch h := e.topics[name]; {
	case h == nil || at.IsZero() || at.IsUnplaced():
	case at.Offset > 0 && h.position.Before(at):
		e.w.t.Errorf("%s: session %d is bound to %s at %v, and the edge is at %v", e.node, session, name, at, h.position)
	case at.Before(h.position) && e.clients[session].ID != 0:
		e.late[ofMember{session, name}] = at
	}
}

// giveAhead notes which clients of SDKs are given a message ahead.
func (e *testEdge) giveAhead(name protocol.Topic, id uint64) {
	if e.had[id] == nil {
		e.had[id] = map[ofMember]bool{}
	}
	for _, s := range e.topics[name].members {
		e.had[id][ofMember{s, name}] = true
	}
}

// giveOthers gives a publication to those clients of SDKs that were not given it ahead. They became
// members later.
func (e *testEdge) giveOthers(name protocol.Topic, f link.Forms) {
	for _, s := range e.topics[name].members {
		m := ofMember{s, name}
		if _, late := e.late[m]; e.clients[s].ID != 0 && !e.had[f.ID][m] && !late {
			e.giveOne(s, f.Except, f.Texts)
		}
	}
}

// endLate ends the sessions of late members. It is called when the edge links anew, since only the
// link that has bound them brings what they lack.
func (e *testEdge) endLate() {
	for _, id := range sorted(e.clients) {
		for _, name := range sorted(e.topics) {
			m := ofMember{id, name}
			if _, late := e.late[m]; late && !e.dead[id] {
				e.end(id)
			}
			delete(e.late, m)
		}
	}
}

// giveLate gives late members a publication that the topic's other members have had.
func (e *testEdge) giveLate(name protocol.Topic, f link.Forms) {
	h := e.topics[name]
	for _, id := range h.members {
		m := ofMember{id, name}
		at, late := e.late[m]
		if !late || !at.Before(f.Position) {
			continue
		}
		e.giveOne(id, f.Except, f.Texts)
		if e.late[m] = f.Position; !f.Position.Before(h.position) {
			delete(e.late, m)
		}
	}
}

func (e *testEdge) unbind(name protocol.Topic, id uint64) {
	delete(e.keeps, ofMember{id, name})
	delete(e.late, ofMember{id, name})
	h := e.topics[name]
	h.members = without(h.members, id)
}

// give gives each living member of a topic the text in the member's form, if there is one. Sessions
// of the chat whose user is the parameter except are left out. Late members are left out of what
// has a position.
func (e *testEdge) give(name protocol.Topic, positioned bool, except string, texts []link.Rendering) {
	h := e.topics[name]
	for _, id := range h.members {
		if _, late := e.late[ofMember{id, name}]; !late || !positioned {
			e.giveOne(id, except, texts)
		}
	}
}

func (e *testEdge) giveOne(id uint64, except string, texts []link.Rendering) {
	form := link.FormChat
	if _, client := e.clients[id]; client {
		form = link.FormJSON
	}
	i := slices.IndexFunc(texts, func(t link.Rendering) bool { return t.Form == form })
	if e.dead[id] || i < 0 || form == link.FormChat && except != "" && e.sessions[id].User == except {
		return
	}
	e.received[id] = append(e.received[id], string(texts[i].Text))
}

// drainLater counts a text for a client. If it is a long answer, the relay is told Drained at once,
// or later by drain if e.undrained is not nil.
func (e *testEdge) drainLater(session uint64, text []byte) {
	if _, client := e.clients[session]; !client || !link.IsLong(text) {
		return
	}
	d := link.Drained{Session: session, Bytes: uint64(len(text))}
	if e.undrained == nil {
		e.send(d)
		return
	}
	*e.undrained = append(*e.undrained, d)
}

// takeForms counts a Forms or an AheadForms in testEdge.kinds. If the edge lacks the feature, such
// a frame fails the test.
func (e *testEdge) takeForms(kind string, texts []link.Rendering) {
	if e.early {
		e.w.t.Errorf("%s: %s on a link without the feature", e.node, kind)
	}
	for _, t := range texts {
		kind += fmt.Sprint(" ", t.Form)
	}
	e.kinds[kind]++
}

// takeOfClient takes a frame about a session that was told as a Client.
func (e *testEdge) takeOfClient(t link.Type, body []byte) {
	if e.early {
		e.w.t.Errorf("%s: frame %x on a link without the feature", e.node, t)
	}
	switch t {
	case link.TypeConfirmed:
		f := must(link.ParseConfirmed(body))
		if c, ok := e.clients[f.Session]; ok {
			c.Confirmed, c.User, c.Until, c.Keep = true, f.User, f.Until, slices.Clone(f.Keep)
			e.clients[f.Session] = c
			e.sessions[f.Session] = link.Session{ID: f.Session, User: f.User}
		}
		for _, ch := range f.Channels {
			e.bindAt(ch.Topic, f.Session, ch.Position)
			e.setKeep(f.Session, e.names[ch.Topic], ch.Keep)
		}
		e.answer(f.Number, f.Session, f.Text)
	case link.TypeRefreshed:
		f := must(link.ParseRefreshed(body))
		if c, ok := e.clients[f.Session]; ok {
			c.Until, c.Keep = f.Until, slices.Clone(f.Keep)
			e.clients[f.Session] = c
		}
		e.answer(f.Number, f.Session, f.Text)
	case link.TypeBound:
		f := must(link.ParseBound(body))
		e.bindAt(f.Topic, f.Session, f.Position)
		e.setKeep(f.Session, e.names[f.Topic], f.Keep)
		e.answer(f.Number, f.Session, f.Text)
	case link.TypeAnswered:
		f := must(link.ParseAnswered(body))
		e.answerOnce(link.Joined{Number: f.Number, Session: f.Session, Granted: true, Text: f.Text})
	case link.TypeUnbound:
		f := must(link.ParseUnbound(body))
		if name, ok := e.names[f.Topic]; ok {
			e.unbind(name, f.Session)
		} else {
			e.w.t.Errorf("%s: Unbound of an unknown topic", e.node)
		}
		if !e.dead[f.Session] {
			e.received[f.Session] = append(e.received[f.Session], string(f.Text))
		}
	case link.TypeClose:
		f := must(link.ParseClose(body))
		e.closes[f.Session] = append(e.closes[f.Session], f)
	}
	if kept := e.kept(); e.most > 0 && kept > e.most {
		e.w.t.Errorf("%s: %d bytes of keeps behind frame %x", e.node, kept, t)
	}
}

// kept returns the number of bytes of all keeps.
func (e *testEdge) kept() (n int) {
	for _, c := range e.clients {
		n += len(c.Keep)
	}
	for _, k := range e.keeps {
		n += len(k)
	}
	return n
}
