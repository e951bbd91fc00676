package router

import (
	"github.com/edgerelay/edgerelay/relay/router/dialect"
	"github.com/edgerelay/edgerelay/shared/link"
)

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

// change replaces the fields client.until and client.keep of s, and updates the hash for the
// digest. The given function makes further changes to the session's row.
func (r *Router) change(s *session, until int64, keep []byte, more func(*client)) {
	c, t := s.client(), &s.edge.tables
	t.sessionHash ^= s.hash()
	t.count(c, len(keep)-len(c.keep))
	c.until, c.keep = until, keep
	more(c)
	t.sessionHash ^= s.hash()
}
