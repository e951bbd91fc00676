package router

import (
	"github.com/edgerelay/edgerelay/relay/router/dialect"
	"github.com/edgerelay/edgerelay/shared/link"
)

// confirm puts a Confirm in effect, and answers it. The session's row in the digest changes here.
// At the edge the row changes when Confirmed comes.
func (r *Router) confirm(fr *frame, places []dialect.Place) {
	s, terms := fr.session, fr.command.Terms
	r.change(s, terms.Until, terms.Keep, func(c *client) { c.confirmed, s.user = true, terms.User })
	confirmed := link.Confirmed{
		Number: fr.number, Session: s.id, Until: terms.Until, User: terms.User, Keep: terms.Keep,
	}
	for i, b := range terms.Topics {
		f := r.directory.follower(s.edge, b.Topic)
		r.enter(f)
		r.bind(s, f)
		r.setKeep(s, f, b.Keep)
		confirmed.Channels = append(confirmed.Channels, link.Channel{Topic: f.topic.number, Keep: b.Keep, Position: places[i].At})
	}
	confirmed.Text = r.verdict(fr, dialect.Verdict{Places: places})
	r.reply(s, confirmed.Text, confirmed.Append)
	r.finish(fr)
}
