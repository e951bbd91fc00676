package router

import (
	"maps"
	"slices"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/router/dialect"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// A publish with dialect.Command.Answered set is answered when it is published. But a relay may
// have refused it on an earlier link, and the edge may not have received the refusal. If later
// frames of the edge have been published to the same topic since then, the broker takes a replay of
// the refused publish for a duplicate, though the publish was never carried out.
//
// So if the broker takes such a replay for a duplicate, the replay is doubted, and looked up in
// history. If history does not have it, nobody knows whether it was published, and the client is
// told so.

// lookup looks for doubted frames of one edge and topic in the topic's history.
type lookup struct {
	edge   *edge
	topic  protocol.Topic
	frames map[uint64]*frame // that the present reading looks for, by number
	next   []*frame          // doubted after the reading began; the next reading looks for them
}

// doubtful reports whether a frame must be looked up if the broker takes it for a duplicate.
func (fr *frame) doubtful() bool {
	return fr.again && fr.command.Answered && fr.effect < effectGranted
}

// mayBePublished reports whether a frame that this relay refuses may have been published on an
// earlier link. A refusal for good would not be true then. Frames of the chat do not count, since
// they are not answered when they are published.
func (fr *frame) mayBePublished() bool { return fr.doubtful() && fr.session.client() != nil }

// doubt begins to look up a frame.
func (r *Router) doubt(fr *frame) {
	fr.doubted = true
	in := &fr.session.edge.inbox
	l := in.lookups[fr.topic()]
	if l == nil {
		l = &lookup{edge: fr.session.edge, topic: fr.topic(), frames: map[uint64]*frame{}}
		if in.lookups == nil {
			in.lookups = make(map[protocol.Topic]*lookup)
		}
		in.lookups[l.topic] = l
	}
	if l.next = append(l.next, fr); len(l.frames) == 0 && len(l.next) == 1 {
		r.after(0, func() { r.lookUp(l) }) // one call for all frames that this step doubts
	}
}

// ended reports whether the frames of l are forgotten or answered.
func (l *lookup) ended() bool { return l.edge.inbox.lookups[l.topic] != l }

// lookUp begins to read history for the frames in lookup.next. If there are none, l ends.
func (r *Router) lookUp(l *lookup) {
	if l.ended() {
		return
	}
	if len(l.next) == 0 {
		if delete(l.edge.inbox.lookups, l.topic); len(l.edge.inbox.lookups) == 0 {
			l.edge.inbox.lookups = nil // frees the memory, since a map does not shrink
		}
		return
	}
	for _, fr := range l.next {
		l.frames[fr.number] = fr
	}
	l.next = nil
	r.readFor(l, protocol.Position{})
}

func (r *Router) readFor(l *lookup, after protocol.Position) {
	r.brk.ReadHistory(l.topic, after, r.requests.ask(l))
}

// lookedUp takes a page of history that a lookup has asked for.
func (r *Router) lookedUp(l *lookup, ev broker.History) {
	switch {
	case l.ended():
		return
	case ev.Err != nil:
		r.after(retryMost, func() {
			if !l.ended() {
				r.readFor(l, protocol.Position{})
			}
		})
		return
	}
	for _, p := range ev.Publications {
		if fr := l.frames[p.Number]; fr != nil && p.Instance == l.edge.instance {
			delete(l.frames, p.Number)
			fr.doubted = false
			r.finishPublished(fr)
		}
	}
	if ev.More && len(l.frames) > 0 {
		r.readFor(l, ev.Through)
		return
	}
	for _, number := range slices.Sorted(maps.Keys(l.frames)) {
		fr := l.frames[number]
		delete(l.frames, number)
		r.m.dropped("unsure", 1)
		r.answer(fr, r.verdict(fr, dialect.Verdict{Reason: dialect.Unsure}))
		r.finish(fr)
	}
	r.lookUp(l)
}
