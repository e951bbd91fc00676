package router

import (
	"cmp"
	"maps"
	"slices"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// follower is one edge's place in one topic. Its position says how much of the topic the edge's
// members have been sent. The edge of a live follower is sent publications when they come. A
// follower that is behind reads the publications that it misses. If the topic's tail reaches back
// far enough, the follower reads them there. Otherwise it reads them from history, page by page.
type follower struct {
	topic *topic
	edge  *edge

	position protocol.Position
	rare     *rare // nil: the zero value
	bound    int32 // members at this edge
	// If gapped is set, follower.since is the moment of the last gap. Otherwise follower.since is
	// the moment at which the first member came. That moment is 0 if the first member may have come
	// while the edge was linked to another relay.
	since   moment
	inTopic uint32 // index in its topic's crowd, if there is one
	inEdge  uint32 // index in its edge's followers

	isBehind  bool
	unread    bool // listed in its edge's catchup.unread; not valid between unlink and reset
	numbered  bool // a TopicNumber was sent on this link, and need not be sent again
	holdsLive bool // link.Live to its edge waits for this follower
	adopted   bool // its edge told this position as unplaced
	seeking   bool // its position is being looked for, see seekPlace
	gone      bool // dropped
	gapped    bool // follower.since is the moment of a gap
}

func (f *follower) live() bool { return !f.isBehind }

// served reports whether f's edge is sent publications when they come.
func (f *follower) served() bool { return !f.isBehind && f.bound > 0 && f.edge.outbox.ready }

// bindable reports whether a session can be bound at f now. The edge must have told its tables on
// its link, and the topic must be subscribed. The follower must be live, or have no members.
func (f *follower) bindable() bool {
	return f.edge.outbox.ready && f.topic.subscribed && (f.bound == 0 || !f.isBehind)
}

// enter prepares f for a member that begins at the end of the topic.
func (r *Router) enter(f *follower) { r.enterAt(f, protocol.Position{}) }

// enterAt prepares f for a member, and tells the edge the topic's number. The first member gives f
// its position:
//   - While the topic is subscribed, f begins at the given place. If that place is zero or not
//     before the top, f begins at the top instead. Members who have left may have taken f to a
//     later position already. If so, f keeps that position, so that a member who comes back is not
//     sent messages twice. If f begins before the top, f is behind.
//   - While the topic's subscription is lost, f begins at the highest position that this relay
//     knows of.
//   - Until the topic is first subscribed, f begins unplaced.
func (r *Router) enterAt(f *follower, place protocol.Position) {
	first := f.bound == 0
	earlier := false
	if first {
		t, had := f.topic, f.position
		switch {
		case t.subscribed && !place.IsZero() && place.Before(t.top):
			f.position = place
		case t.subscribed:
			f.position = t.top
		case t.placed:
			f.position = t.known()
		default:
			f.position = protocol.Unplaced(max(f.edge.inbox.numbers.arrived, f.edge.inbox.last))
		}
		if t.subscribed && !had.IsUnplaced() && f.position.Before(had) {
			f.position = had
		}
		earlier = t.subscribed && f.position.Before(t.top)
		f.isBehind = false
		f.edge.catchup.remove(f)
		f.compact()
		r.stopSeeking(f)
		f.numbered = false
		f.since, f.gapped = r.tick(), false
	}
	r.number(f)
	if first {
		r.passOver(f)
	}
	if earlier {
		r.fallBehind(f)
		r.after(0, func() { r.advance(f) })
	}
}

// number tells the edge the topic's number and f's position, unless f.numbered says that they were
// told.
func (r *Router) number(f *follower) {
	if !f.numbered && f.edge.outbox.ready {
		f.numbered = true
		r.send(f.edge, link.TopicNumber{ID: f.topic.number, Position: f.position, Topic: f.topic.name}.Append)
	}
}

// dropIfIdle handles a follower that may have no members any more. If f has none, the topic's
// number is freed on the link, and f is no longer behind. If nothing else needs f, f is forgotten.
// A connect that waits at f needs f, and so do the frames that rare.notices counts.
func (r *Router) dropIfIdle(f *follower) {
	if f.bound == 0 && f.numbered {
		f.numbered = false
		r.send(f.edge, link.Untopic{ID: f.topic.number}.Append)
	}
	if f.bound == 0 && f.isBehind {
		r.caughtUp(f)
	}
	f.compact()
	if f.bound == 0 && !f.opens() && (f.rare == nil || f.rare.notices == 0) {
		r.dropFollower(f)
	}
}

// dropFollower forgets a follower, and calls dropTopic for the follower's topic.
func (r *Router) dropFollower(f *follower) {
	if f.gone {
		return
	}
	e := f.edge
	end := len(e.followers) - 1
	last := e.followers[end]
	e.followers[f.inEdge], last.inEdge = last, f.inEdge
	e.followers[end] = nil
	e.followers = e.followers[:end]
	e.catchup.remove(f)
	f.isBehind = false
	f.compact()
	r.arrived(f)
	f.topic.clients -= f.clients()
	f.rare = nil // f may be stored in the topic, and f.rare would keep sessions in memory
	f.topic.remove(f)
	r.dropTopic(f.topic)
}

// dropTopic forgets a topic if nobody follows it, and ends its subscription. In an outage it keeps
// a topic to which messages were given ahead.
func (r *Router) dropTopic(t *topic) {
	if n := t.recent; r.outage.away && n != nil && (n.tail.ahead > 0 || n.tail.torn) {
		// Messages were given ahead to the topic. When these are published, members who came later
		// must not get them. To prevent that, passOver needs the tail. When the broker is back,
		// comeBack calls dropTopic again.
		return
	}
	if !t.followed() && r.directory.has(t) {
		delete(r.directory.topics, t.name)
		if t.placed && !t.subscribed {
			r.outage.deafened--
		}
		r.tails.drop(t)
		r.forgetComeback(t)
		r.forgetUnheard(t)
		delete(r.directory.active, t)
		r.m.topics.Dec()
		r.brk.Unsubscribe(t.name)
		if !t.subscribed {
			r.runLanes(t.name) // no follower is left for whom the lanes have to wait
		}
	}
}

// deliver sends a publication to the edge of a live follower with members. If there is no room, the
// follower falls behind.
func (r *Router) deliver(f *follower, at protocol.Position, bytes []byte) {
	if !f.served() {
		return
	}
	if !at.IsZero() && !f.position.Before(at) {
		return // the edge has it already, from another relay or from history
	}
	if !r.room(f.edge, len(bytes)) {
		r.m.behind("full")
		r.fallBehind(f)
		// Without recent state the topic has no tail, and the publication is read from history.
		if n, g := f.topic.recent, f.lag(); n != nil {
			g.inTail, g.seq, g.bareFrom = true, n.tail.last(), 0
		}
		return
	}
	r.sendPublication(f, at, bytes)
}

func (r *Router) sendPublication(f *follower, at protocol.Position, bytes []byte) {
	f.edge.outbox.frames = append(f.edge.outbox.frames, bytes...)
	r.touch(f.edge)
	r.m.delivered.Inc()
	if !at.IsZero() {
		f.position = at
	}
}

// rare is the state that few followers need: the connects, joins and leaves that wait for the
// follower, its lag while it is behind, and its members that are clients of SDKs. Most followers
// have members of the chat and nothing else, and their follower.rare is nil.
type rare struct {
	opener  *session              // session whose connect waits here; nil: none, or see openers
	openers map[*session]struct{} // used instead of opener once a second connect waits here
	lag     *lag                  // nil: the follower is not behind
	binders binders               // frames that wait to bind their sessions here
	// notices counts the joins and leaves under way. It also counts the frames that wait to bind
	// their sessions, at this follower or elsewhere. The follower is not forgotten before the count
	// is 0.
	notices int32
	clients clients // members that were told as link.Client
}

// rarely returns f.rare for changing, and creates it if it is nil.
func (f *follower) rarely() *rare {
	if f.rare == nil {
		f.rare = &rare{}
	}
	return f.rare
}

// lag returns f's lag, or nil. It is not nil while f is behind.
func (f *follower) lag() *lag {
	if f.rare == nil {
		return nil
	}
	return f.rare.lag
}

// clients returns how many members of f were told as link.Client.
func (f *follower) clients() int32 {
	if f.rare == nil {
		return 0
	}
	return int32(f.rare.clients.len())
}

// compact frees f's lag and f's rare if they are empty.
func (f *follower) compact() {
	w := f.rare
	if w == nil {
		return
	}
	if g := w.lag; g != nil && !f.isBehind && g.index == 0 && g.reading == 0 && g.echoes == nil {
		w.lag = nil
	}
	if w.lag == nil && w.opener == nil && w.openers == nil && w.notices == 0 && w.clients.len() == 0 {
		f.rare = nil
	}
}

// opens reports whether a connect waits to be bound at f.
func (f *follower) opens() bool {
	return f.rare != nil && (f.rare.opener != nil || f.rare.openers != nil)
}

// openTo makes a connect wait at f.
func (f *follower) openTo(s *session) {
	switch w := f.rarely(); {
	case w.openers != nil:
		w.openers[s] = struct{}{}
	case w.opener == nil:
		w.opener = s
	case w.opener != s:
		w.openers = map[*session]struct{}{w.opener: {}, s: {}}
		w.opener = nil
	}
}

// closeTo removes s from the connects that wait at f.
func (f *follower) closeTo(s *session) {
	w := f.rare
	if w == nil {
		return
	}
	if w.opener == s {
		w.opener = nil
	}
	if delete(w.openers, s); len(w.openers) == 0 {
		w.openers = nil
	}
	f.compact()
}

// inOrder returns the sessions whose connects wait at f, in the order of their ids, so that equal
// inputs give equal outputs.
func (f *follower) inOrder() []*session {
	switch w := f.rare; {
	case w == nil:
		return nil
	case w.opener != nil:
		return []*session{w.opener}
	default:
		return slices.SortedFunc(maps.Keys(w.openers), func(a, b *session) int { return cmp.Compare(a.id, b.id) })
	}
}

// noticed adds 1 or -1 to f's rare.notices.
func (f *follower) noticed(more int32) {
	f.rarely().notices += more
	f.compact()
}

// clients are the members of a follower that were told as link.Client. A user's topic usually has
// one such member.
type clients struct {
	one  *session // the only member; nil: none, or see clients.many
	many *many    // nil: there are fewer than two members
}

// manyIndex is the number of members at which many gets its map.
const manyIndex = 32

// many holds several members, unordered. The time to remove one hardly grows with their number.
type many struct {
	list []*session
	at   map[*session]int32 // index in list; nil until there are manyIndex members
}

func (c *clients) len() int {
	switch {
	case c.many != nil:
		return len(c.many.list)
	case c.one != nil:
		return 1
	}
	return 0
}

// all returns the members. The result is valid until the next change.
func (c *clients) all() []*session {
	switch {
	case c.many != nil:
		return c.many.list
	case c.one != nil:
		return []*session{c.one}
	}
	return nil
}

func (c *clients) add(s *session) {
	m := c.many
	switch {
	case m == nil && c.one == nil:
		c.one = s
		return
	case m == nil:
		m = &many{list: []*session{c.one}}
		c.one, c.many = nil, m
	}
	m.list = append(m.list, s)
	switch n := len(m.list); {
	case m.at != nil:
		m.at[s] = int32(n - 1)
	case n >= manyIndex:
		m.at = make(map[*session]int32, n)
		for i, s := range m.list {
			m.at[s] = int32(i)
		}
	}
}

// remove takes out s, which must be there.
func (c *clients) remove(s *session) {
	m := c.many
	if m == nil {
		c.one = nil
		return
	}
	end := len(m.list) - 1
	last := m.list[end]
	var i int
	if m.at == nil {
		i = slices.Index(m.list, s)
	} else {
		i = int(m.at[s])
		m.at[last] = int32(i)
		delete(m.at, s)
	}
	m.list[i], m.list[end] = last, nil
	if m.list = m.list[:end]; end == 1 {
		c.one, c.many = m.list[0], nil
	}
}
