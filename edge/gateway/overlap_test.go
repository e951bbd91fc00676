package gateway

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
)

// twoLinks is a Hub with a member of `all`, which two links have numbered: 1 on the older, 2 on the newer.
func twoLinks() (h *mirror, s *Session, older, newer *Feed) {
	h = newMirror(HubConfig{})
	s = openAll(h, &fakeUpstream{}, "1")[0]
	older = h.Feed
	older.Topic(link.TopicNumber{ID: 1, Topic: "all"})
	newer = h.begin()
	newer.Topic(link.TopicNumber{ID: 2, Topic: "all"})
	return h, s, older, newer
}

func bring(f *Feed, number uint64, texts ...string) {
	for _, text := range texts {
		f.Publication(link.Publication{Topic: number, Payload: []byte(text)})
	}
}

func TestTwoLinksGiveAMemberEachPublicationOnce(t *testing.T) {
	_, s, older, newer := twoLinks()
	give := func(f *Feed, number, offset uint64) {
		f.Publication(link.Publication{Topic: number, Position: pos(1, offset), Payload: []byte(fmt.Sprint(offset))})
	}
	give(older, 1, 1)
	give(newer, 2, 1)
	give(newer, 2, 2)
	give(newer, 2, 3)
	give(older, 1, 2)
	older.Gap(link.Gap{Topic: 1, Position: pos(1, 3), Lost: 2, Text: []byte("lost")})
	older.Untopic(link.Untopic{ID: 1})
	give(newer, 2, 4)
	older.Down()
	give(newer, 2, 5)
	wantTexts(t, s, "1", "2", "3", "4", "5")
}

func TestATopicOutlivesTheLinkThatNumberedItFirst(t *testing.T) {
	h, s, older, newer := twoLinks()
	h.End(s, &fakeUpstream{})
	h.Forget(s.Info().ID)
	older.Down()
	if len(h.topics) != 1 {
		t.Errorf("%d topics, want the one that the newer link has numbered", len(h.topics))
	}
	newer.Down()
	if len(h.topics) != 0 {
		t.Errorf("%d topics are left", len(h.topics))
	}
}

func TestTwoLinksBringMessagesWithoutAPosition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, s, older, newer := twoLinks()
		bring(older, 1, "a", "b", "same", "same") // the newer one has not subscribed yet when a comes
		bring(newer, 2, "b", "c", "same", "same", "same")
		bring(older, 1, "c", "d", "same")
		wantTexts(t, s, "a", "b", "same", "same", "c", "same", "d")
		older.Down()
		bring(newer, 2, "d", "e", "e")
		wantTexts(t, s, "e", "e")
		time.Sleep(overlapAfter + time.Millisecond)
		bring(newer, 2, "a", "d", "e")
		wantTexts(t, s, "a", "d", "e")
	})
}

// TestP4_MovesInQuickSuccession: the second link is still behind the first when the third begins.
func TestP4_MovesInQuickSuccession(t *testing.T) {
	h, s, first, second := twoLinks()
	bring(first, 1, "a", "b")
	first.Down()
	third := h.begin()
	third.Topic(link.TopicNumber{ID: 3, Topic: "all"})
	bring(second, 2, "a")
	bring(third, 3, "b", "c")
	bring(second, 2, "b", "c", "d")
	second.Down()
	bring(third, 3, "d", "d")
	wantTexts(t, s, "a", "b", "c", "d", "d")
	third.Down()
	fourth := h.begin()
	fourth.Topic(link.TopicNumber{ID: 4, Topic: "all"})
	bring(fourth, 4, "e", "e")
	wantTexts(t, s, "e", "e")
}

func TestOfTooManyTextsTheNewerLinkPassesOnNone(t *testing.T) {
	_, s, older, newer := twoLinks()
	var want []string
	for i := range overlapTexts + 10 {
		text := fmt.Sprint("t", i)
		bring(older, 1, text)
		want = append(want, text)
	}
	bring(newer, 2, "new", want[0], want[overlapTexts+5])
	bring(older, 1, "new")
	if got := s.Take(); !slices.Equal(got, append(want, "new")) {
		t.Errorf("got %d texts, the last %q; want %d", len(got), got[len(got)-1], len(want)+1)
	}
}

// A relay that is left enters a topic at its own top, while the new one has yet to bring what lies before.
func TestATopicThatIsNumberedOnTheOldLinkBringsNothing(t *testing.T) {
	_, s, older, newer := twoLinks()
	newer.Publication(link.Publication{Topic: 2, Position: pos(1, 1), Payload: []byte("1")})
	older.Topic(link.TopicNumber{ID: 1, Topic: "all", Position: pos(1, 2)}) // the old relay entered its first member at its top
	newer.Publication(link.Publication{Topic: 2, Position: pos(1, 2), Payload: []byte("2")})
	older.Publication(link.Publication{Topic: 1, Position: pos(1, 4), Payload: []byte("4")})
	newer.Publication(link.Publication{Topic: 2, Position: pos(1, 3), Payload: []byte("3")})
	wantTexts(t, s, "1", "2", "3")
}

func TestP8_BeyondTheBoundNothingIsDoubledAfterTheOldLinkEither(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, s, older, newer := twoLinks()
		for i := range overlapTexts + 10 {
			bring(older, 1, fmt.Sprint("t", i))
		}
		s.Take()
		older.Down()
		bring(newer, 2, fmt.Sprint("t", overlapTexts+5)) // the new relay is behind
		if got := s.Take(); len(got) != 0 {
			t.Errorf("given twice: %q", got)
		}
	})
}

// The older link brought it just before the tables were read; the new relay, which follows the topic already, is behind.
func TestWhatCameBeforeTheTablesIsNotDoubled(t *testing.T) {
	h := newMirror(HubConfig{})
	s := openAll(h, &fakeUpstream{}, "1")[0]
	older := h.Feed
	older.Topic(link.TopicNumber{ID: 1, Topic: "all"})
	older.Leaving()
	bring(older, 1, "a")
	newer := h.begin()
	newer.Topic(link.TopicNumber{ID: 2, Topic: "all"})
	bring(newer, 2, "a")
	wantTexts(t, s, "a")
}

// A move of an hour ago has no part in what another link brings.
func TestAnOverlapThatIsOverStaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, s, older, newer := twoLinks()
		bring(older, 1, "hello")
		older.Down()
		wantTexts(t, s, "hello")
		time.Sleep(time.Hour)
		newer.Down() // lost
		time.Sleep(100 * time.Millisecond)
		third := h.begin()
		third.Topic(link.TopicNumber{ID: 3, Topic: "all"})
		time.Sleep(100 * time.Millisecond)
		bring(third, 3, "hello")
		wantTexts(t, s, "hello")
	})
}
