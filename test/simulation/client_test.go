package simulation

import (
	"fmt"
	"slices"
	"time"

	"github.com/edgerelay/edgerelay/edge/gateway"
	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// leaveAll ends all sessions, and checks that neither an edge nor a relay keeps anything of them.
func (w *world) leaveAll() {
	if w.failure != "" {
		return
	}
	alive := 0
	for _, e := range w.edges {
		for len(e.sessions) > 0 {
			w.disconnect(e.sessions[0])
		}
		for len(e.closing) > 0 {
			w.disconnect(e.closing[0])
		}
		if e.alive {
			alive++
		}
	}
	w.pass(20 * time.Second)
	edges := 0.0
	for _, r := range w.relays {
		if !r.alive {
			continue
		}
		edges += r.gauge("edgerelay_relay_edges")
		for _, left := range []string{"sessions", "bindings", "topics"} {
			if n := r.gauge("edgerelay_relay_" + left); n != 0 {
				w.fail("P9: %s: %v %s are left", r.name, n, left)
			}
		}
		if n := len(r.broker.order); n > 0 {
			w.fail("P9: %s: %d topics are still subscribed", r.name, n)
		}
	}
	if int(edges) != alive && w.failure == "" {
		w.fail("P9: %d edges are known, %d live", int(edges), alive)
	}
	for _, e := range w.edges {
		if all, _ := e.hub.Len(); e.alive && all > 0 {
			w.fail("P9: %s: %d sessions are left", e.name, all)
		}
	}
}

// someone returns a random session that is ready, or nil if there is none.
func (w *world) someone() *session {
	var ready []*session
	for _, e := range w.edges {
		for _, s := range e.sessions {
			if s.ready {
				ready = append(ready, s)
			}
		}
	}
	if len(ready) == 0 {
		return nil
	}
	return pick(w, ready)
}

// topic returns a random topic that sessions can follow.
func (w *world) topic() protocol.Topic {
	if w.config.sdk && w.chance(15) {
		return pick(w, news)
	}
	switch w.rnd.IntN(3) {
	case 0:
		return protocol.UserTopic(pick(w, users))
	case 1:
		return protocol.GroupTopic(pick(w, groups))
	}
	return protocol.All
}

// text returns a text that was not used before.
func (w *world) text() string {
	w.model.texts++
	return fmt.Sprint("#", w.model.texts)
}

// populate gives an edge its first clients once the edge has had a link.
func (w *world) populate(e *edge) {
	w.after(50*time.Millisecond, func() {
		if _, ever := e.links.Linked(); !ever && e.alive {
			w.populate(e)
			return
		}
		if !w.config.skew || w.chance(50) {
			for range 2 {
				w.connectSDK(e, false)
			}
		}
		for range 3 {
			s := w.connectTo(e, protocol.EndpointChannel)
			if s != nil && w.chance(70) {
				w.after(20*time.Millisecond, func() { w.join(s, "g") })
			}
		}
	})
}

// connect opens a session on a random living edge. It does nothing if there is no such edge, or if
// the edge has 12 sessions already, or has not had a link yet.
func (w *world) connect() {
	if e := w.edge(); e != nil && len(e.sessions) < 12 {
		w.connectTo(e, pick(w, []protocol.Endpoint{
			protocol.EndpointChannel, protocol.EndpointChannel, protocol.EndpointChannel, protocol.EndpointUser, protocol.EndpointGroup, protocol.EndpointAll,
		}))
	}
}

func (w *world) connectTo(e *edge, at protocol.Endpoint) *session {
	now, ever := e.links.Linked()
	if !ever || !e.alive {
		return nil // an edge answers 503 before its first link
	}
	s := &session{e: e, user: pick(w, users), endpoint: at, ready: !now}
	if at == protocol.EndpointGroup {
		s.group = pick(w, groups)
	}
	s.Session = gateway.NewSession(link.Session{Endpoint: at, User: s.user, Group: s.group}, 1<<20)
	w.model.connected(s)
	e.hub.Open(s.Session, e.links)
	s.id = s.Info().ID
	e.sessions = append(e.sessions, s)
	w.tracef("%s/%d: %s connects, endpoint %d %s", e.name, s.id, s.user, at, s.group)
	w.after(2*time.Second, func() { s.ready = true })
	return s
}

func (w *world) disconnect(s *session) {
	e := s.e
	w.tracef("%s/%d: %s goes", e.name, s.id, s.user)
	s.gone = true
	e.ended = append(e.ended[max(0, len(e.ended)-20):], s)
	w.left(s)
	other := func(o *session) bool { return o == s }
	e.sessions, e.closing = slices.DeleteFunc(e.sessions, other), slices.DeleteFunc(e.closing, other)
	_, before := e.hub.Len()
	e.hub.End(s.Session, e.links)
	// The hub forgets an ended session at once if no relay was told of it and the log has none of
	// its messages. Otherwise the hub keeps the session, and the log gives a number to its end.
	if _, dead := e.hub.Len(); dead > before {
		e.number++
	}
}

// say picks a session that is ready, and sends something from its client. If no session is ready,
// nothing happens.
func (w *world) say() {
	if s := w.someone(); s != nil {
		w.speak(s)
	}
}

func (w *world) speak(s *session) {
	if s.sdk != nil {
		w.publish(s)
		return
	}
	text := w.text()
	if w.chance(5) {
		text += fmt.Sprintf("%0*d", w.rnd.IntN(900), 0)
	}
	one := func() *frame {
		to := pick(w, users)
		return &frame{kind: protocol.KindOne, topic: protocol.UserTopic(to), msg: text}
	}
	switch s.endpoint {
	case protocol.EndpointUser:
		f := one()
		w.send(s, f, `{"Id":"`+f.topic.Name()+`","Msg":"`+text+`"}`)
		return
	case protocol.EndpointGroup:
		w.send(s, &frame{kind: protocol.KindGroup, topic: protocol.GroupTopic(s.group), msg: text}, text)
		return
	case protocol.EndpointAll:
		w.send(s, &frame{kind: protocol.KindAll, topic: protocol.All, msg: text}, text)
		return
	}
	switch n := w.rnd.IntN(100); {
	case n < 35:
		f := one()
		w.send(s, f, `{"Method":"One","MsgBody":{"Id":"`+f.topic.Name()+`","Msg":"`+text+`"}}`)
	case n < 75:
		w.sayTo(s, pick(w, groups))
	case n < 95:
		w.send(s, &frame{kind: protocol.KindAll, topic: protocol.All, msg: text}, `{"MsgBody":"`+text+`"}`)
	default:
		w.send(s, &frame{}, "{")
	}
}

// command sends a subscribe or an unsubscribe from a client of an SDK, and a join or a leave from a
// client on /chat/channel. For other clients it does nothing.
func (w *world) command(s *session) {
	if s.sdk != nil {
		w.subscribe(s)
		return
	}
	if s.endpoint != protocol.EndpointChannel {
		return
	}
	g := pick(w, groups)
	if w.chance(60) {
		w.join(s, g)
		return
	}
	w.quit(s, g)
}

func (w *world) sayTo(s *session, g string) {
	text := w.text()
	w.send(s, &frame{kind: protocol.KindGroup, topic: protocol.GroupTopic(g), msg: text}, `{"Method":"Group","Group":"`+g+`","MsgBody":"`+text+`"}`)
}

func (w *world) quit(s *session, g string) {
	w.send(s, &frame{kind: protocol.KindLeave, topic: protocol.GroupTopic(g), msg: protocol.LeaveText(s.user, g)}, `{"Method":"LeaveGroup","Group":"`+g+`"}`)
}

func (w *world) join(s *session, g string) {
	w.send(s, &frame{kind: protocol.KindJoin, topic: protocol.GroupTopic(g), msg: protocol.JoinText(s.user, g)}, `{"Method":"UserGroup","Group":"`+g+`"}`)
}

// send appends a client's frame to the log of the client's edge. It does nothing if the session is
// gone or the log has no room.
func (w *world) send(s *session, f *frame, payload string) {
	if s.gone || !s.e.links.Accept(s.id, []byte(payload)) {
		return
	}
	w.model.accepted(s, f)
	w.tracef("%s/%d: %s says, as number %d: %.80s", s.e.name, s.id, s.user, f.number, payload)
}
