package simulation

import (
	"cmp"
	"maps"
	"slices"

	"github.com/edgerelay/edgerelay/edge/gateway"
	"github.com/edgerelay/edgerelay/edge/uplink"
	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// sink gives a connection's frames to its link. After each frame it acts on the link's signals.
type sink struct {
	a *attachment
	e *edge
}

func (s sink) HandleFrame(t link.Type, body []byte) error {
	err := s.a.link.HandleFrame(t, body)
	s.e.look(s.a)
	return err
}

func (s sink) EndBatch() error { return s.a.link.EndBatch() }

// handler gives frames to the hub, and then collects what the sessions got because of these frames.
// It also sorts the tables that the edge tells to a relay. The hub's tables are maps, which would
// give another order in every run.
type handler struct {
	*gateway.Hub
	e *edge
}

func (h handler) Begin(session func(link.Session), client func(link.Client), held func(link.Held), keep func(link.Keep)) uplink.Feed {
	var sessions []link.Session
	var clients []link.Client
	var keeps []link.Keep
	var topics []link.Held
	f := h.Hub.Begin(
		func(s link.Session) { sessions = append(sessions, s) }, func(c link.Client) { clients = append(clients, c) },
		func(t link.Held) { topics = append(topics, t) }, func(k link.Keep) { keeps = append(keeps, k) },
	)
	slices.SortFunc(clients, func(a, b link.Client) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortStableFunc(keeps, func(a, b link.Keep) int { return cmp.Compare(a.Session, b.Session) })
	slices.SortFunc(sessions, func(a, b link.Session) int { return int(a.ID) - int(b.ID) })
	slices.SortStableFunc(topics, func(a, b link.Held) int {
		if a.Topic < b.Topic {
			return -1
		}
		return 1
	})
	for _, s := range sessions {
		session(s)
	}
	for _, c := range clients {
		client(c)
	}
	for _, t := range topics {
		held(t)
	}
	for _, k := range keeps {
		keep(k)
	}
	fed := &feed{Feed: f, e: h.e, a: h.e.used, names: map[uint64]protocol.Topic{}, dropped: map[protocol.Topic]protocol.Position{}}
	h.e.feeds = append(h.e.feeds, fed)
	return fed
}

func (h handler) Answer(f link.Answer) {
	h.Hub.Answer(f)
	h.e.w.model.answered(h.e, f.Number, f.Session, answerOnly, f.Text)
	h.e.collect(cause{number: f.Number, session: f.Session})
}

func (h handler) Digest() (link.Digest, bool) {
	d, comparable := h.Hub.Digest()
	if comparable {
		h.e.compared++
	}
	return d, comparable
}

type feed struct {
	*gateway.Feed
	e *edge
	a *attachment
	// names has the topics by the numbers that the relay gave them. If the edge has taken a newer
	// link into use, names lacks the numbers that come later on this link, since they have no
	// effect.
	names map[uint64]protocol.Topic
	// dropped has, by topic, the position of the last frame that the hub dropped. feed.lacks sets
	// it.
	dropped map[protocol.Topic]protocol.Position
}

func (f *feed) Topic(n link.TopicNumber) {
	delete(f.names, n.ID)
	if f.a == f.e.used {
		f.names[n.ID] = n.Topic
		if f.e.w.model.numbered(f.e, n) {
			for _, other := range f.e.feeds {
				if other != f {
					maps.DeleteFunc(other.names, func(_ uint64, t protocol.Topic) bool { return t == n.Topic })
				}
			}
		}
	}
	f.Feed.Topic(n)
}

func (f *feed) Opened(o link.Opened) {
	f.Feed.Opened(o)
	f.e.w.model.opened(f.e, o)
}

func (f *feed) Joined(j link.Joined, answer bool) {
	f.Feed.Joined(j, answer)
	if answer {
		f.e.w.model.answered(f.e, j.Number, j.Session, answerJoined, j.Text)
	}
	f.e.collect(cause{number: j.Number, session: j.Session})
}

func (f *feed) Left(l link.Left, answer bool) {
	f.Feed.Left(l, answer)
	if answer {
		f.e.w.model.answered(f.e, l.Number, l.Session, answerLeft, l.Text)
	}
	f.e.collect(cause{number: l.Number, session: l.Session})
}

func (f *feed) Publication(p link.Publication) {
	f.publication(p, chatOnly, func() { f.Feed.Publication(p) })
}

// publication handles a Publication frame or a Forms frame. For a Forms frame, p.Payload is the
// text in the form of the chat. The function bring passes the frame to the hub.
func (f *feed) publication(p link.Publication, has forms, bring func()) {
	topic := f.names[p.Topic]
	dropped := !p.Position.IsZero() && f.lacks(topic, p.Position, has)
	bring()
	f.e.collect(cause{topic: topic, position: p.Position, id: p.ID})
	if topic == "" || dropped {
		return
	}
	f.e.w.model.told(f.e, topic, p.Position)
	if p.Position.IsZero() {
		f.e.w.model.broughtFirst(f.e, topic, string(p.Payload), has)
	}
}

func (f *feed) Ahead(a link.Ahead) { f.ahead(a.Topic, a.ID, func() { f.Feed.Ahead(a) }) }

// ahead handles an Ahead frame or an AheadForms frame. The function bring passes the frame to the
// hub.
func (f *feed) ahead(number, id uint64, bring func()) {
	topic := f.names[number]
	bring()
	f.e.collect(cause{topic: topic, id: id, ahead: true})
	if topic != "" {
		f.e.w.model.broughtAhead(f.e, topic, id)
	}
}

func (f *feed) Untopic(u link.Untopic) {
	delete(f.names, u.ID)
	f.Feed.Untopic(u)
}

// The method lost returns how many publications the edge has counted as lost so far.
func (e *edge) lost() uint64 {
	return uint64(metric(e.metrics, "edgerelay_edge_publications_lost_total"))
}

func (f *feed) Gap(g link.Gap) {
	topic := f.names[g.Topic]
	want, known := uint64(0), false
	if topic != "" && !f.lacks(topic, g.Position, chatOnly) {
		want, known = f.e.w.model.gap(f.e, topic, g)
	}
	before := f.e.lost()
	f.Feed.Gap(g)
	if got := f.e.lost() - before; known && got != want {
		f.e.w.fail("P4: %s counts %d messages of %s as lost, and %d are", f.e.name, got, topic, want)
	}
	f.e.collect(cause{topic: topic, position: g.Position, gap: true})
}
