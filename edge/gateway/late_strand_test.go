package gateway

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
)

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
	m.older.Gap(link.Gap{Topic: 1, Position: pos(1, 8), Lost: 3}) // this link serves neither
	m.wantLate(2)
	m.newer.Gap(link.Gap{Topic: 1, Position: pos(1, 7), Lost: 2})
	m.newer.Gap(link.Gap{Topic: 1, Position: pos(1, 6), Lost: 1}) // takes nobody back
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
