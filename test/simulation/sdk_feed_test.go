package simulation

import (
	"slices"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// forms says which forms of a publication a frame has.
type forms [link.MaxForms]bool

var chatOnly = forms{link.FormChat: true}

// formsOf returns the forms of a frame, and its text for the chat.
func formsOf(texts []link.Rendering) (has forms, chat []byte) {
	for _, t := range texts {
		has[t.Form] = true
		if t.Form == link.FormChat {
			chat = t.Text
		}
	}
	return has, chat
}

// form returns the form in which a session takes publications.
func (s *session) form() link.Form {
	if s.sdk != nil {
		return link.FormJSON
	}
	return link.FormChat
}

// members returns the sessions of an edge that are in a topic. They include the sessions that the
// relay has closed and that have not ended yet.
func (e *edge) members(t protocol.Topic) (in []*session) {
	for _, s := range slices.Concat(e.sessions, e.closing) {
		if i := s.interests[t]; i != nil && i.in {
			in = append(in, s)
		}
	}
	return in
}

// lacks reports whether the hub drops a frame that came on a link which the edge is leaving. If the
// hub does, lacks notes that in f.dropped. The hub drops a frame that has no text in the form of
// some member of the topic. It also drops the frames behind a dropped frame, until the edge has the
// dropped frame's position.
func (f *feed) lacks(t protocol.Topic, at protocol.Position, has forms) bool {
	if f.a == f.e.used {
		return false
	}
	behind := f.e.w.model.edges[f.e.instance].at[t].Before(f.dropped[t])
	lacks := behind || slices.ContainsFunc(f.e.members(t), func(s *session) bool { return !has[s.form()] })
	if lacks {
		f.dropped[t] = at
	}
	return lacks
}

func (f *feed) Forms(p link.Forms) {
	has, chat := formsOf(p.Texts)
	f.publication(link.Publication{Topic: p.Topic, Position: p.Position, ID: p.ID, Payload: chat}, has, func() { f.Feed.Forms(p) })
}

func (f *feed) AheadForms(a link.AheadForms) {
	f.ahead(a.Topic, a.ID, func() { f.Feed.AheadForms(a) })
}

func (f *feed) Confirmed(n link.Confirmed, answer bool) error {
	var topics []protocol.Topic
	places := map[protocol.Topic]protocol.Position{}
	for _, c := range n.Channels {
		topics = append(topics, f.names[c.Topic])
		places[f.names[c.Topic]] = c.Position
	}
	err := f.Feed.Confirmed(n, answer)
	if err == nil {
		w := f.e.w
		w.model.confirmed(f.e, n, topics)
		w.model.placed(f.e, n.Number, places)
		f.told(n.Number, n.Session, answerConfirmed, n.Text, answer)
		f.e.readAll()
	}
	return err
}

func (f *feed) Refreshed(n link.Refreshed, answer bool) error {
	err := f.Feed.Refreshed(n, answer)
	if err == nil {
		f.e.w.model.refreshed(f.e, n)
		f.told(n.Number, n.Session, answerRefreshed, n.Text, answer)
	}
	return err
}

func (f *feed) Bound(n link.Bound, answer bool) error {
	err := f.Feed.Bound(n, answer)
	if err == nil {
		f.e.w.model.placed(f.e, n.Number, map[protocol.Topic]protocol.Position{f.names[n.Topic]: n.Position})
		f.e.w.model.kept(f.e, n, answer || f.names[n.Topic] == "")
		f.told(n.Number, n.Session, answerBound, n.Text, answer)
	}
	return err
}

// told takes note of a frame that answers the client's frame of the given number. If the parameter
// first is false, an earlier frame has answered it already, and the model is told nothing.
func (f *feed) told(number, session uint64, as answer, text []byte, first bool) {
	if first {
		f.e.w.model.answered(f.e, number, session, as, text)
	}
	f.e.collect(cause{number: number, session: session})
}

// Unbound takes note of an Unbound, which tells a client that it is no longer a member: it has lost
// messages, or its token has ended. After a loss the Gap follows.
func (f *feed) Unbound(n link.Unbound) {
	topic := f.names[n.Topic]
	code := f.e.w.model.unbound(f.e, n, topic)
	f.Feed.Unbound(n)
	f.e.collect(cause{topic: topic, session: n.Session, unsubscribed: code})
}

// Close closes a session. A session that the relay closes because of a loss goes on for a while.
func (f *feed) Close(n link.Close) {
	s := f.e.w.model.closed(f.e, n)
	f.Feed.Close(n)
	if s == nil {
		return
	}
	switch _, ending := s.Reason(); {
	case ending:
		f.e.w.closed(s)
	case n.Within > 0 && s.Leaves():
		f.e.departs(s, time.Duration(n.Within)*time.Millisecond)
	default:
		f.e.w.fail("P3: %s/%d is closed by its relay, and goes on", f.e.name, s.id)
	}
}

// strand looks for sessions whose end the edge has set, since no link will bring what they lack.
// The run fails if the field late of such a session is false.
func (e *edge) strand() {
	for _, s := range slices.Clone(e.sessions) {
		if s.sdk != nil && s.Leaves() && !s.leaving {
			if !s.late {
				e.w.fail("P3: %s/%d is closed as if it were behind", e.name, s.id)
			}
			e.w.count("closed behind its topic")
			e.w.tracef("%s/%d: %s is behind and is about to be closed", e.name, s.id, s.user)
			e.departs(s, strandedWithin)
		}
	}
}

// strandedWithin is the time within which an edge closes a session that lacks what no link brings.
const strandedWithin = 5 * time.Second

// departs plans the end of a session that is about to end. As on a real edge, it ends at a random
// moment within the given time.
func (e *edge) departs(s *session, within time.Duration) {
	if s.leaving {
		return
	}
	s.leaving = true
	e.w.after(e.w.between(0, within), func() {
		if _, ending := s.Reason(); !ending && !s.gone && e.alive {
			s.Depart()
			e.w.closed(s)
		}
	})
}

// formMissed reports whether a publication without a position may lack a form that a member needs.
// That is so if the edge moves, or if the relay has not taken all tables of the edge.
func (m *model) formMissed(e *edge) bool {
	return len(e.parting) > 0 || e.used == nil || !e.used.live
}
