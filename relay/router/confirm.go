package router

import (
	"github.com/edgerelay/edgerelay/relay/router/dialect"
	"github.com/edgerelay/edgerelay/shared/link"
)

// confirm puts a Confirm in effect, and answers it. The row of the session changes at that frame,
// on both sides.
func (r *Router) confirm(fr *frame) {
	s, terms := fr.session, fr.command.Terms
	r.change(s, terms.Until, terms.Keep, func(c *client) { c.confirmed, s.user = true, terms.User })
	confirmed := link.Confirmed{
		Number: fr.number, Session: s.id, Until: terms.Until, User: terms.User, Keep: terms.Keep,
	}
	for _, b := range terms.Topics {
		f := r.directory.follower(s.edge, b.Topic)
		r.enter(f)
		r.bind(s, f)
		r.setKeep(s, f, b.Keep)
		confirmed.Channels = append(confirmed.Channels, link.Channel{Topic: f.topic.number, Keep: b.Keep})
	}
	confirmed.Text = r.doneText(fr)
	r.send(s.edge, confirmed.Append)
	r.finish(fr)
}

// renew puts a Renew in effect, and answers it. It refuses a keep for which there is no room.
func (r *Router) renew(fr *frame) {
	s, terms := fr.session, fr.command.Terms
	if v := r.noRoomFor(s, len(terms.Keep)-len(s.client().keep)); v.Reason != dialect.Done {
		r.deny(fr, v)
		return
	}
	r.change(s, terms.Until, terms.Keep, func(*client) {})
	r.send(s.edge, link.Refreshed{
		Number: fr.number, Session: s.id, Until: terms.Until, Keep: terms.Keep, Text: r.doneText(fr),
	}.Append)
	r.finish(fr)
}

// change replaces what the edge tells of s. The function more makes further changes.
func (r *Router) change(s *session, until int64, keep []byte, more func(*client)) {
	c, t := s.client(), &s.edge.tables
	t.sessionHash ^= s.hash()
	t.count(c, len(keep)-len(c.keep))
	c.until, c.keep = until, keep
	more(c)
	t.sessionHash ^= s.hash()
}

// closed carries out a Close, whose turn has come. With code 0 its text is an answer.
func (r *Router) closed(fr *frame) {
	code, text := fr.command.Terms.Code, fr.command.Text
	if code == 0 && text != "" {
		r.answer(fr, []byte(text))
		text = ""
	}
	r.close(fr.session, code, text)
	r.finish(fr)
}

// close has the edge close a session. The frames that the edge has sent meanwhile are finished and
// not read. The session stays until its End comes.
func (r *Router) close(s *session, code uint16, reason string) {
	s.client().closing = true
	r.m.close(code)
	r.send(s.edge, link.Close{Session: s.id, Code: code, Reason: reason}.Append)
}
