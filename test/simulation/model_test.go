package simulation

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/edgerelay/edgerelay/edge/gateway"
	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// model is what must be true, kept beside the cluster by one who sees all: which frames were accepted, what the broker stored in which order, and for each session what of it
// it must, may and must not receive. It is told what happens as it happens, and fails the run at the first broken promise.
type model struct {
	w      *world
	edges  map[protocol.Instance]*numbered
	topics map[protocol.Topic]*stream
	texts  int                          // given
	ids    map[uint64]*frame            // of the frames that are to be published
	unsure map[protocol.Topic]time.Time // until when a relay may have a hole that it does not know of
	lossy  bool                         // Redis has lost something
}

// numbered is the frames of one edge's boot.
type numbered struct {
	e      *edge
	frames map[uint64]*frame
	last   map[protocol.Topic]uint64 // the last one stored
	at     map[protocol.Topic]protocol.Position

	unplaced map[protocol.Topic]bool // its members' place is not known yet
	ahead    map[uint64]bool         // brought ahead, by ID
	given    uint64                  // the last one that was passed on
}

func newNumbered(e *edge) *numbered {
	return &numbered{e, map[uint64]*frame{}, map[protocol.Topic]uint64{}, map[protocol.Topic]protocol.Position{}, map[protocol.Topic]bool{}, map[uint64]bool{}, 0}
}

// frame is one that was accepted.
type frame struct {
	number   uint64
	at       time.Time // when it was accepted
	s        *session
	topic    protocol.Topic // what it is about; "": it is no command
	msg      string         // what it publishes
	kind     protocol.Kind
	interest *interest // that it changes; nil: none
	stores   bool      // it is to be published
	answers  bool      // it is to be answered
	stored   int
	storedAt time.Time // the first time
	answered int
	again    bool // Redis may have lost that it was
}

// stream is a topic as the broker stored it.
type stream struct {
	entries []*entry
	last    time.Time         // when the last one was stored
	from    int               // the first one whose history has not expired since
	bares   map[string]*entry // by text
}

type entry struct {
	index    int               // in its stream
	position protocol.Position // zero: bare
	id       uint64
	from     string
	text     string
	gone     bool // Redis lost it
	restored bool // and had it again
	at       time.Time
	flying   int  // to relays that have not yet taken note of it
	unsure   bool // bare, and while a relay may have had a hole
	unheard  bool // a relay was not brought it, and not told so
}

// session is a client's connection.
type session struct {
	*gateway.Session
	e         *edge
	id        uint64
	user      string
	endpoint  protocol.Endpoint
	group     string
	ready     bool // its connect was answered
	gone      bool // it ended, or its edge did
	interests map[protocol.Topic]*interest
	bares     map[*entry]int
	had       map[uint64]bool    // by ID: what it was given, ahead or not
	never     map[uint64]bool    // by ID: what it must not be given
	heard     map[hearing]uint64 // the number of the last one
}

// hearing is what has one order for a receiver: what one session says on one topic.
type hearing struct {
	s *session
	t protocol.Topic
}

// interest is one session's part in one topic.
type interest struct {
	own      bool      // followed from the connect on
	in       bool      // as was confirmed to it
	wants    bool      // as its last command says
	awaits   int       // commands that were not answered
	leaves   int       // of them
	came     time.Time // when it asked for it
	loose    time.Time // it came while a relay had no Redis: it may have what was published since, when it is back; zero: it did not
	expected []*expected
	next     int // behind what came last
}

type class uint8

const (
	may class = iota
	must
	mustNot
)

// expected is an entry, and whether a session is to have it.
type expected struct {
	*entry
	class   class
	excused bool // it was told that it is lost
	got     bool
}

// class says whether a session is to have what is stored now.
func (m *model) class(s *session, t protocol.Topic) class {
	i := s.interests[t]
	switch {
	case i.in && i.leaves == 0 && m.edges[s.e.instance].unplaced[t]:
		return may
	case i.in && i.leaves == 0:
		return must
	case i.own || i.awaits > 0:
		return may
	}
	return mustNot
}

func (m *model) stream(t protocol.Topic) *stream {
	s := m.topics[t]
	if s == nil {
		s = &stream{bares: map[string]*entry{}}
		m.topics[t] = s
	}
	return s
}

// connected takes note of a new session.
func (m *model) connected(s *session) {
	s.interests, s.bares = map[protocol.Topic]*interest{}, map[*entry]int{}
	s.had, s.never, s.heard = map[uint64]bool{}, map[uint64]bool{}, map[hearing]uint64{}
	for _, t := range s.endpoint.Topics(s.user, s.group) {
		i := &interest{own: true}
		s.interests[t] = i
		m.arriving(t, i, s.user)
		i.came = m.w.now
	}
}

// awaySince returns from when on there may be publications that a relay did not know while it had no Redis, at some time from came until now; zero: every relay had it.
// What is not acknowledged then may be older by the time that requests take which go wrong.
func (m *model) awaySince(came time.Time) (since time.Time) {
	for _, r := range m.w.relays {
		for _, o := range r.carrier.outages {
			if at := o.lost.Add(-5 * time.Second); (o.back.IsZero() || o.back.After(came)) && (since.IsZero() || at.Before(since)) {
				since = at
			}
		}
	}
	return since
}

// arriving lets one who comes to a topic have what is on its way to relays: it comes behind what they know of.
func (m *model) arriving(t protocol.Topic, i *interest, user string) {
	for _, e := range m.stream(t).entries {
		if e.flying == 0 || !t.IsUser() && e.from == user {
			continue
		}
		at, there := slices.BinarySearchFunc(i.expected, e.index, func(x *expected, index int) int { return x.index - index })
		switch {
		case !there && at >= i.next:
			i.expected = slices.Insert(i.expected, at, &expected{entry: e})
		case there && i.expected[at].class == mustNot:
			i.expected[at].class = may
		}
	}
}

// flies takes note that a publication is on its way to a relay (1), or no longer (-1).
func (m *model) flies(p broker.Publication, by int) {
	for _, e := range m.stream(p.Topic).entries {
		if e.position == p.Position {
			e.flying += by
		}
	}
}

// opened takes note of an answer to a connect.
func (m *model) opened(e *edge, o link.Opened) {
	for _, s := range e.sessions {
		if s.id != o.Session {
			continue
		}
		s.ready = true
		if len(o.Topics) > 0 { // else it is not bound
			for t, i := range s.interests {
				i.in = i.in || i.own
				i.loosen(m, e, t)
			}
		}
	}
}

// accepted takes note of a frame that its edge's log took.
func (m *model) accepted(s *session, f *frame) {
	e := s.e
	e.number++
	f.number, f.at, f.s = e.number, m.w.now, s
	m.edges[e.instance].frames[f.number] = f
	m.ids[protocol.BriefID(e.instance, f.number)] = f
	i := s.interests[f.topic]
	switch f.kind {
	case protocol.KindOne, protocol.KindAll:
		f.stores = true
	case protocol.KindJoin:
		if i == nil {
			i = &interest{}
			s.interests[f.topic] = i
		}
		if !i.in {
			m.arriving(f.topic, i, s.user)
			i.came, i.loose = m.w.now, time.Time{}
		}
		f.interest = i
		f.stores, f.answers = true, true
		i.wants = true
		i.awaits++
	case protocol.KindLeave:
		f.answers = true
		if i == nil {
			break
		}
		f.interest = i
		f.stores = i.wants
		i.wants = false
		i.awaits++
		i.leaves++
	case protocol.KindGroup:
		f.stores = i != nil && (i.wants || i.own)
		f.answers = !f.stores
	default:
		f.answers = true
	}
}

type answer uint8

const (
	answerOnly answer = iota
	answerJoined
	answerLeft
)

// answered takes note of an answer that an edge let pass.
func (m *model) answered(e *edge, number, session uint64, as answer) {
	f := m.edges[e.instance].frames[number]
	if f == nil || f.s.id != session {
		m.w.fail("%s: an answer to number %d, of session %d, which nobody asked for", e.name, number, session)
		return
	}
	if f.answered++; f.answered > 1 {
		m.w.fail("P2: %s: number %d was answered twice", e.name, number)
		return
	}
	want := answerOnly
	switch {
	case !f.answers:
		m.w.fail("%s: number %d (%q to %s) was answered, and is to be published only", e.name, number, f.msg, f.topic)
		return
	case f.stores && f.kind == protocol.KindJoin:
		want = answerJoined
	case f.stores && f.kind == protocol.KindLeave:
		want = answerLeft
	}
	if as != want {
		m.w.fail("%s: number %d was answered in the wrong way (%d, not %d)", e.name, number, as, want)
		return
	}
	i := f.interest
	switch {
	case i == nil:
	case f.kind == protocol.KindJoin:
		i.in = true
		i.awaits--
		i.loosen(m, e, f.topic)
	case f.kind == protocol.KindLeave:
		i.in = false
		i.awaits--
		i.leaves--
		// In force ahead of what its relay does not know yet: that comes too late for it.
		if since := m.awaySince(f.at); !since.IsZero() {
			for _, x := range i.expected[i.next:] {
				if x.at.After(since) && x.class == must {
					x.class = may
				}
			}
		}
	}
}

// stored takes note of a publication.
func (m *model) stored(p broker.Publish, at protocol.Position) {
	again := false
	if n := m.edges[p.Instance]; n != nil {
		f := n.frames[p.Number]
		switch {
		case f == nil:
			m.w.fail("number %d of %s was published, and never accepted", p.Number, n.e.name)
			return
		case !f.stores:
			m.w.fail("number %d of %s (%q to %s) was published, and is to be refused", p.Number, n.e.name, f.msg, f.topic)
			return
		case p.Topic != f.topic || p.Msg != f.msg || p.From != f.s.user:
			m.w.fail("number %d of %s was changed on its way: %+v", p.Number, n.e.name, p)
			return
		case f.stored > 0 && !f.again:
			m.w.fail("P2: number %d of %s (%q to %s) was published twice", p.Number, n.e.name, f.msg, f.topic)
			return
		case p.Number < n.last[p.Topic] && !f.again:
			m.w.fail("P1: number %d of %s (to %s) was published behind %d", p.Number, n.e.name, f.topic, n.last[p.Topic])
			return
		}
		if again = f.stored > 0; !again {
			f.storedAt = m.w.now
		}
		f.stored++
		n.last[p.Topic] = p.Number
	}
	s := m.stream(p.Topic)
	e := &entry{index: len(s.entries), position: at, id: protocol.BriefID(p.Instance, p.Number), at: m.w.now, from: p.From, text: string(protocol.AppendText(nil, p.Topic, p.From, p.Msg))}
	if m.w.now.Sub(s.last) >= m.w.config.age {
		s.from = len(s.entries)
	}
	s.entries = append(s.entries, e)
	s.last = m.w.now
	m.expect(p.Topic, e, again)
}

// expect says for each session whether it is to have an entry.
func (m *model) expect(t protocol.Topic, e *entry, again bool) {
	for _, edge := range m.w.edges {
		for _, s := range edge.sessions {
			i := s.interests[t]
			if i == nil {
				continue
			}
			c := m.class(s, t)
			if !t.IsUser() && s.user == e.from || s.had[e.id] {
				c = mustNot
			} else if c == must && (again || m.edges[edge.instance].ahead[e.id]) {
				c = may // it may have had it; or its edge had, for others: then only one whose join was published before this gets it
			}
			i.expected = append(i.expected, &expected{entry: e, class: c, got: s.had[e.id]})
		}
	}
}

// bare takes note of a publication of an original server: it is received once at most.
func (m *model) bare(t protocol.Topic, from, msg string) {
	text := string(protocol.AppendText(nil, t, from, msg))
	m.stream(t).bares[text] = &entry{from: from, text: text, at: m.w.now, unsure: m.w.now.Before(m.unsure[t])}
}

// disturbed takes note that a relay's subscription was broken, or lost something: its edges may be given what is bare before they catch up with what came before it, and get
// it again from another relay's tail.
func (m *model) disturbed(t protocol.Topic) { m.unsure[t] = m.w.now.Add(10 * time.Second) }

// unheard takes note that a relay was not brought a publication, and knows nothing of it until the next one: who connects or joins there before, may get it then.
func (m *model) unheard(t protocol.Topic, at protocol.Position) {
	for _, e := range m.stream(t).entries {
		if e.position == at {
			e.unheard = true
		}
	}
	m.disturbed(t)
}

// late reports whether an entry may come to one who was not there.
func (m *model) late(i *interest, c cause, text string) bool {
	for _, e := range m.stream(c.topic).entries {
		if e.position == c.position && e.text == text {
			return i.isLoose(e) || e.unheard || m.stale(e)
		}
	}
	return false
}

// stale reports whether an entry may come to one who came when Redis had lost it: Redis had it again, and who came meanwhile is at no position; or it is in the tail of a relay that has no Redis,
// and does not know that it is lost.
func (m *model) stale(e *entry) bool {
	return e.restored || e.gone && !m.awaySince(m.w.now).IsZero()
}

// isLoose reports whether an entry is of the time without Redis in which one came.
func (i *interest) isLoose(e *entry) bool { return !i.loose.IsZero() && e.at.After(i.loose) }

// told takes note of a topic's position at an edge.
func (m *model) told(e *edge, t protocol.Topic, at protocol.Position) {
	n := m.edges[e.instance]
	if n.at[t].Before(at) {
		n.at[t] = at
	}
}

// numbered takes note of a topic's number, and of the place that its members are told.
func (m *model) numbered(e *edge, n link.TopicNumber) {
	known := m.edges[e.instance]
	known.unplaced[n.Topic] = n.Position == protocol.Unplaced
	if !slices.ContainsFunc(e.sessions, func(s *session) bool { i := s.interests[n.Topic]; return i != nil && i.in }) {
		delete(known.at, n.Topic) // whoever was there has gone
	}
	if n.Position != protocol.Unplaced {
		m.told(e, n.Topic, n.Position)
	}
}

// loosen takes note that a session has come to a topic, perhaps while a relay had no Redis. Its place in a group is looked for before what its edge had published there, and does not
// know of: of a link that was half open that may be long ago.
func (i *interest) loosen(m *model, e *edge, t protocol.Topic) {
	if !i.loose.IsZero() {
		return
	}
	i.loose = m.awaySince(i.came)
	if i.loose.IsZero() || !t.IsGroup() {
		return
	}
	for number, f := range m.edges[e.instance].frames {
		if number > e.acked && f.stored > 0 && f.topic == t && !i.loose.Before(f.storedAt) {
			i.loose = f.storedAt.Add(-1)
		}
	}
}

// broughtAhead takes note that an edge was brought what is not published, and has given it to its members: from then on it gives it to nobody.
func (m *model) broughtAhead(e *edge, t protocol.Topic, id uint64) {
	n := m.edges[e.instance]
	f := m.ids[id]
	if f == nil || f.topic != t {
		m.w.fail("%s: was given ahead what nobody said on %s", e.name, t)
		return
	}
	if n.ahead[id] {
		return
	}
	n.ahead[id] = true
	given := n.given == id
	for _, s := range e.sessions {
		i := s.interests[t]
		if i == nil || s.had[id] {
			continue
		}
		if given && i.in && i.leaves == 0 && (t.IsUser() || f.s.user != s.user) {
			m.w.fail("P4: %s/%d (%s) was not given ahead what others of its edge were: %q on %s", e.name, s.id, s.user, f.msg, t)
			return
		}
		for _, x := range i.expected {
			if x.id == id {
				x.class = mustNot
			}
		}
	}
}

// gap takes note that an edge was told of a loss.
func (m *model) gap(e *edge, t protocol.Topic, g link.Gap) {
	at := m.edges[e.instance].at[t]
	if !at.Before(g.Position) {
		return
	}
	m.w.tracef("%s: %d lost on %s up to %v", e.name, g.Lost, t, g.Position)
	s := m.stream(t)
	if !m.lossy && at.Epoch == g.Position.Epoch {
		// During a move the link that is left may have brought some of it since the tables were told: then it is told as lost what was not.
		lost := g.Position.Offset - at.Offset
		if g.Lost < lost || g.Lost > lost && !e.used.byMove {
			m.w.fail("P4: %s: %d messages of %s were told to be lost between %v and %v", e.name, g.Lost, t, at, g.Position)
			return
		}
		for i, entry := range s.entries {
			kept := i >= s.from && len(s.entries)-i <= m.w.config.history && m.w.now.Sub(s.last) < m.w.config.age
			if kept && at.Before(entry.position) && !g.Position.Before(entry.position) {
				m.w.fail("P4: %s: %q on %s was told to be lost, and is in the history", e.name, entry.text, t)
				return
			}
		}
	}
	for _, s := range e.sessions {
		i := s.interests[t]
		if i == nil {
			continue
		}
		for _, x := range i.expected[i.next:] {
			if !g.Position.Before(x.position) {
				x.excused = true
			}
		}
	}
	m.told(e, t, g.Position)
}

// delivered takes note of what a client was sent.
func (m *model) delivered(s *session, c cause, text string) {
	fail := func(promise, what string) {
		m.w.fail("%s: %s/%d (%s) got %q (on %s at %v), %s", promise, s.e.name, s.id, s.user, text, c.topic, c.position, what)
	}
	switch {
	case c.topic == "":
		m.deliveredAnswer(s, c, text, fail)
	case c.gap:
		if text != protocol.LostText(c.topic) {
			fail("P4", "which does not tell of a loss")
		}
	case s.interests[c.topic] == nil:
		fail("P6", "and has nothing to do with that topic")
	case c.id != 0 && !m.once(s, c, fail):
	case c.ahead:
		m.deliveredAhead(s, c, text, fail)
	case c.position.IsZero():
		m.deliveredBare(s, c, text, fail)
	default:
		m.deliveredEntry(s, c, text, fail)
	}
}

// once checks that what came had not come before, ahead of its publication or otherwise, and that nothing has come that its sender said later.
func (m *model) once(s *session, c cause, fail func(promise, what string)) bool {
	if s.had[c.id] {
		fail("P2", "a second time")
		return false
	}
	if s.never[c.id] {
		fail("P6", "which was given ahead before it came")
		return false
	}
	s.had[c.id] = true
	f := m.ids[c.id]
	if f == nil {
		return true // it is from elsewhere
	}
	h := hearing{f.s, c.topic}
	if f.number < s.heard[h] && !m.mayComeLate(s, c, f) {
		fail("P1", fmt.Sprintf("which is number %d, behind number %d", f.number, s.heard[h]))
		return false
	}
	s.heard[h] = f.number
	return true
}

// mayComeLate reports whether a message may come behind what its sender said later: it was told as lost; Redis has lost it, and got it again, or a relay does not know that, and it comes to one who was not there the
// first time; or it was published before this one came, and is given ahead by a relay that has not heard that it was.
func (m *model) mayComeLate(s *session, c cause, f *frame) bool {
	list := s.interests[c.topic].expected
	n := slices.IndexFunc(list, func(x *expected) bool { return x.id == c.id })
	switch {
	case f.stored > 1:
		return true
	case n < 0:
		at := slices.IndexFunc(m.stream(c.topic).entries, func(e *entry) bool { return e.id == c.id })
		return c.ahead && f.stored > 0 || at >= 0 && m.stale(m.stream(c.topic).entries[at])
	}
	return list[n].excused || c.ahead && list[n].class != must
}

// deliveredAhead checks what came before it was published, or at least before this edge knows.
func (m *model) deliveredAhead(s *session, c cause, text string, fail func(promise, what string)) {
	f, i := m.ids[c.id], s.interests[c.topic]
	switch {
	case f == nil || f.topic != c.topic || text != string(protocol.AppendText(nil, f.topic, f.s.user, f.msg)):
		fail("P2", "ahead, which nobody said")
	case !f.stores:
		fail("P2", "ahead, which is to be refused")
	case !c.topic.IsUser() && f.s.user == s.user:
		fail("P6", "ahead, from itself")
	case m.edges[s.e.instance].ahead[c.id]:
		fail("P6", "ahead, which its edge was given before")
	case !i.own && !i.in && i.awaits == 0:
		fail("P6", "ahead, and had been told that it has left")
	}
	m.edges[s.e.instance].given = c.id
	for _, x := range i.expected {
		if x.id == c.id {
			x.got = true
		}
	}
}

func (m *model) deliveredAnswer(s *session, c cause, text string, fail func(promise, what string)) {
	f := m.edges[s.e.instance].frames[c.number]
	if f == nil || c.session != s.id {
		fail("P2", "an answer that is not for it")
		return
	}
	group := f.topic.Name()
	ok := strings.HasPrefix(text, "error: ")
	switch {
	case f.stores && f.kind == protocol.KindJoin:
		ok = text == protocol.JoinText(s.user, group)
	case f.stores && f.kind == protocol.KindLeave:
		ok = text == protocol.LeaveText(s.user, group)
	case f.kind == protocol.KindLeave || f.kind == protocol.KindGroup:
		ok = ok || text == protocol.NotInText(s.user, group) || text == protocol.NotExistsText(group)
	}
	if !ok {
		fail("P2", "which does not answer its frame")
	}
}

func (m *model) deliveredBare(s *session, c cause, text string, fail func(promise, what string)) {
	e := m.stream(c.topic).bares[text]
	if e == nil {
		fail("P2", "which nobody published")
		return
	}
	// A relay to which the edge has linked since may have been brought it later than the one before.
	relinked := s.e.used != nil && s.e.used.began.After(e.at)
	if s.bares[e]++; s.bares[e] > 1 && !e.unsure && !relinked {
		fail("P2", "a second time")
	}
	if m.class(s, c.topic) == mustNot {
		fail("P6", "and is not a member")
	}
}

// deliveredEntry checks that what came is the next of what was stored that is to come.
func (m *model) deliveredEntry(s *session, c cause, text string, fail func(promise, what string)) {
	i := s.interests[c.topic]
	find := func(from, to int) int {
		for n := from; n < to; n++ {
			if x := i.expected[n]; x.position == c.position && x.text == text {
				return n
			}
		}
		return -1
	}
	n := find(i.next, len(i.expected))
	switch {
	case n < 0 && find(0, i.next) >= 0:
		x := i.expected[find(0, i.next)]
		switch {
		case x.got:
			fail("P2", "a second time")
		case !x.gone:
			fail("P1", "behind what was published later")
		}
		x.got = true
		return
	case n < 0 && m.late(i, c, text):
		return
	case n < 0:
		fail("P6", "which was not published while it was there")
		return
	case m.edges[s.e.instance].ahead[c.id] && i.expected[n].class == mustNot:
		fail("P6", "which its edge was given ahead before")
		return
	case !c.topic.IsUser() && i.expected[n].from == s.user:
		fail("P6", "from itself")
		return
	case i.expected[n].class == mustNot && !i.expected[n].unheard && !i.expected[n].gone && !i.isLoose(i.expected[n].entry):
		fail("P6", "which is not for it")
		return
	case !i.own && !i.in && i.awaits == 0 && !i.expected[n].unheard:
		fail("P6", "and had been told that it has left")
		return
	}
	for _, x := range i.expected[i.next:n] {
		// What was at the end of an epoch that Redis lost, and has left the history since, is not known to anybody.
		unknown := m.lossy && x.position.Epoch < c.position.Epoch
		if x.class == must && !x.got && !x.excused && !x.gone && !unknown {
			fail("P4", "and never "+x.text+" at "+x.position.String()+" before it")
			return
		}
	}
	i.expected[n].got = true
	i.next = n + 1
}

// lose takes note that Redis lost what it had beyond the first stored publications of each topic, and the marks of that time.
func (m *model) lose(kept map[protocol.Topic]int) {
	m.lossy = true
	for t, s := range m.topics {
		for n, e := range s.entries {
			e.restored = e.restored || e.gone && n < kept[t]
			e.gone = e.gone || n >= kept[t]
		}
	}
	for _, n := range m.edges {
		for _, f := range n.frames {
			f.again = true
		}
	}
}

// caughtUp checks that after a while everybody has what the relays know of, though nothing more was published.
func (m *model) caughtUp() {
	for _, e := range m.w.edges {
		for _, s := range e.sessions {
			for _, t := range sortedKeys(s.interests) {
				i := s.interests[t]
				for _, x := range i.expected[i.next:] {
					if x.class == must && !x.got && !x.excused && !x.gone && !x.unheard {
						m.w.fail("P4: %s/%d (%s) has not got %q (on %s at %v), nor been told that it is lost", e.name, s.id, s.user, x.text, t, x.position)
					}
				}
			}
		}
	}
}

// finish checks what must be true in the end, when everything was mended and had time.
func (m *model) finish() {
	for _, e := range m.w.edges {
		if !e.alive {
			continue
		}
		if left := e.left(); left > 0 {
			m.w.fail("P2: %s: %d messages were never acknowledged", e.name, left)
		}
		if e.compared == 0 {
			m.w.fail("P9: %s: its tables were never compared", e.name)
		}
		m.finishFrames(e)
		for _, s := range e.sessions {
			m.finishSession(s)
		}
	}
}

func (m *model) finishFrames(e *edge) {
	for number := uint64(1); number <= e.number; number++ {
		f := m.edges[e.instance].frames[number]
		switch {
		case f == nil: // an end
		case f.stores && f.stored == 0:
			m.w.fail("P2: %s: number %d (%q to %s) was never published", e.name, number, f.msg, f.topic)
		case f.answers && f.answered == 0 && !f.s.gone:
			m.w.fail("P2: %s: number %d (%q to %s) was never answered", e.name, number, f.msg, f.topic)
		}
	}
}

func (m *model) finishSession(s *session) {
	if reason, ended := s.Reason(); ended {
		m.w.fail("P3: %s/%d was closed: %v", s.e.name, s.id, reason)
	}
	for _, t := range sortedKeys(s.interests) {
		i := s.interests[t]
		if i.own && !i.in {
			m.w.fail("P6: %s/%d was never confirmed", s.e.name, s.id)
		}
		for _, x := range i.expected[i.next:] {
			if x.class == must && !x.got && !x.excused && !x.gone {
				m.w.fail("P4: %s/%d (%s) never got %q (on %s at %v)", s.e.name, s.id, s.user, x.text, t, x.position)
			}
		}
	}
}

// count returns how many publications of each topic there are.
func (m *model) count() map[protocol.Topic]int {
	n := map[protocol.Topic]int{}
	for t, s := range m.topics {
		n[t] = len(s.entries)
	}
	return n
}
