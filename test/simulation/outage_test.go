package simulation

import (
	"slices"
	"time"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// outage takes Redis away from all relays twice, after everything was mended and has settled. It
// checks that clients of the same relay go on talking to each other during the second outage. It
// also checks that messages between clients of different relays come after the outages.
func (w *world) outage() {
	// In the first outage a relay may still lack publications that its edges made earlier, through
	// other relays. So servedBy checks nothing in the first outage.
	for range 2 {
		w.tracef("--- redis is away, and nothing else")
		for _, c := range w.store.brokers {
			c.lose(w.chance(50))
		}
		w.pass(3100 * time.Millisecond)
		w.servedBy(w.everyoneSpeaks())
		w.newcomers()
		w.servedBy(w.everyoneSpeaks())
		w.regain()
		w.pass(time.Second)
		w.settledOnce = true
	}
	w.pass(11 * time.Second)
	for _, t := range sortedKeys(w.model.topics) {
		w.store.elsewhere(t, "elsewhere", w.text())
	}
	w.pass(10 * time.Second)
	w.settle()
	if w.failure == "" {
		w.model.finish()
	}
}

// everyoneSpeaks sends something from every client, and lets a second pass. It returns those of the
// new frames that must be published.
func (w *world) everyoneSpeaks() (said []*frame) {
	for _, e := range w.edges {
		before := e.number
		for _, s := range e.sessions {
			w.speak(s)
			if s.endpoint == protocol.EndpointChannel {
				w.sayTo(s, pick(w, groups))
			}
		}
		for n := before + 1; n <= e.number; n++ {
			if f := w.model.edges[e.instance].frames[n]; f != nil && f.stores {
				said = append(said, f)
			}
		}
	}
	w.pass(time.Second)
	return said
}

// newcomers connects new clients to each edge that has a link: one of the chat, which joins a
// group, and one of an SDK if the edge takes such clients. A new client of the chat must not
// receive a message that its relay has already given ahead to others. For the topics in which the
// client is a member after a second, newcomers puts the IDs of these messages into session.never.
func (w *world) newcomers() {
	given := map[*relay][]*frame{}
	for _, e := range w.edges {
		for _, s := range e.sessions {
			for id := range s.had {
				if f := w.model.ids[id]; f != nil && f.stored == 0 && e.used != nil && s.interests[f.topic] != nil && s.interests[f.topic].in {
					given[e.used.relay] = append(given[e.used.relay], f)
				}
			}
		}
	}
	var all []*session
	for _, e := range w.edges {
		if e.alive && e.used != nil {
			s := w.connectTo(e, protocol.EndpointChannel)
			w.pass(100 * time.Millisecond)
			w.join(s, pick(w, groups))
			all = append(all, s)
			w.connectSDK(e, false)
		}
	}
	w.pass(time.Second)
	for _, s := range all {
		for _, f := range given[s.e.used.relay] {
			// A client that is not a member yet has a join that waits for Redis.
			if i := s.interests[f.topic]; i != nil && i.in {
				s.never[protocol.BriefID(f.s.e.instance, f.number)] = true
			}
		}
	}
}

// servedBy checks that each frame has reached every member on the sender's relay who must get it,
// and that the frame is not published yet. It also checks that every session of the chat is a
// member of some topic. A session of an SDK must be confirmed if its connect is in the log. In the
// first outage, and after a failure, servedBy checks nothing.
func (w *world) servedBy(said []*frame) {
	if !w.settledOnce || w.failure != "" {
		return
	}
	for _, f := range said {
		here := f.s.e.used
		for _, e := range w.edges {
			if here == nil || e.used == nil || e.used.relay != here.relay {
				continue
			}
			for _, s := range e.sessions {
				i := s.interests[f.topic]
				if i == nil || !i.in || i.awaits > 0 || s.sdk == nil && !f.topic.IsUser() && s.user == f.s.user {
					continue
				}
				// A client of an SDK may have subscribed again while everyone spoke.
				if s.sdk != nil && i.since.After(f.at) {
					continue
				}
				if !s.had[protocol.BriefID(f.s.e.instance, f.number)] {
					w.fail("P5: %s/%d (%s) was not given %q (to %s, number %d of %s) while redis is away", e.name, s.id, s.user, f.msg, f.topic, f.number, f.s.e.name)
					return
				}
			}
		}
		if f.stored > 0 {
			w.fail("number %d of %s was published, and redis is away", f.number, f.s.e.name)
		}
	}
	for _, e := range w.edges {
		for _, s := range e.sessions {
			in := slices.ContainsFunc(sortedKeys(s.interests), func(t protocol.Topic) bool { return s.interests[t].in })
			if s.sdk != nil {
				in = s.sdk.confirmed || len(s.sdk.frames) == 0 // no frames: no connect in the log
			}
			if !in {
				w.fail("P5: %s/%d (%s) has connected, and is in nothing, while redis is away", e.name, s.id, s.user)
			}
		}
	}
}
