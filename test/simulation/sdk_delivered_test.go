package simulation

import (
	"slices"
	"time"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// deliveredReply checks a line that came to a client of an SDK and is not a push.
func (m *model) deliveredReply(s *session, c cause, text string, fail func(promise, what string)) {
	f := m.edges[s.e.instance].frames[c.number]
	switch {
	case c.gap:
		fail("P4", "which is no text for it")
	case f == nil || f.s != s || c.session != s.id || f.sdk.text != text:
		fail("P2", "an answer that is not for it")
	case f.sdk.told:
		fail("P2", "an answer that it has got before")
	default:
		f.sdk.told = true
		m.toldClient(s, f, text)
	}
}

// toldClient takes note that a client has got the answer to a line.
func (m *model) toldClient(s *session, f *frame, text string) {
	r, _ := read(text)
	a := s.sdk.app
	switch {
	case f.sdk.method == "subscribe" && r.Subscribe != nil:
		m.took(s, f, f.topic, r.Subscribe)
		m.w.extends(s, f.topic, r.Subscribe.expiry)
	case f.sdk.method == "sub_refresh" && r.SubRefresh != nil:
		m.w.extends(s, f.topic, *r.SubRefresh)
	case f.sdk.method == "subscribe" && f.sdk.answered == 109:
		m.w.asksAnew(s, f.topic)
	case f.sdk.method == "subscribe" && f.sdk.answered == 100 && m.w.calm.IsZero():
		m.w.after(m.w.between(200*time.Millisecond, time.Second), func() {
			if !s.gone && a.trail(f.topic).wanted {
				m.w.sends(s, []line{m.w.subscribeLine(s, string(f.topic), true)})
			}
		})
	case f.sdk.method == "connect" && r.Connect != nil:
		m.w.refreshes(s, r.Connect.TTL)
		for _, t := range sortedKeys(a.trails) {
			if a.trails[t].served && r.Connect.Subs[string(t)] == nil {
				a.trails[t].served = false
				a.trails[t].recovers = a.trails[t].recovers && !a.js
			}
		}
		for _, t := range f.sdk.topics {
			a.trail(t).served, a.trail(t).wanted = true, false
			m.took(s, f, t, r.Connect.Subs[string(t)])
		}
	}
}

// pushed checks the form of a line that came to a client of an SDK because of a topic's frame. It
// returns the text that a client of the chat would get, or "" after a failure.
func (m *model) pushed(s *session, c cause, text string, fail func(promise, what string)) string {
	r, ok := read(text)
	if !ok || r.Push == nil || r.Push.Channel != string(c.topic) || r.Push.Pub == nil || r.Push.Pub.Info == nil {
		fail("P2", "which is no push of that channel")
		return ""
	}
	if i := s.interests[c.topic]; i == nil || !i.in {
		fail("P6", "and its subscribe is not answered, or its unsubscribe is")
		return ""
	}
	said, err := r.Push.Pub.said()
	if err != nil {
		fail("P2", err.Error())
		return ""
	}
	chat := string(protocol.AppendText(nil, c.topic, said.From, said.Msg))
	if !m.published(c, said, chat) {
		fail("P2", "which nobody said in this way")
		return ""
	}
	m.followed(s, c, *r.Push.Pub, fail)
	return chat
}

// published reports whether the given content may come in the frame that c describes. It may come
// if it was published at the frame's position, or if the frame gives it ahead. For a publication
// without a position, the parameter chat is its text in the form of the chat.
func (m *model) published(c cause, said protocol.Content, chat string) bool {
	t := m.stream(c.topic)
	switch {
	case c.ahead:
		f := m.ids[c.id]
		return f != nil && m.says(f, said)
	case c.position.IsZero():
		return t.bares[chat] != nil && t.bares[chat].said == said
	}
	return slices.ContainsFunc(t.entries, func(e *entry) bool { return e.position == c.position && e.said == said })
}
