package simulation

import (
	"time"

	"github.com/edgerelay/edgerelay/edge/gateway"
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
