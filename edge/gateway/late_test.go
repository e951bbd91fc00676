package gateway

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

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

// TestALateMemberIsGivenWhatItLacks binds a session at a position that the older link has passed.
// While the session is late, it must get the newer link's publications after that position, in
// order, and no publication of the older link. The other members must get each publication once.
func TestALateMemberIsGivenWhatItLacks(t *testing.T) {
	m := newMoving(t, pos(1, 5))
	give(m.older, 6, 7, 8)
	give(m.newer, 6)
	late := m.bound(m.newer, pos(1, 6))
	m.wantLate(1)
	give(m.older, 9)
	give(m.newer, 7)
	wantTexts(t, late, "7")
	give(m.older, 7, 8, 9)
	give(m.newer, 6, 7, 8)
	wantTexts(t, late, "8")
	m.wantLate(1)
	give(m.newer, 9)
	m.wantLate(0)
	give(m.older, 10)
	give(m.newer, 10, 11)
	wantTexts(t, late, "9", "10", "11")
	for _, s := range []*Session{m.chat, m.sdk} {
		wantTexts(t, s, "6", "7", "8", "9", "10", "11")
	}
	if at := m.topics["all"].position; at != pos(1, 11) {
		t.Errorf("the topic is at %v", at)
	}
	// The older link has repeated 7, 8 and 9. The newer link has brought 6 twice after the older
	// link. Of the newer link's other publications, the second 7, and 10, were dropped. A
	// publication that is given to a late member does not count as a repeat.
	if n := testutil.ToFloat64(m.metrics.dropped[dropRepeated]); n != 7 {
		t.Errorf("%v repeats are counted", n)
	}
}

// TestAnOlderLinkDoesNotLeaveAHole lets the older link take a topic further after the members have
// gone. The newer link then makes somebody a member at an earlier position. That member must get
// each publication behind its position once and in order, although the older link goes on. The
// mirror has seen an epoch change, so publications are looked up among those that came lately.
func TestAnOlderLinkDoesNotLeaveAHole(t *testing.T) {
	for name, at := range map[string]protocol.Position{"earlier": pos(1, 6), "unknown": {}} {
		t.Run(name, func(t *testing.T) {
			m := newMoving(t, pos(1, 5))
			for _, s := range []*Session{m.chat, m.sdk} {
				m.End(s, &fakeUpstream{})
			}
			give(m.older, 6, 7, 8)
			m.newer.Topic(link.TopicNumber{ID: 1, Topic: "all", Position: at})
			s := m.bound(m.newer, at)
			m.wantLate(0)
			give(m.older, 9)
			giveAt(m.older, protocol.Position{}, 0)
			give(m.newer, 7, 8, 9, 10)
			give(m.older, 10, 11)
			m.older.Untopic(link.Untopic{ID: 1})
			give(m.newer, 11)
			wantTexts(t, s, "7", "8", "9", "10", "11")
			m.older.Down()
			give(m.newer, 12)
			wantTexts(t, s, "12")
		})
	}
}

// TestALateMemberFollowsAcrossEpochs binds a session in an epoch that the topic has left. It must
// get the publications of both epochs in order.
func TestALateMemberFollowsAcrossEpochs(t *testing.T) {
	m := newMoving(t, pos(1, 5))
	for _, at := range []protocol.Position{pos(1, 6), pos(2, 1), pos(2, 2)} {
		giveAt(m.older, at, 0)
	}
	late := m.bound(m.newer, pos(1, 5))
	for _, at := range []protocol.Position{pos(1, 6), pos(2, 1), pos(2, 2), pos(2, 3)} {
		giveAt(m.newer, at, 0)
	}
	wantTexts(t, late, "6", "1", "2", "3")
	m.wantLate(0)
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

// TestItsOwnLinkServesALateMember begins a third link while a member is late. The third link begins
// at the topic's position. So while the member is late, it must get the publications of the link
// that has bound it, and no publication of the third link.
func TestItsOwnLinkServesALateMember(t *testing.T) {
	m := newMoving(t, pos(1, 5))
	give(m.older, 6, 7)
	s := m.bound(m.newer, pos(1, 5))
	m.older.Down()
	third := m.mirror.begin()
	third.Topic(link.TopicNumber{ID: 1, Topic: "all", Position: pos(1, 7)})
	give(third, 8)
	give(m.newer, 6, 7)
	m.wantLate(1)
	give(third, 9)
	give(m.newer, 8)
	wantTexts(t, s, "6", "7", "8")
	give(m.newer, 9)
	m.wantLate(0)
	give(third, 10)
	wantTexts(t, s, "9", "10")
	wantTexts(t, m.sdk, "6", "7", "8", "9", "10")
}

// TestALateMemberWithoutItsLinkComesBack ends the link that serves a late member. Nothing that has
// a position may reach the member any more. Its session must end with 3010, within lateSpread. A
// member that is not late must stay.
func TestALateMemberWithoutItsLinkComesBack(t *testing.T) {
	inBubble(t, nil, nil, func(t *testing.T, b *bubbled) {
		b.hub.Topic(link.TopicNumber{ID: 1, Topic: "all", Position: pos(1, 5)})
		var clients []*rawClient
		for i := range 9 {
			clients = append(clients, b.confirmed(fmt.Sprint(i)))
		}
		first := b.hub.Feed
		first.Bound(link.Bound{Session: 9, Topic: 1, Position: pos(1, 5)}, false)
		b.hub.Feed = b.hub.begin()
		b.hub.Topic(link.TopicNumber{ID: 1, Topic: "all", Position: pos(1, 5)})
		give(first, 6, 7)
		for id := range uint64(8) {
			b.hub.Bound(link.Bound{Session: id + 1, Topic: 1, Position: pos(1, 5)}, false)
		}
		give(b.hub.Feed, 6)
		first.Down()
		began := time.Now()
		b.hub.LinkDown()
		b.hub.Topic(link.TopicNumber{ID: 1, Topic: "all", Position: pos(1, 7)})
		give(b.hub.Feed, 8)
		b.hub.Forms(link.Forms{Topic: 1, Texts: []link.Rendering{{Form: link.FormJSON, Text: []byte("bare")}}})
		clients[8].wantFrame(textByte, "6")
		clients[8].wantFrame(textByte, "7")
		clients[8].wantFrame(textByte, "8")
		clients[8].wantFrame(textByte, "bare")
		for _, c := range clients[:8] {
			c.wantFrame(textByte, "6")
			c.wantFrame(textByte, "bare")
		}
		moments := map[time.Duration]bool{}
		for _, s := range b.hub.living() {
			if s.info.ID < 9 {
				moments[s.sdk.leave.Load().at] = true
			}
		}
		if len(moments) < 4 {
			t.Errorf("they end at %v", moments)
		}
		for _, c := range clients[:8] {
			c.wantCode(3010)
			c.Close()
		}
		if most := time.Since(began); most > lateSpread+2*wheelTick {
			t.Errorf("they have ended after %v", most)
		}
		synctest.Wait()
		if n := b.metric("sessions_ended_total", "behind"); n != 8 {
			t.Errorf("%v are counted", n)
		}
		if r, ended := b.only().Reason(); ended || b.only().info.ID != 9 {
			t.Errorf("the other member ends: %v", r)
		}
	})
}

// TestALateMemberIsNotTakenPastALoss makes the link of a late member leave out a publication. The
// member must get no later publication, and its session must end.
func TestALateMemberIsNotTakenPastALoss(t *testing.T) {
	for name, skip := range map[string]func(m *moving){
		"a later publication": func(m *moving) { give(m.newer, 9) },
		"a new epoch":         func(m *moving) { giveAt(m.newer, pos(2, 1), 0) },
		"its link is older, and tells of a loss": func(m *moving) {
			m.mirror.begin()
			m.newer.Gap(link.Gap{Topic: 1, Position: pos(1, 7), Lost: 1})
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMoving(t, pos(1, 5))
			give(m.older, 6, 7, 8)
			s := m.bound(m.newer, pos(1, 5))
			give(m.newer, 6)
			skip(m)
			give(m.newer, 8, 10)
			wantTexts(t, s, "6")
			if r := s.leavesFor(); r != ReasonBehind {
				t.Errorf("it ends: %v", r)
			}
			if late := m.late[m.topics["all"]][s]; late == nil || late.at != pos(1, 6) || late.feed != nil {
				t.Errorf("it is still served: %+v", late)
			}
			if m.sdk.leaves() {
				t.Errorf("another member ends: %v", m.sdk.leavesFor())
			}
		})
	}
}

// TestALateMemberIsToldOfALossByTheRelay brings a Gap of the newest link. The relay has already
// told the sessions of SDKs of the loss. So a late member that the relay has not unbound must get
// the publications after the loss.
func TestALateMemberIsToldOfALossByTheRelay(t *testing.T) {
	m := newMoving(t, pos(1, 5))
	give(m.older, 6, 7, 8)
	s, level := m.bound(m.newer, pos(1, 5)), m.bound(m.newer, pos(1, 6))
	m.newer.Gap(link.Gap{Topic: 1, Position: pos(1, 7), Lost: 2})
	give(m.newer, 6, 7, 8)
	wantTexts(t, s, "8")
	wantTexts(t, level, "8")
	m.wantLate(0)
	give(m.older, 9)
	s = m.bound(m.newer, pos(1, 8))
	m.newer.Gap(link.Gap{Topic: 1, Position: pos(1, 12), Lost: 4})
	m.wantLate(0)
	give(m.newer, 13)
	wantTexts(t, s, "13")
	wantTexts(t, m.sdk, "6", "7", "8", "9", "13")
}

// TestLateMembersAndWhatIsGivenAhead gives messages ahead. If a message was given ahead before a
// late member was bound, the member must get the publication of the message. If a message was given
// ahead to the late member too, the member must not get the publication.
func TestLateMembersAndWhatIsGivenAhead(t *testing.T) {
	m := newMoving(t, pos(1, 5))
	ahead := func(id uint64) {
		m.newer.AheadForms(link.AheadForms{Topic: 1, ID: id, Texts: []link.Rendering{{Form: link.FormJSON, Text: fmt.Appendf(nil, "ahead %d", id)}}})
	}
	ahead(7)
	give(m.older, 6)
	s := m.bound(m.newer, pos(1, 5))
	ahead(8)
	give(m.older, 7, 8, 9)
	ahead(9) // the newer relay does not know that 9 is published
	give(m.newer, 6, 7, 8, 9, 10)
	wantTexts(t, s, "ahead 8", "6", "7", "9", "10")
	wantTexts(t, m.sdk, "ahead 7", "6", "ahead 8", "9", "10")
	m.wantLate(0)
	give(m.older, 11)
	m.bound(m.newer, pos(1, 10))
	for id := range uint64(2 * lateAhead) {
		ahead(100 + id)
	}
	for _, late := range m.late {
		for _, member := range late {
			if len(member.had) != lateAhead {
				t.Errorf("%d ids are kept", len(member.had))
			}
		}
	}
}

// TestAMessageThatIsPublishedTwiceIsNotForLateMembers publishes messages again under a new epoch,
// as after a loss of Redis. Members do not get them again, and neither may a late member.
func TestAMessageThatIsPublishedTwiceIsNotForLateMembers(t *testing.T) {
	m := newMoving(t, pos(1, 5))
	giveAt(m.older, pos(1, 6), 6)
	giveAt(m.older, pos(2, 1), 100)
	giveAt(m.older, pos(2, 2), 6)
	giveAt(m.older, pos(2, 3), 101)
	s := m.bound(m.newer, pos(2, 0))
	giveAt(m.newer, pos(2, 1), 100)
	giveAt(m.newer, pos(2, 2), 6)
	giveAt(m.newer, pos(2, 3), 101)
	wantTexts(t, s, "1", "3")
	wantTexts(t, m.sdk, "6", "1", "3")
	m.wantLate(0)
}

// TestP4_EachLateMemberGetsAllAfterItsPlaceOnce drives a Hub at random: links begin, bring
// publications at their own pace, and end, and sessions are bound, leave and end. A session must
// get all publications after its place, in order, once each. If a session ends because it is late,
// that must hold for what the session got before its end.
func TestP4_EachLateMemberGetsAllAfterItsPlaceOnce(t *testing.T) {
	for range 20 {
		seed := rand.Uint64()
		w := lateWorld{t: t, rnd: rand.New(rand.NewPCG(seed, 1)), h: newMirror(HubConfig{})}
		w.run(2000)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
		if w.caughtUp < 50 || w.stranded == 0 {
			t.Errorf("seed %d: %d members were late, %d of them for ever", seed, w.caughtUp, w.stranded)
		}
	}
}

// lateWorld is a topic with all its publications, the links that bring them, and its members.
type lateWorld struct {
	t        *testing.T
	rnd      *rand.Rand
	h        *mirror
	log      []protocol.Position // of the publications that were made
	links    []*lateLink         // the oldest first
	top      int                 // how many publications a member has had if it is not late
	members  []*lateModel
	stay     *lateModel // is a member from the beginning
	caughtUp int
	stranded int
}

type lateLink struct {
	*Feed
	brought int // index in the log of the publication that the link brings next
}

type lateModel struct {
	*Session
	link *lateLink // has bound the session; nil: the session is not late
	has  int       // how many publications of the log the session has, or does not need
}

func (w *lateWorld) run(steps int) {
	w.h.Down()
	w.begin()
	w.bind()
	w.stay = w.members[0]
	for range steps {
		l := w.links[w.rnd.IntN(len(w.links))]
		switch n := w.rnd.IntN(100); {
		case n < 25:
			w.publish()
		case n < 70:
			w.bring(l)
		case n < 85:
			w.bind()
		case n < 90:
			w.leave()
		case n < 95:
			if len(w.links) < 4 {
				w.begin()
			}
		default:
			w.end(l)
		}
		if w.check(); w.t.Failed() {
			return
		}
	}
	for _, l := range w.links {
		for l.brought < len(w.log) {
			w.bring(l)
		}
	}
	w.check()
	if len(w.h.late) > 0 != (w.stranded > 0 && slices.ContainsFunc(w.members, func(m *lateModel) bool { return m.link != nil })) {
		w.t.Error("somebody is late in the end")
	}
}

func (w *lateWorld) publish() {
	next := pos(1, 1)
	if n := len(w.log); n > 0 {
		next = pos(w.log[n-1].Epoch, w.log[n-1].Offset+1)
		if w.rnd.IntN(10) == 0 {
			next = pos(next.Epoch+1, 1)
		}
	}
	w.log = append(w.log, next)
}

// at returns the position of the last of the first n publications.
func (w *lateWorld) at(n int) protocol.Position {
	if n == 0 {
		return pos(1, 0)
	}
	return w.log[n-1]
}

func (w *lateWorld) begin() {
	l := &lateLink{w.h.begin(), w.top}
	l.Topic(link.TopicNumber{ID: 1, Topic: "all", Position: w.at(w.top)})
	w.links = append(w.links, l)
	w.h.Feed = l.Feed
}

func (w *lateWorld) bring(l *lateLink) {
	if l.brought == len(w.log) {
		return
	}
	at, text := w.log[l.brought], []byte(w.log[l.brought].String())
	l.brought++
	l.Forms(link.Forms{Topic: 1, Position: at, ID: uint64(l.brought), Texts: []link.Rendering{{Form: link.FormJSON, Text: text}}})
	w.top = max(w.top, l.brought)
}

func (w *lateWorld) bind() {
	newest := w.links[len(w.links)-1]
	s := guest(w.h, &fakeUpstream{})
	n := link.Confirmed{Session: s.info.ID, User: "u", Channels: []link.Channel{{Topic: 1, Position: w.at(newest.brought)}}}
	if err := newest.Confirmed(n, true); err != nil {
		w.t.Fatal(err)
	}
	s.Take()
	m := &lateModel{Session: s, has: newest.brought}
	if m.has < w.top {
		m.link = newest
		w.caughtUp++
	}
	w.members = append(w.members, m)
}

func (w *lateWorld) leave() {
	if len(w.members) < 2 {
		return
	}
	i := 1 + w.rnd.IntN(len(w.members)-1)
	m := w.members[i]
	w.members = slices.Delete(w.members, i, i+1)
	if w.rnd.IntN(2) == 0 {
		w.h.Left(link.Left{Session: m.info.ID, Topic: 1}, false)
	}
	w.h.End(m.Session, &fakeUpstream{})
	w.h.Forget(m.info.ID)
}

// end ends a link. The sessions of the late members that the link served must end. If the link was
// the newest, the next link begins.
func (w *lateWorld) end(l *lateLink) {
	newest := l == w.links[len(w.links)-1]
	l.Down()
	w.links = slices.DeleteFunc(w.links, func(other *lateLink) bool { return other == l })
	if newest {
		w.begin()
	}
	for _, m := range slices.Clone(w.members) {
		if m.link != l {
			continue
		}
		if r := m.leavesFor(); r != ReasonBehind {
			w.t.Errorf("session %d is late without a link, and its end is %v", m.info.ID, r)
		}
		w.stranded++
		w.members = slices.DeleteFunc(w.members, func(other *lateModel) bool { return other == m })
		if texts := m.Take(); len(texts) > 0 {
			w.t.Errorf("session %d got %q", m.info.ID, texts)
		}
		w.h.End(m.Session, &fakeUpstream{})
		w.h.Forget(m.info.ID)
	}
}

// check compares what the members have got since the last check with what they should have.
func (w *lateWorld) check() {
	for _, m := range w.members {
		should := w.top
		if m.link != nil {
			if should = min(w.top, m.link.brought); should == w.top {
				m.link = nil
			}
		}
		var want []string
		for _, at := range w.log[m.has:max(should, m.has)] {
			want = append(want, at.String())
		}
		m.has = max(should, m.has)
		wantTexts(w.t, m.Session, want...)
	}
	if at := w.h.topics["all"].position; len(w.log) > 0 && w.top > 0 && at != w.at(w.top) {
		w.t.Errorf("the topic is at %v, want %v", at, w.at(w.top))
	}
}

// TestWhoComesBehindAMessageGivenAheadIsGivenIt gives a message ahead, and then binds a session of
// an SDK at a place before the message. When the message is published, that session must get it,
// and nobody else may.
func TestWhoComesBehindAMessageGivenAheadIsGivenIt(t *testing.T) {
	m := newMoving(t, pos(1, 5))
	text := []link.Rendering{{Form: link.FormChat, Text: []byte("ahead")}, {Form: link.FormJSON, Text: []byte("ahead")}}
	m.newer.AheadForms(link.AheadForms{Topic: 1, ID: 77, Texts: text})
	later := m.bound(m.newer, pos(1, 5))
	giveAt(m.newer, pos(1, 6), 77)
	wantTexts(t, later, "6")
	for _, s := range []*Session{m.chat, m.sdk} {
		wantTexts(t, s, "ahead")
	}
	// The next message is given ahead without a text, and so to nobody.
	m.newer.AheadForms(link.AheadForms{Topic: 1, ID: 78, Texts: []link.Rendering{{Form: link.FormChat}}})
	giveAt(m.newer, pos(1, 7), 78)
	wantTexts(t, m.chat)
	for _, s := range []*Session{m.sdk, later} {
		wantTexts(t, s, "7")
	}
}

// TestWhoLeavesGetsNoPositions sets the end of a session that may lack messages. The session must
// get no publication with a position any more: the SDK would name that position when it comes back,
// and would be told that it has missed nothing. What has no position must still come.
func TestWhoLeavesGetsNoPositions(t *testing.T) {
	m := newMoving(t, pos(1, 5))
	give(m.newer, 6)
	m.sdk.sdk.leave.Store(&leave{})
	give(m.newer, 7)
	giveAt(m.newer, protocol.Position{}, 0)
	wantTexts(t, m.sdk, "6", "0")
	wantTexts(t, m.chat, "6", "7", "0")
}

// leavesFor returns the reason for which a session is to end within some seconds. If it is not to
// end, leavesFor returns reasonNone.
func (s *Session) leavesFor() Reason {
	if l := s.sdk.leave.Load(); l != nil {
		return l.reason
	}
	return reasonNone
}
