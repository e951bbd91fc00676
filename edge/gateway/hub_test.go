package gateway

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

func channel(user string) *Session {
	return NewSession(link.Session{Endpoint: protocol.EndpointChannel, User: user}, 1<<20)
}

// openAll opens a session for each name in users, and binds the session as a relay does.
func openAll(h *mirror, up Upstream, users ...string) (sessions []*Session) {
	for _, user := range users {
		s := channel(user)
		h.Open(s, up)
		bindAll(h, s.Info())
		sessions = append(sessions, s)
	}
	return sessions
}

func wantTexts(t *testing.T, s *Session, want ...string) {
	t.Helper()
	if got := s.Take(); !slices.Equal(got, want) {
		t.Errorf("session %d got %q, want %q", s.Info().ID, got, want)
	}
}

func pos(epoch, offset uint64) protocol.Position {
	return protocol.Position{Epoch: epoch, Offset: offset}
}

func TestPublicationsAreDeliveredOnceAndInOrder(t *testing.T) {
	h := newMirror(HubConfig{})
	s := openAll(h, &fakeUpstream{}, "1")[0]
	h.Topic(link.TopicNumber{ID: numberOf("all"), Topic: "all", Position: pos(5, 10)})
	for _, p := range []struct {
		position protocol.Position
		text     string
	}{
		{pos(5, 10), "repeated"}, {pos(5, 11), "a"}, {pos(5, 11), "repeated"}, {pos(5, 9), "older"}, {pos(4, 99), "older epoch"},
		{protocol.Position{}, "bare"}, {pos(5, 12), "b"}, {protocol.Position{}, "bare"}, {pos(6, 1), "c"}, {pos(5, 13), "older epoch"},
	} {
		h.Publication(link.Publication{Topic: numberOf("all"), Position: p.position, Payload: []byte(p.text)})
	}
	wantTexts(t, s, "a", "bare", "b", "bare", "c")
}

func TestATopicKeepsTheLaterPosition(t *testing.T) {
	h := newMirror(HubConfig{})
	s := openAll(h, &fakeUpstream{}, "1")[0]
	h.Topic(link.TopicNumber{ID: numberOf("all"), Topic: "all", Position: pos(5, 10)})
	h.LinkDown()
	h.Topic(link.TopicNumber{ID: 77, Topic: "all", Position: pos(5, 8)})
	h.Publication(link.Publication{Topic: 77, Position: pos(5, 9), Payload: []byte("had")})
	h.Publication(link.Publication{Topic: 77, Position: pos(5, 11), Payload: []byte("new")})
	wantTexts(t, s, "new")
}

func TestTheSenderIsSkippedOnAllItsConnections(t *testing.T) {
	h := newMirror(HubConfig{})
	s := openAll(h, &fakeUpstream{}, "1", "1", "2")
	h.Publication(link.Publication{Topic: numberOf("all"), Except: "1", Payload: []byte("x")})
	wantTexts(t, s[0])
	wantTexts(t, s[1])
	wantTexts(t, s[2], "x")
}

func TestTwoSessionsOfAUserEndInEitherOrder(t *testing.T) {
	for _, first := range []int{0, 1} {
		t.Run(fmt.Sprint("first ends ", first), func(t *testing.T) {
			h, up := newMirror(HubConfig{}), &fakeUpstream{}
			s := openAll(h, up, "1", "1")
			topic := numberOf(protocol.UserTopic("1"))
			h.End(s[first], up)
			h.Publication(link.Publication{Topic: topic, Payload: []byte("x")})
			h.Forget(s[first].Info().ID)
			h.Publication(link.Publication{Topic: topic, Payload: []byte("y")})
			wantTexts(t, s[first])
			wantTexts(t, s[1-first], "x", "y")
			h.End(s[1-first], up)
			h.Forget(s[1-first].Info().ID)
			if all, dead := h.Len(); all != 0 || dead != 0 {
				t.Errorf("%d sessions are left, %d dead", all, dead)
			}
		})
	}
}

func TestAnEndedSessionGetsNothingButIsToldUntilForgotten(t *testing.T) {
	h, up := newMirror(HubConfig{}), &fakeUpstream{}
	s := openAll(h, up, "1")[0]
	id := s.Info().ID
	h.End(s, up)
	h.Publication(link.Publication{Topic: numberOf("all"), Payload: []byte("x")})
	h.Answer(link.Answer{Session: id, Text: []byte("x")})
	h.Topic(link.TopicNumber{ID: 9, Topic: "group:g"})
	h.Joined(link.Joined{Session: id, Topic: 9, Text: []byte("x")}, true)
	h.Gap(link.Gap{Topic: 9, Position: pos(1, 1), Text: []byte("x")})
	wantTexts(t, s)

	sessions, held := told(h)
	if len(sessions) != 1 || len(held) != 3 {
		t.Errorf("told %v, %v; want the dead session and its three topics", sessions, held)
	}
	if _, ok := h.Digest(); ok {
		t.Error("the digest is comparable while a session is dead")
	}
	h.Forget(id)
	if sessions, held = told(h); len(sessions) != 0 || len(held) != 0 {
		t.Errorf("after Forget told %v, %v; want nothing", sessions, held)
	}
	h.Joined(link.Joined{Session: id, Topic: 9, Text: []byte("x")}, true)
	wantTexts(t, s)
}

func TestForgetLeavesTheLivingAlone(t *testing.T) {
	h := newMirror(HubConfig{})
	s := openAll(h, &fakeUpstream{}, "1")[0]
	h.Forget(s.Info().ID)
	h.Publication(link.Publication{Topic: numberOf("all"), Payload: []byte("x")})
	wantTexts(t, s, "x")
}

// told returns the sessions and members that Begin passes to its functions.
func told(h *mirror) (sessions []link.Session, held map[protocol.Topic][]uint64) {
	held = map[protocol.Topic][]uint64{}
	h.Begin(
		func(s link.Session) { sessions = append(sessions, s) }, nil,
		func(f link.Held) { held[f.Topic] = append(held[f.Topic], f.Sessions...) }, nil)
	return sessions, held
}

func TestBeginCutsLargeTopicsIntoFrames(t *testing.T) {
	h := newMirror(HubConfig{})
	const n = 2500
	openAll(h, &fakeUpstream{}, slices.Repeat([]string{"1"}, n)...)
	h.Topic(link.TopicNumber{ID: numberOf("all"), Topic: "all", Position: pos(3, 4)})
	var frames []int
	members := map[uint64]bool{}
	h.Begin(func(link.Session) {}, nil, func(f link.Held) {
		if f.Topic != protocol.All {
			return
		}
		if f.Position != pos(3, 4) {
			t.Errorf("position %v", f.Position)
		}
		frames = append(frames, len(f.Sessions))
		for _, id := range f.Sessions {
			members[id] = true
		}
	}, nil)
	if !slices.Equal(frames, []int{1024, 1024, 452}) || len(members) != n {
		t.Errorf("frames of %v members, %d in all", frames, len(members))
	}
}

func TestJoinAnswerGapAndLeave(t *testing.T) {
	h := newMirror(HubConfig{})
	s := openAll(h, &fakeUpstream{}, "1")[0]
	id := s.Info().ID
	h.Topic(link.TopicNumber{ID: 9, Topic: "group:g", Position: pos(1, 5)})
	h.Publication(link.Publication{Topic: 9, Position: pos(1, 6), Payload: []byte("before")})
	h.Joined(link.Joined{Number: 1, Session: id, Topic: 9, Text: []byte("joined")}, true)
	h.Joined(link.Joined{Number: 1, Session: id, Topic: 9, Text: []byte("joined")}, false)
	h.Publication(link.Publication{Topic: 9, Position: pos(1, 7), Payload: []byte("m")})
	h.Gap(link.Gap{Topic: 9, Position: pos(1, 7), Lost: 1, Text: []byte("no gap for us")})
	h.Gap(link.Gap{Topic: 9, Position: pos(1, 9), Lost: 2, Text: []byte("lost")})
	h.Publication(link.Publication{Topic: 9, Position: pos(1, 9), Payload: []byte("in the gap")})
	h.Answer(link.Answer{Session: id, Text: []byte("answer")})
	h.Left(link.Left{Session: id, Topic: 9, Text: []byte("left")}, true)
	h.Publication(link.Publication{Topic: 9, Position: pos(1, 10), Payload: []byte("after")})
	wantTexts(t, s, "joined", "m", "lost", "answer", "left")
}

func TestUnknownTopicNumbersAreCountedAndHarmless(t *testing.T) {
	up := &fakeUpstream{}
	g := start(t, up, nil)
	s := openAll(g.hub, up, "1")[0]
	g.hub.LinkDown()
	g.hub.Publication(link.Publication{Topic: numberOf("all"), Payload: []byte("x")})
	g.hub.Left(link.Left{Session: s.Info().ID, Topic: 12345, Text: []byte("left")}, true)
	g.hub.Untopic(link.Untopic{ID: 12345})
	wantTexts(t, s, "left")
	if got := g.metric("dropped_total", "no_topic"); got != 2 {
		t.Errorf("counted %v, want 2", got)
	}
}

func TestTheDigestIsNotComparableWhileASessionIsBeingOpened(t *testing.T) {
	h := newMirror(HubConfig{})
	var during bool
	h.Open(channel("1"), &fakeUpstream{open: func(link.Session) { _, during = h.Digest() }})
	if _, after := h.Digest(); during || !after {
		t.Errorf("comparable during %v, after %v; want false, true", during, after)
	}
}

func TestTopicsGoWithTheirLastMemberAndNumber(t *testing.T) {
	h, up := newMirror(HubConfig{}), &fakeUpstream{}
	s := openAll(h, up, "1")[0]
	h.End(s, up)
	h.Untopic(link.Untopic{ID: numberOf("all")})
	h.LinkDown()
	if len(h.topics) != 2 {
		t.Errorf("%d topics while a member is there, want 2", len(h.topics))
	}
	h.Forget(s.Info().ID)
	if len(h.topics) != 0 || len(h.numbers) != 0 {
		t.Errorf("left: %v, %v", h.topics, h.numbers)
	}
}

// FuzzHub drives a Hub and a model with the same steps and compares their tables.
func FuzzHub(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x10\x21\x32\x10\x22\x40\x51\x60\x70\x11\x80"))
	random := rand.NewChaCha8([32]byte{1})
	for range 20 {
		steps := make([]byte, 300)
		random.Read(steps)
		f.Add(append([]byte{0, 0, 0, 0}, steps...))
	}
	f.Fuzz(func(t *testing.T, steps []byte) {
		h, up := newMirror(HubConfig{}), &fakeUpstream{}
		m := newModel()
		for _, step := range steps {
			m.step(h, up, step>>4, uint64(step&15))
		}
		m.compare(t, h)
	})
}

// model holds the Hub's tables in the simplest form.
type model struct {
	sessions []*Session // by id - 1; nil: the session is forgotten
	ended    map[uint64]bool
	members  map[protocol.Topic]map[uint64]bool
	got      map[uint64]int
}

func newModel() *model {
	return &model{ended: map[uint64]bool{}, members: map[protocol.Topic]map[uint64]bool{}, got: map[uint64]int{}}
}

func (m *model) step(h *mirror, up Upstream, op byte, x uint64) {
	topic := protocol.GroupTopic(fmt.Sprint(x % 4))
	h.Topic(link.TopicNumber{ID: x % 4, Topic: topic})
	id := x/4 + 1
	if op == 0 {
		s := channel("u")
		h.Open(s, up)
		m.sessions = append(m.sessions, s)
		return
	}
	if id > uint64(len(m.sessions)) || m.sessions[id-1] == nil {
		return
	}
	s := m.sessions[id-1]
	switch {
	case op < 5:
		h.Joined(link.Joined{Session: id, Topic: x % 4}, false)
		if m.members[topic] == nil {
			m.members[topic] = map[uint64]bool{}
		}
		m.members[topic][id] = true
	case op < 8:
		h.Left(link.Left{Session: id, Topic: x % 4}, false)
		delete(m.members[topic], id)
	case op < 10:
		h.Publication(link.Publication{Topic: x % 4, Payload: []byte("x")})
		for id := range m.members[topic] {
			if !m.ended[id] {
				m.got[id]++
			}
		}
	case op < 12 && !m.ended[id]:
		h.End(s, up)
		m.ended[id] = true
	case op < 14 && m.ended[id]:
		h.Forget(id)
		m.sessions[id-1] = nil
		for _, members := range m.members {
			delete(members, id)
		}
	case op == 15:
		h.LinkDown()
	}
}

func (m *model) compare(t *testing.T, h *mirror) {
	var want link.Digest
	sessions, held := told(h)
	for i, s := range m.sessions {
		if s == nil {
			continue
		}
		want.Sessions++
		want.SessionHash ^= link.SessionHash(s.Info())
		if got := len(s.Take()); got != m.got[uint64(i+1)] {
			t.Errorf("session %d got %d publications, want %d", i+1, got, m.got[uint64(i+1)])
		}
	}
	for topic, members := range m.members {
		for id := range members {
			want.Bindings++
			want.BindingHash ^= link.BindingHash(id, topic)
		}
		got := held[topic]
		slices.Sort(got)
		if wanted := slices.Sorted(maps.Keys(members)); !slices.Equal(got, wanted) {
			t.Errorf("%s has members %v, want %v", topic, got, wanted)
		}
	}
	if uint64(len(sessions)) != want.Sessions {
		t.Errorf("told %d sessions, want %d", len(sessions), want.Sessions)
	}
	if got, _ := h.Digest(); got != want {
		t.Errorf("digest %+v, want %+v", got, want)
	}
}

// roomy makes room in each session's queue. Pushing up to 1024 frames then allocates nothing, and
// the queue does not reach its bound.
func roomy(sessions []*Session) {
	for _, s := range sessions {
		s.queue.limit = 1 << 30
		s.queue.pending = &batch{frames: make([][]byte, 0, 1024)}
	}
}

func TestFanOutAllocatesNothingPerDelivery(t *testing.T) {
	h := newMirror(HubConfig{})
	sessions := openAll(h, &fakeUpstream{}, slices.Repeat([]string{"1"}, 100)...)
	roomy(sessions)
	p := link.Publication{Topic: numberOf("all"), Except: "2", Payload: make([]byte, 128)}
	if n := testing.AllocsPerRun(100, func() { h.Publication(p) }); n > 1 {
		t.Errorf("%v allocations for 100 deliveries, want 1: the frame", n)
	}
}

func BenchmarkFanOut(b *testing.B) {
	h := newMirror(HubConfig{})
	const members = 1000
	sessions := openAll(h, &fakeUpstream{}, slices.Repeat([]string{"1"}, members)...)
	p := link.Publication{Topic: numberOf("all"), Except: "2", Payload: make([]byte, 128)}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if i%512 == 0 {
			b.StopTimer()
			for _, s := range sessions {
				s.queue.size = 0
			}
			roomy(sessions)
			b.StartTimer()
		}
		h.Publication(p)
		i++
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/members, "ns/delivery")
}

// TestP6_WhoComesToADesertedTopicBeginsAtItsOwnPlace checks a topic whose members are all dead. The
// relay has not acknowledged the ends of their sessions. The next member must not begin at the
// position of the dead members. Otherwise the next relay would give older messages to this member.
func TestP6_WhoComesToADesertedTopicBeginsAtItsOwnPlace(t *testing.T) {
	h := newMirror(HubConfig{})
	up := &fakeUpstream{}
	dead := openAll(h, up, "1")[0]
	f := h.Feed
	f.Topic(link.TopicNumber{ID: 1, Topic: "group:g", Position: pos(1, 5)})
	f.Joined(link.Joined{Session: dead.Info().ID, Topic: 1, Granted: true}, false)
	h.End(dead, up)
	f.Untopic(link.Untopic{ID: 1})
	next := openAll(h, up, "2")[0]
	// Redis is away, so the topic is unplaced.
	f.Topic(link.TopicNumber{ID: 2, Topic: "group:g", Position: protocol.Unplaced(0)})
	f.Joined(link.Joined{Session: next.Info().ID, Topic: 2, Granted: true}, false)
	var told []protocol.Position
	h.Begin(func(link.Session) {}, nil, func(held link.Held) {
		if held.Topic == "group:g" {
			told = append(told, held.Position)
		}
	}, nil)
	if !slices.Equal(told, []protocol.Position{protocol.Unplaced(0)}) {
		t.Errorf("told %v", told)
	}
}

// TestP4_OfALossOnlyWhatDidNotComeOtherwiseIsCounted checks a move of an edge. The new relay was
// told an earlier position, and reports the messages that it cannot give. The old link may have
// brought some of these messages. Such messages do not count as lost.
func TestP4_OfALossOnlyWhatDidNotComeOtherwiseIsCounted(t *testing.T) {
	h := newMirror(HubConfig{})
	openAll(h, &fakeUpstream{}, "1")
	h.Topic(link.TopicNumber{ID: 9, Topic: "all", Position: pos(1, 2)})
	published(h.Feed, 9, 1, 5, 1, "x")
	for _, c := range []struct {
		position   protocol.Position
		lost, want uint64
	}{{pos(1, 4), 2, 0}, {pos(1, 8), 6, 3}, {pos(2, 2), 4, 4}} {
		before := testutil.ToFloat64(h.metrics.lost)
		h.Gap(link.Gap{Topic: 9, Position: c.position, Lost: c.lost})
		if lost := testutil.ToFloat64(h.metrics.lost) - before; lost != float64(c.want) {
			t.Errorf("to %v: %v lost, want %d", c.position, lost, c.want)
		}
	}
}

// BenchmarkBegin measures Hub.Begin. Its time matters, since Begin holds the Hub's lock, for which
// publications and changes of memberships wait.
func BenchmarkBegin(b *testing.B) {
	h := newMirror(HubConfig{})
	users := make([]string, 50_000)
	for i := range users {
		users[i] = fmt.Sprint("user-", i)
	}
	openAll(h, &fakeUpstream{}, users...)
	var bytes []byte
	for b.Loop() {
		bytes = bytes[:0]
		h.Begin(func(s link.Session) { bytes = s.Append(bytes) }, nil, func(f link.Held) { bytes = f.Append(bytes) }, nil)
	}
	b.ReportMetric(float64(len(bytes))/50_000, "bytes/session")
}
