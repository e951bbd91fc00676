package simulation

import (
	"time"

	"github.com/edgerelay/edgerelay/edge/gateway"
	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// model checks the cluster. It is told what happens, and fails the run when it finds a promise
// broken. It knows which frames were accepted, and in which order the broker stored publications.
// It also knows what each session must, may and must not receive.
type model struct {
	w      *world
	edges  map[protocol.Instance]*numbered
	topics map[protocol.Topic]*stream
	texts  int               // number of texts drawn so far; makes each text unique
	ids    map[uint64]*frame // accepted frames by protocol.BriefID
	lossy  bool              // Redis may have lost something: model.lose was called
}

// numbered holds the frames of one boot of an edge, by number. It also holds what the edge has been
// told of topics.
type numbered struct {
	e      *edge
	frames map[uint64]*frame
	last   map[protocol.Topic]uint64 // number of the last frame that the broker stored, by topic
	at     map[protocol.Topic]protocol.Position

	unplaced map[protocol.Topic]bool // topics whose position is not known yet at the edge
	adopted  map[protocol.Topic]bool // topics told with members and without a position on the link
	ahead    map[uint64]bool         // IDs of messages that came ahead
	aheadAt  map[uint64]time.Time    // when they came
	nobody   map[uint64]bool         // those that no client of the edge was given then
	given    uint64                  // ID of the last message that a session got ahead
}

func newNumbered(e *edge) *numbered {
	return &numbered{
		e: e, frames: map[uint64]*frame{}, last: map[protocol.Topic]uint64{}, at: map[protocol.Topic]protocol.Position{},
		unplaced: map[protocol.Topic]bool{}, adopted: map[protocol.Topic]bool{}, ahead: map[uint64]bool{}, aheadAt: map[uint64]time.Time{}, nobody: map[uint64]bool{},
	}
}

// frame is a client's frame that an edge's log accepted.
type frame struct {
	number   uint64
	at       time.Time // time of acceptance
	s        *session
	topic    protocol.Topic // "": the frame concerns no topic
	msg      string         // text to publish
	kind     protocol.Kind
	interest *interest // the interest that the frame changes; nil: none
	stores   bool      // must be published
	answers  bool      // must be answered
	stored   int
	answered int
	again    bool     // may be stored again, since Redis may have lost the frame
	sdk      *command // nil: a client of the chat sent it
}

// stream is a topic as the broker stored it.
type stream struct {
	entries []*entry
	last    time.Time         // when the last entry was stored
	from    int               // index of the first entry since the history last expired
	bares   map[string]*entry // publications of original servers, by text
	changed bool              // Redis has lost data, and has stored nothing since
	reads   []*frame          // history commands that are not answered yet
}

// withID returns the first entry with the given ID, or nil if there is none.
func (s *stream) withID(id uint64) *entry {
	for _, e := range s.entries {
		if e.id == id {
			return e
		}
	}
	return nil
}

// entry is a publication on a topic. It is bare if an original server published it: then it has no
// position, and is in stream.bares, not in stream.entries.
type entry struct {
	index    int               // index in its stream
	position protocol.Position // zero if bare
	id       uint64
	from     string
	text     string
	said     protocol.Content
	gone     bool // Redis lost it
	restored bool // Redis lost it, and then had it again
	at       time.Time
	flying   int                        // number of relays to which it is on its way
	prev     protocol.Position          // if bare: position of the entry before it
	brought  map[*relayBroker]time.Time // if bare: when it reached each relay
	holed    map[*session]bool          // if bare: sessions that got it before their edge got prev
	given    map[*edge]bool             // if bare: whether a link has brought it to the edge
	unheard  bool                       // a relay missed it, perhaps without knowing
}

// session is a client's connection.
type session struct {
	*gateway.Session
	e         *edge
	id        uint64
	user      string
	endpoint  protocol.Endpoint
	group     string
	sdk       *client // nil: a client of the chat
	ready     bool    // its upgrade was answered, with or without an Opened
	gone      bool    // the session has ended, or its edge has died
	late      bool    // an answer named a place before its edge's position in the topic
	leaving   bool    // it may lack messages, and is about to end: gateway.Session.Leaves
	interests map[protocol.Topic]*interest
	bares     map[*entry]int
	had       map[uint64]bool    // IDs of messages received, also ahead of their publications
	never     map[uint64]bool    // IDs of messages that the session must not receive
	heard     map[hearing]uint64 // number of the last message received
}

// hearing stands for all messages of session s to topic t. A receiver gets these in order.
type hearing struct {
	s *session
	t protocol.Topic
}

// interest is one session's part in one topic.
type interest struct {
	own    bool      // the session follows the topic from its connect on
	in     bool      // membership as confirmed to the client
	wants  bool      // membership that the last command asks for
	awaits int       // unanswered commands to join or leave
	leaves int       // unanswered commands to leave
	came   time.Time // when the session connected, or asked to join
	since  time.Time // of a client of an SDK: when its membership was confirmed
	ends   int64     // when its token ends, as the last answer said, in Unix seconds; 0: never
	// loose is set to the result of awaySince when the connect, the join or the subscribe is
	// answered. It is zero if every relay had Redis from the time interest.came until that answer.
	// Otherwise the session may get any publication that was stored later than loose.
	loose time.Time
	// place is the edge's position in the topic when a client of an SDK became a member. It counts
	// only if the field placed is true. If a relay had no Redis at that time, the client may get
	// every publication behind place, however old.
	place    protocol.Position
	placed   bool
	expected []*expected
	next     int // index in expected, behind the last entry that came
}

type class uint8

const (
	may class = iota
	must
	mustNot
)

// expected says whether one session is to receive an entry, and whether the session has got it.
type expected struct {
	*entry
	class   class
	excused bool // the session was told that the entry is lost
	owed    bool // the class is must, for no other reason than model.owed
	got     bool
}

// class says whether a session must, may or must not receive an entry that is stored now.
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

// awaySince returns a time after which there may be publications that some relay does not know. It
// looks at the outages of all relays, except those that ended before the given time. The result is
// 5 s before the earliest of these outages began, or zero if there is none. The 5 s are for
// publications that were stored but not yet answered when the outage began.
func (m *model) awaySince(came time.Time) (since time.Time) {
	for _, r := range m.w.relays {
		for _, o := range r.broker.outages {
			if at := o.lost.Add(-5 * time.Second); (o.back.IsZero() || o.back.After(came)) && (since.IsZero() || at.Before(since)) {
				since = at
			}
		}
	}
	return since
}

// opened takes note of an Opened, which answers the connect of a client of the chat.
func (m *model) opened(e *edge, o link.Opened) {
	for _, s := range e.sessions {
		if s.id != o.Session {
			continue
		}
		s.ready = true
		if len(o.Topics) > 0 { // an Opened without topics makes the session no member yet
			for _, i := range s.interests {
				i.in = i.in || i.own
				i.loosen(m)
			}
		}
	}
}

// accepted takes note that the log of the session's edge has accepted a frame.
func (m *model) accepted(s *session, f *frame) {
	e := s.e
	e.number++
	f.number, f.at, f.s = e.number, m.w.now, s
	m.edges[e.instance].frames[f.number] = f
	m.ids[protocol.BriefID(e.instance, f.number)] = f
	if s.sdk != nil {
		m.acceptedSDK(s, f)
		return
	}
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
	answerConfirmed
	answerRefreshed
	answerBound
)

// answered checks an answer that an edge passed on to a session.
func (m *model) answered(e *edge, number, session uint64, as answer, text []byte) {
	f := m.edges[e.instance].frames[number]
	if f == nil || f.s.id != session {
		m.w.fail("%s: an answer to number %d, of session %d, which nobody asked for", e.name, number, session)
		return
	}
	if f.answered++; f.answered > 1 {
		m.w.fail("P2: %s: number %d was answered twice", e.name, number)
		return
	}
	if f.sdk != nil {
		m.answeredSDK(f, as, text)
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
		i.loosen(m)
	case f.kind == protocol.KindLeave:
		i.in = false
		i.awaits--
		i.leaves--
		i.leftAway(m, f)
	}
}

// leftAway is called when the leave f is answered. A relay without Redis may carry out a leave
// although it does not know all earlier publications. When the relay learns of them, the session
// has left and does not get them. So the session may lack two kinds of publications: those that a
// relay missed, and those that were stored during the outage or shortly before it.
func (i *interest) leftAway(m *model, f *frame) {
	if since := m.awaySince(f.at); !since.IsZero() {
		for _, x := range i.expected[i.next:] {
			if (x.at.After(since) || x.unheard) && x.class == must {
				x.class = may
			}
		}
	}
}
