package gateway

import (
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/edgerelay/edgerelay/shared/link"
)

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

// TestALateMemberIsGivenWhatWasGivenAheadToNobody records the id of a message without giving it. A
// late member must then get its publication.
func TestALateMemberIsGivenWhatWasGivenAheadToNobody(t *testing.T) {
	m := newMoving(t, pos(1, 5))
	give(m.older, 6)
	late := m.bound(m.newer, pos(1, 5))
	m.newer.AheadForms(link.AheadForms{Topic: 1, ID: 7, Texts: []link.Rendering{{Form: link.FormJSON}}})
	give(m.older, 7)
	give(m.newer, 6, 7)
	wantTexts(t, late, "6", "7")
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

// TestWhoIsNotGivenWhatWasGivenAhead gives messages ahead, and then binds sessions that have ended,
// or that are about to be closed after a loss. Neither may get the publication of a message, and
// nobody may get a publication that has no text for it. A message that was given ahead before Redis
// came back is treated like any other.
func TestWhoIsNotGivenWhatWasGivenAhead(t *testing.T) {
	m := newMoving(t, pos(1, 5))
	text := []link.Rendering{{Form: link.FormChat, Text: []byte("ahead")}, {Form: link.FormJSON, Text: []byte("ahead")}}
	for _, id := range []uint64{77, 78} {
		m.newer.AheadForms(link.AheadForms{Topic: 1, ID: id, Texts: text})
	}
	m.newer.BrokerBack()
	later, dead, leaving := m.bound(m.newer, pos(1, 5)), m.bound(m.newer, pos(1, 5)), m.bound(m.newer, pos(1, 5))
	m.End(dead, &fakeUpstream{})
	leaving.sdk.leave.Store(&leave{})
	before := testutil.ToFloat64(m.metrics.deliveries)
	giveAt(m.newer, pos(1, 6), 77)
	if n := testutil.ToFloat64(m.metrics.deliveries) - before; n != 1 {
		t.Errorf("%v deliveries are counted", n)
	}
	m.newer.Publication(link.Publication{Topic: 1, Position: pos(1, 7), ID: 78, Payload: []byte("7")})
	wantTexts(t, later, "6")
	wantTexts(t, dead)
	wantTexts(t, leaving)
	for _, s := range []*Session{m.chat, m.sdk} {
		wantTexts(t, s, "ahead", "ahead")
	}
}
