package router

import (
	"slices"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// takeOld takes the frames of the link that the edge is leaving. It passes publications and gaps to
// testEdge.take if the number of their topic was told before moveTo. It keeps track of topic
// numbers, and drops all other frames.
func (e *testEdge) takeOld(frames []byte) {
	names := e.names
	e.names, e.older = e.old.names, true
	defer func() { e.names, e.older = names, false }()
	for len(frames) > 0 {
		t, body, rest, err := link.Next(frames)
		if err != nil {
			e.w.t.Fatal(err)
		}
		frames = rest
		switch t {
		// If the number of a topic is told only now, the new link serves the topic's members. The
		// topic's publications and gaps on this link are then dropped.
		case link.TypeTopic:
			e.names[must(link.ParseTopicNumber(body)).ID] = ""
		case link.TypePublication:
			if e.names[must(link.ParsePublication(body)).Topic] != "" {
				e.take(t, body)
			}
		case link.TypeForms:
			if e.names[must(link.ParseForms(body)).Topic] != "" {
				e.take(t, body)
			}
		case link.TypeGap:
			if e.names[must(link.ParseGap(body)).Topic] != "" {
				e.take(t, body)
			}
		case link.TypeUntopic:
			delete(e.names, must(link.ParseUntopic(body)).ID)
		}
	}
}

func (e *testEdge) take(t link.Type, body []byte) {
	switch t {
	case link.TypeTopic:
		f := must(link.ParseTopicNumber(body))
		e.names[f.ID] = f.Topic
		if h := e.topics[f.Topic]; h == nil {
			e.topics[f.Topic] = &heldTopic{position: f.Position}
		} else if h.position.IsUnplaced() || h.position.Before(f.Position) || e.deserted(h) {
			e.changedEpoch(h.position, f.Position)
			h.position = f.Position
		}
		e.topics[f.Topic].unplaced = f.Position.IsUnplaced()
	case link.TypeUntopic:
		f := must(link.ParseUntopic(body))
		name := e.names[f.ID]
		for _, id := range e.topics[name].members {
			if !e.dead[id] {
				e.w.t.Errorf("%s: Untopic of %s, which has member %d", e.node, name, id)
			}
		}
		// Dead sessions stay members until their End is acknowledged.
		if len(e.topics[name].members) == 0 {
			delete(e.topics, name)
		}
		delete(e.names, f.ID)
	case link.TypeOpened:
		f := must(link.ParseOpened(body))
		for _, n := range f.Topics {
			e.bind(n, f.Session)
		}
		if f.Confirmed {
			e.confirmed[f.Session] = true
		}
	case link.TypeJoined:
		f := must(link.ParseJoined(body))
		e.bind(f.Topic, f.Session)
		e.answerOnce(link.Joined(f))
	case link.TypeLeft:
		f := must(link.ParseLeft(body))
		e.unbind(e.names[f.Topic], f.Session)
		e.answerOnce(link.Joined(f))
	case link.TypeAnswer:
		f := must(link.ParseAnswer(body))
		e.answer(f.Number, f.Session, f.Text)
	case link.TypePublication:
		f := must(link.ParsePublication(body))
		e.kinds["publication"]++
		e.publication(link.Forms{
			Topic: f.Topic, Position: f.Position, ID: f.ID, Except: f.Except, Texts: []link.Rendering{{Text: f.Payload}},
		})
	case link.TypeForms:
		f := must(link.ParseForms(body))
		e.takeForms("forms", f.Texts)
		e.publication(f)
	case link.TypeAhead:
		f := must(link.ParseAhead(body))
		e.kinds["ahead"]++
		ahead := link.AheadForms{Topic: f.Topic, ID: f.ID, Except: f.Except}
		if len(f.Payload) > 0 {
			ahead.Texts = []link.Rendering{{Text: f.Payload}}
		}
		e.ahead(ahead)
	case link.TypeAheadForms:
		f := must(link.ParseAheadForms(body))
		e.takeForms("ahead forms", f.Texts)
		e.ahead(f)
	case link.TypeConfirmed, link.TypeRefreshed, link.TypeBound, link.TypeAnswered, link.TypeUnbound, link.TypeClose:
		e.takeOfClient(t, body)
	case link.TypeGranted:
		f := must(link.ParseGranted(body))
		for n := f.First; n <= f.Last; n++ {
			e.grant(n)
		}
	case link.TypeGap:
		f := must(link.ParseGap(body))
		h := e.topics[e.names[f.Topic]]
		if h == nil || !h.position.Before(f.Position) {
			return
		}
		e.changedEpoch(h.position, f.Position)
		h.position = f.Position
		for _, id := range h.members {
			if _, client := e.clients[id]; !client {
				e.received[id] = append(e.received[id], string(f.Text))
			}
		}
	case link.TypeAck:
		e.acked(must(link.ParseAck(body)))
	case link.TypeDigest:
		e.compare(must(link.ParseDigest(body)))
	case link.TypeStatus:
		e.status = must(link.ParseStatus(body)).Degraded
	case link.TypeLive:
		must(link.ParseLive(body))
		e.live++
		if old := e.old; old != nil {
			old.relay.inputs = append(old.relay.inputs, Received{old.conn, []any{link.Moved{}}})
		}
	case link.TypeDrain:
		must(link.ParseDrain(body))
		e.drains++
	case link.TypeCost:
		e.costs = append(e.costs, must(link.ParseCost(body)))
	default:
		e.w.t.Errorf("%s: unexpected frame %x", e.node, t)
	}
}

// deserted reports whether no member of a topic is alive.
func (e *testEdge) deserted(h *heldTopic) bool {
	return !slices.ContainsFunc(h.members, func(id uint64) bool { return !e.dead[id] })
}

func (e *testEdge) bind(topic, session uint64) {
	name, ok := e.names[topic]
	if !ok {
		e.w.t.Fatalf("%s: topic number %d was not told on this link", e.node, topic)
	}
	if _, ok := e.sessions[session]; !ok {
		return
	}
	h := e.topics[name]
	if !slices.Contains(h.members, session) {
		h.members = append(h.members, session)
	}
}

func (e *testEdge) answer(number, session uint64, text []byte) {
	if number <= e.through {
		e.w.t.Errorf("%s: number %d was acknowledged before its answer", e.node, number)
	}
	i := slices.IndexFunc(e.log, func(f any) bool { m, ok := f.(link.Message); return ok && m.Number == number })
	if i < 0 {
		e.w.t.Errorf("%s: answer %q to number %d, which is finished", e.node, text, number)
		return
	}
	e.log = slices.Delete(e.log, i, i+1)
	e.received[session] = append(e.received[session], string(text))
	e.drainLater(session, text)
}

func (e *testEdge) publication(f link.Forms) {
	name, ok := e.names[f.Topic]
	if !ok {
		e.w.t.Fatalf("%s: topic number %d was not told on this link", e.node, f.Topic)
	}
	e.frames[name]++
	h := e.topics[name]
	if h == nil { // the topic has no members: an Untopic on the new link has removed it
		return
	}
	if !f.Position.IsZero() {
		if !h.position.Before(f.Position) {
			if !e.older {
				e.giveLate(name, f)
			}
			return
		}
		e.changedEpoch(h.position, f.Position)
		h.position = f.Position
		had := e.given[f.ID] || e.aftermath && e.recent[f.ID]
		delete(e.given, f.ID)
		e.recent[f.ID] = true
		if had {
			e.giveOthers(name, f)
			return
		}
	}
	e.give(name, !f.Position.IsZero(), f.Except, f.Texts)
}

// changedEpoch sets aftermath if a topic goes from one epoch to another, since Redis may then have
// lost data.
func (e *testEdge) changedEpoch(from, to protocol.Position) {
	if from.Epoch != 0 && from.Epoch != to.Epoch {
		e.aftermath = true
	}
}

// ahead handles a link.AheadForms, which has a message that is given ahead, or only the message's
// ID.
func (e *testEdge) ahead(f link.AheadForms) {
	name, ok := e.names[f.Topic]
	if !ok {
		e.w.t.Fatalf("%s: topic number %d was not told on this link", e.node, f.Topic)
	}
	e.aheads++
	h := e.topics[name]
	if h == nil {
		return
	}
	had := e.given[f.ID] || e.recent[f.ID]
	e.given[f.ID] = true
	if had {
		return
	}
	if len(f.Texts) > 0 {
		e.giveAhead(name, f.ID)
	}
	e.give(name, false, f.Except, f.Texts)
}

// grant marks a message as granted. The message is in effect, and is replayed with Again set.
func (e *testEdge) grant(number uint64) {
	for i, f := range e.log {
		if m, ok := f.(link.Message); ok && m.Number == number {
			m.Again = true
			e.log[i] = m
		}
	}
}

// answerOnce takes a Joined, or a Left that was converted to a Joined. If f.Granted is set, the
// number of the client's command stays unfinished. Such an answer may come several times, and the
// client receives its text only once.
func (e *testEdge) answerOnce(f link.Joined) {
	if !f.Granted {
		e.answer(f.Number, f.Session, f.Text)
		return
	}
	if !e.answered[f.Number] {
		e.answered[f.Number] = true
		e.received[f.Session] = append(e.received[f.Session], string(f.Text))
	}
	e.drainLater(f.Session, f.Text)
	e.grant(f.Number)
}

func (e *testEdge) acked(a link.Ack) {
	if e.noAcks {
		return
	}
	if a.Through < e.through {
		e.w.t.Errorf("%s: acknowledgement went back from %d to %d", e.node, e.through, a.Through)
	}
	e.through = max(e.through, a.Through)
	done := func(n uint64) bool {
		return n <= a.Through || slices.ContainsFunc(a.Finished, func(r link.Range) bool { return r.First <= n && n <= r.Last })
	}
	e.log = slices.DeleteFunc(e.log, func(f any) bool {
		switch f := f.(type) {
		case link.Message:
			return done(f.Number)
		case link.End:
			if done(f.Number) {
				e.forget(f.Session)
				return true
			}
		}
		return false
	})
}

func (e *testEdge) forget(id uint64) {
	delete(e.sessions, id)
	delete(e.clients, id)
	delete(e.dead, id)
	for name := range e.topics {
		e.unbind(name, id)
	}
}
