package gateway

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

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
	// Two members have got six texts each, and the late member has got five.
	if n := testutil.ToFloat64(m.metrics.deliveries); n != 17 {
		t.Errorf("%v deliveries are counted", n)
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

// TestATopicThatIsMadeAgainBringsWhatCameBefore removes a topic after an epoch has changed, and
// makes it again at an earlier position, as a relay does that hears later than others. A member
// that comes then must get the publications behind that position, although the edge has seen their
// ids.
func TestATopicThatIsMadeAgainBringsWhatCameBefore(t *testing.T) {
	m := newMoving(t, pos(1, 5))
	m.older.Down()
	giveAt(m.newer, pos(2, 1), 101)
	giveAt(m.newer, pos(2, 2), 102)
	giveAt(m.newer, pos(2, 3), 103)
	for _, s := range []*Session{m.chat, m.sdk} {
		m.newer.Left(link.Left{Session: s.info.ID, Topic: 1}, false)
	}
	m.newer.Untopic(link.Untopic{ID: 1})
	if m.topics["all"] != nil {
		t.Fatal("the topic was not removed")
	}
	m.newer.Topic(link.TopicNumber{ID: 1, Topic: "all", Position: pos(2, 1)})
	s := m.bound(m.newer, pos(2, 1))
	giveAt(m.newer, pos(2, 2), 102)
	giveAt(m.newer, pos(2, 3), 103)
	giveAt(m.newer, pos(2, 4), 104)
	giveAt(m.newer, pos(2, 5), 102) // published once more
	wantTexts(t, s, "2", "3", "4")
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

// TestAMessageThatIsPublishedTwiceIsNotForLateMembers publishes messages again under a new epoch,
// as after a loss of Redis. Members do not get them again, and neither may a late member.
func TestAMessageThatIsPublishedTwiceIsNotForLateMembers(t *testing.T) {
	m := newMoving(t, pos(1, 5))
	giveAt(m.older, pos(1, 6), 6)
	giveAt(m.older, pos(2, 1), 100)
	giveAt(m.older, pos(2, 2), 6)
	giveAt(m.older, pos(2, 3), 101)
	earlier, s := m.bound(m.newer, pos(1, 5)), m.bound(m.newer, pos(2, 0))
	giveAt(m.newer, pos(1, 6), 6)
	giveAt(m.newer, pos(2, 1), 100)
	giveAt(m.newer, pos(2, 2), 6)
	giveAt(m.newer, pos(2, 3), 101)
	wantTexts(t, s, "1", "3")
	for _, other := range []*Session{m.sdk, earlier} {
		wantTexts(t, other, "6", "1", "3")
	}
	m.wantLate(0)
	// So late in an epoch, no message is published again.
	late := pos(2, givenEarly)
	m.older.Gap(link.Gap{Topic: 1, Position: late})
	m.newer.Gap(link.Gap{Topic: 1, Position: late})
	for _, f := range []*Feed{m.older, m.newer} {
		if f == m.newer {
			s = m.bound(m.newer, late)
		}
		giveAt(f, pos(2, givenEarly+1), 7)
		giveAt(f, pos(2, givenEarly+2), 7)
	}
	wantTexts(t, s, fmt.Sprint(givenEarly+1), fmt.Sprint(givenEarly+2))
	wantTexts(t, m.sdk, fmt.Sprint(givenEarly+1), fmt.Sprint(givenEarly+2))
}

// TestOneIDDoesNotMakeARepeatWithoutALoss publishes two messages with the same id in one epoch. No
// epoch has changed, so Redis has lost nothing, and all members get both publications.
func TestOneIDDoesNotMakeARepeatWithoutALoss(t *testing.T) {
	m := newMoving(t, pos(1, 5))
	m.given.epochChanged = time.Time{} // the harness has numbered the topic anew
	var late *Session
	for _, f := range []*Feed{m.older, m.newer} {
		if f == m.newer {
			late = m.bound(m.newer, pos(1, 5))
		}
		giveAt(f, pos(1, 6), 6)
		giveAt(f, pos(1, 7), 6)
	}
	wantTexts(t, late, "6", "7")
	wantTexts(t, m.sdk, "6", "7")
}

// TestALateMemberIsPastATextThatIsNotForIt brings a publication that has no text for clients of
// SDKs. A late member must get nothing, and go on behind that publication.
func TestALateMemberIsPastATextThatIsNotForIt(t *testing.T) {
	m := newMoving(t, pos(1, 5))
	give(m.older, 6, 7)
	late := m.bound(m.newer, pos(1, 5))
	m.newer.Publication(link.Publication{Topic: 1, Position: pos(1, 6), Payload: []byte("6")})
	give(m.newer, 7)
	wantTexts(t, late, "7")
	m.wantLate(0)
}
