package gateway

import (
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// moving is a Hub in a move of its edge, with an older and a newer link. The topic "all" has the
// number 1 on both links. A session of the chat and one of an SDK are members from the beginning.
type moving struct {
	*mirror
	t            *testing.T
	older, newer *Feed
	chat, sdk    *Session
}

// newMoving returns a Hub whose topic is at the given position when the newer link begins.
func newMoving(t *testing.T, at protocol.Position) *moving {
	m := &moving{mirror: newMirror(HubConfig{}), t: t}
	m.older = m.Feed
	m.older.Topic(link.TopicNumber{ID: 1, Topic: "all", Position: at})
	m.chat = openAll(m.mirror, &fakeUpstream{}, "1")[0]
	m.sdk = m.bound(m.older, at)
	m.newer = m.mirror.begin()
	m.newer.Topic(link.TopicNumber{ID: 1, Topic: "all", Position: at})
	return m
}

// bound adds a session of an SDK that the link of f binds at the given position.
func (m *moving) bound(f *Feed, at protocol.Position) *Session {
	m.t.Helper()
	s := guest(m.mirror, &fakeUpstream{})
	n := link.Confirmed{Session: s.info.ID, User: "u", Channels: []link.Channel{{Topic: 1, Position: at}}}
	if err := f.Confirmed(n, false); err != nil {
		m.t.Fatal(err)
	}
	return s
}

// give brings publications of the epoch 1. Their texts are their offsets.
func give(f *Feed, offsets ...uint64) {
	for _, offset := range offsets {
		giveAt(f, pos(1, offset), offset)
	}
}

func giveAt(f *Feed, at protocol.Position, id uint64) {
	text := []byte(fmt.Sprint(at.Offset))
	f.Forms(link.Forms{Topic: 1, Position: at, ID: id, Texts: []link.Rendering{{Form: link.FormChat, Text: text}, {Form: link.FormJSON, Text: text}}})
}

// wantLate checks how many members are late, by the Hub and by its metric.
func (m *moving) wantLate(want int) {
	m.t.Helper()
	n := 0
	for _, late := range m.late {
		if n += len(late); len(late) == 0 {
			m.t.Error("a topic without late members is kept")
		}
	}
	if counted := testutil.ToFloat64(m.metrics.late); n != want || counted != float64(want) {
		m.t.Errorf("%d members are late, %v are counted, want %d", n, counted, want)
	}
}

// TestWhoIsNotLate binds sessions at positions that make nobody late. No Bound may move the topic.
func TestWhoIsNotLate(t *testing.T) {
	for _, c := range []struct {
		name      string
		topic, at protocol.Position
		late      int
	}{
		{"equal", pos(1, 7), pos(1, 7), 0},
		{"later", pos(1, 7), pos(1, 8), 0},
		{"of a later epoch", pos(1, 7), pos(2, 1), 0},
		{"of a later epoch without publications", pos(1, 7), pos(2, 0), 0},
		{"zero", pos(1, 7), protocol.Position{}, 0},
		{"unplaced", pos(1, 7), protocol.Unplaced(3), 0},
		{"the topic is unplaced", protocol.Unplaced(3), pos(1, 7), 0},
		{"both are unplaced", protocol.Unplaced(3), protocol.Unplaced(2), 0},
		{"the topic has no position", protocol.Position{}, pos(1, 0), 0},
		{"earlier", pos(1, 7), pos(1, 6), 1},
		{"before the first of its epoch", pos(1, 7), pos(1, 0), 1},
		{"of an earlier epoch", pos(2, 7), pos(1, 9), 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMoving(t, c.topic)
			s := m.bound(m.newer, c.at)
			m.wantLate(c.late)
			if at := m.topics["all"].position; at != c.topic {
				t.Errorf("the topic is at %v", at)
			}
			m.newer.Left(link.Left{Session: s.info.ID, Topic: 1}, false)
			m.wantLate(0)
			m.newer.Bound(link.Bound{Session: s.info.ID, Topic: 1, Position: c.at}, false)
			m.wantLate(c.late)
			// This session is a member already.
			m.newer.Bound(link.Bound{Session: m.sdk.info.ID, Topic: 1, Position: c.at}, false)
			m.wantLate(c.late)
		})
	}
}

// TestALateMemberMayLeave ends the membership or the session of one of two late members. That
// member must no longer count as late. The other late member must still get all publications.
func TestALateMemberMayLeave(t *testing.T) {
	for name, leave := range map[string]func(m *moving, s *Session){
		"left":    func(m *moving, s *Session) { m.newer.Left(link.Left{Session: s.info.ID, Topic: 1}, false) },
		"unbound": func(m *moving, s *Session) { m.newer.Unbound(link.Unbound{Session: s.info.ID, Topic: 1}) },
		"ended": func(m *moving, s *Session) {
			m.End(s, &fakeUpstream{})
			give(m.newer, 6)
			wantTexts(m.t, s)
			m.Forget(s.info.ID)
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMoving(t, pos(1, 5))
			give(m.older, 6, 7)
			one, other := m.bound(m.newer, pos(1, 5)), m.bound(m.newer, pos(1, 5))
			m.wantLate(2)
			leave(m, one)
			m.wantLate(1)
			one.Take()
			give(m.newer, 6, 7, 8)
			wantTexts(t, one)
			wantTexts(t, other, "6", "7", "8")
			m.wantLate(0)
		})
	}
}

// TestALateMemberIsBoundAgain brings a second Bound for a late member. Only the membership's keep
// may change.
func TestALateMemberIsBoundAgain(t *testing.T) {
	m := newMoving(t, pos(1, 5))
	give(m.older, 6, 7)
	s := m.bound(m.newer, pos(1, 5))
	give(m.newer, 6)
	for _, at := range []protocol.Position{pos(1, 7), pos(1, 5), {}} {
		m.newer.Bound(link.Bound{Session: s.info.ID, Topic: 1, Position: at, Keep: []byte("k")}, false)
	}
	m.wantLate(1)
	give(m.newer, 7, 8)
	wantTexts(t, s, "6", "7", "8")
}
