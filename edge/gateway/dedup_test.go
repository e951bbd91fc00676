package gateway

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
)

// twoLinks returns a Hub with two links and one session. The session is a member of the topic
// "all". That topic has the number 1 on the older link, and 2 on the newer link.
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
		// "a" comes before the relay of the newer link has subscribed.
		bring(older, 1, "a", "b", "same", "same")
		bring(newer, 2, "b", "c", "same", "same", "same")
		bring(older, 1, "c", "d", "same")
		wantTexts(t, s, "a", "b", "same", "same", "c", "same", "d")
		older.Down()
		bring(newer, 2, "d", "e", "e")
		wantTexts(t, s, "e", "e")
		newer.Live()
		time.Sleep(overlapAfter + time.Millisecond)
		bring(newer, 2, "a", "d", "e")
		wantTexts(t, s, "a", "d", "e")
	})
}

// In TestP2_ASlowLinkBringsNothingTwice, an old link brings two publications and ends. A slow new
// link brings the first of them again 10 s later. The member must not get that publication twice.
// Since the relay never says Live, the counts are forgotten some time later. From then on a
// publication that comes again is passed on.
func TestP2_ASlowLinkBringsNothingTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, s, older, newer := twoLinks()
		bring(older, 1, "a", "b")
		older.Down()
		time.Sleep(5 * overlapAfter)
		bring(newer, 2, "a")
		time.Sleep(overlapMost - 4*overlapAfter + time.Millisecond)
		bring(newer, 2, "b")
		wantTexts(t, s, "a", "b", "b")
		if h.overlap != nil {
			t.Error("texts are still counted")
		}
	})
}

// TestP4_MovesInQuickSuccession begins a third link while the second link has not yet brought all
// publications of the first. The member must get each publication once.
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

// TestATopicThatIsNumberedOnTheOldLinkBringsNothing checks a topic that the old relay gives a
// number only after a move has begun. The old relay begins the topic at its own top. The old link's
// messages of this topic are dropped, since the new relay has yet to bring the messages before that
// top.
func TestATopicThatIsNumberedOnTheOldLinkBringsNothing(t *testing.T) {
	_, s, older, newer := twoLinks()
	newer.Publication(link.Publication{Topic: 2, Position: pos(1, 1), Payload: []byte("1")})
	// The old relay gets its first member of the topic only now. It begins the topic at its own
	// top.
	older.Topic(link.TopicNumber{ID: 1, Topic: "all", Position: pos(1, 2)})
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
		bring(newer, 2, fmt.Sprint("t", overlapTexts+5)) // the new relay brings this text only now
		if got := s.Take(); len(got) != 0 {
			t.Errorf("given twice: %q", got)
		}
	})
}

// TestWhatCameBeforeTheTablesIsNotDoubled checks a message that the older link brings just before
// the newer link begins. The newer link brings the message too. The member must get the message
// once, since the call of Leaving has begun the counting.
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

// TestAMoveThatIsOverCountsNoMore begins a move by calling Leaving on the old link. Once the move
// is over, no texts may be counted any more.
func TestAMoveThatIsOverCountsNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newMirror(HubConfig{})
		s := openAll(h, &fakeUpstream{}, "1")[0]
		older := h.Feed
		older.Topic(link.TopicNumber{ID: 1, Topic: "all"})
		older.Leaving()
		newer := h.begin()
		newer.Topic(link.TopicNumber{ID: 2, Topic: "all"})
		older.Down()
		newer.Live()
		time.Sleep(overlapAfter + time.Millisecond)
		bring(newer, 2, "a")
		if h.overlap != nil {
			t.Error("texts are still counted")
		}
		wantTexts(t, s, "a")
	})
}

// TestTheEndOfAnOlderLinkIsNoEndOfLeaving checks an edge that begins to leave its second link while
// its first link is still up. Then the first link ends. After that the second link and a third link
// bring the same message. The member must get the message once.
func TestTheEndOfAnOlderLinkIsNoEndOfLeaving(t *testing.T) {
	h, s, first, second := twoLinks()
	second.Leaving()
	first.Down()
	bring(second, 2, "a")
	third := h.begin()
	third.Topic(link.TopicNumber{ID: 3, Topic: "all"})
	bring(third, 3, "a")
	wantTexts(t, s, "a")
}

// TestAnOverlapThatIsOverStaysSo checks that a move an hour ago has no effect on a third link. A
// text that came during that move must be passed on when the third link brings it.
func TestAnOverlapThatIsOverStaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, s, older, newer := twoLinks()
		bring(older, 1, "hello")
		older.Down()
		wantTexts(t, s, "hello")
		time.Sleep(time.Hour)
		newer.Down() // the link is lost
		time.Sleep(100 * time.Millisecond)
		third := h.begin()
		third.Topic(link.TopicNumber{ID: 3, Topic: "all"})
		time.Sleep(100 * time.Millisecond)
		bring(third, 3, "hello")
		wantTexts(t, s, "hello")
	})
}

// TestALinkThatOutlivesTheNextOneIsCounted checks a first link that outlives the second by more
// than overlapAfter. Then a third link begins, and the edge begins to leave the third link. If the
// first and the third link bring the same message, the member must get the message once.
func TestALinkThatOutlivesTheNextOneIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, s, first, second := twoLinks()
		second.Down()
		time.Sleep(2 * overlapAfter)
		third := h.begin()
		third.Topic(link.TopicNumber{ID: 3, Topic: "all"})
		third.Leaving()
		bring(first, 1, "a")
		bring(third, 3, "a", "b")
		bring(first, 1, "b")
		wantTexts(t, s, "a", "b")
		third.Staying()
		first.Down()
		time.Sleep(2 * overlapAfter)
		bring(third, 3, "b")
		wantTexts(t, s, "b")
	})
}

// TestWhoStaysCountsNoMore calls Leaving and then Staying. After that, no texts may be counted.
func TestWhoStaysCountsNoMore(t *testing.T) {
	h := newMirror(HubConfig{})
	s := openAll(h, &fakeUpstream{}, "1")[0]
	h.Feed.Topic(link.TopicNumber{ID: 1, Topic: "all"})
	for range 3 {
		h.Feed.Leaving()
		bring(h.Feed, 1, "a")
		h.Feed.Staying()
	}
	if h.overlap != nil {
		t.Error("texts are still counted")
	}
	wantTexts(t, s, "a", "a", "a")
}

func ahead(f *Feed, number, id uint64, text string) {
	f.Ahead(link.Ahead{Topic: number, ID: id, Payload: []byte(text)})
}

func published(f *Feed, number, epoch, offset, id uint64, text string) {
	f.Publication(link.Publication{Topic: number, Position: pos(epoch, offset), ID: id, Payload: []byte(text)})
}

func TestP5_WhatWasGivenAheadIsNotGivenAgain(t *testing.T) {
	h := newMirror(HubConfig{})
	sessions := openAll(h, &fakeUpstream{}, "1", "2")
	f := h.Feed
	f.Topic(link.TopicNumber{ID: 1, Topic: "all"})
	published(f, 1, 1, 1, 11, "a")
	ahead(f, 1, 12, "b")
	ahead(f, 1, 12, "b") // a relay may give a message ahead a second time
	// The message with the ID 11 was published above. A relay that does not know of its publication
	// may still give the message ahead.
	ahead(f, 1, 11, "a")
	// The sender is user 1.
	f.Ahead(link.Ahead{Topic: 1, ID: 13, Except: "1", Payload: []byte("not for one")})
	f.Down()
	g := h.begin() // the link of another relay
	g.Topic(link.TopicNumber{ID: 7, Topic: "all"})
	ahead(g, 7, 12, "b")
	published(g, 7, 1, 2, 12, "b")
	published(g, 7, 1, 3, 14, "c")
	published(g, 7, 1, 4, 13, "not for one")
	wantTexts(t, sessions[0], "a", "b", "c")
	wantTexts(t, sessions[1], "a", "b", "not for one", "c")
	if n := len(h.given.ahead) + len(h.given.older); n != 1 {
		t.Errorf("%d are still waited for, want the one that was published before it came ahead", n)
	}
}

// TestP6_WhatIsPublishedBeforeItComesAheadIsNotGivenOnceMore checks a message that the old link
// brings as a publication. The new link first gives it ahead, and then brings the publication too.
// The member must not get the message again.
func TestP6_WhatIsPublishedBeforeItComesAheadIsNotGivenOnceMore(t *testing.T) {
	var g given
	if had, _, _ := g.takePublished(11, false); had {
		t.Error("a new message was taken for one that was given")
	}
	if v := g.takeAhead(11, false); v != repeat {
		t.Errorf("what was published came ahead: verdict %v, want %v", v, repeat)
	}
	if had, _, number := g.takePublished(11, false); !had || number != g.count {
		t.Error("what was published, and came ahead, would be given once more")
	}
}

// TestP5_WhatWasGivenAheadInALongOutageIsNotGivenAgain checks that a message given ahead is
// recognised when it is published, even if the outage is longer than givenAge.
func TestP5_WhatWasGivenAheadInALongOutageIsNotGivenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newMirror(HubConfig{})
		s := openAll(h, &fakeUpstream{}, "1")[0]
		f := h.Feed
		f.Topic(link.TopicNumber{ID: 1, Topic: "all"})
		f.BrokerBack() // the broker is there when the link begins
		for id, text := range []string{"a", "b", "c"} {
			ahead(f, 1, uint64(id+1), text)
			time.Sleep(givenAge + time.Second)
		}
		f.BrokerBack()
		for id, text := range []string{"a", "b", "c"} {
			published(f, 1, 1, uint64(id+1), uint64(id+1), text)
		}
		wantTexts(t, s, "a", "b", "c")
	})
}

// TestP5_GivenAheadOutlivesTheTopic checks a member that gets a message ahead, leaves and comes
// back. The member must not get the message again, even if the topic is forgotten in between.
func TestP5_GivenAheadOutlivesTheTopic(t *testing.T) {
	h := newMirror(HubConfig{})
	s := openAll(h, &fakeUpstream{}, "1")[0]
	f := h.Feed
	enter := func() {
		f.Topic(link.TopicNumber{ID: 9, Topic: "group:g"})
		f.Joined(link.Joined{Session: s.Info().ID, Topic: 9, Granted: true}, false)
	}
	enter()
	ahead(f, 9, 5, "x")
	f.Left(link.Left{Session: s.Info().ID, Topic: 9, Granted: true}, false)
	f.Untopic(link.Untopic{ID: 9})
	enter()
	published(f, 9, 1, 1, 5, "x")
	wantTexts(t, s, "x")
}

// TestP2_APublicationOfALostEpochIsNotGivenTwice checks a Redis that comes back empty. The messages
// that were under way are published again, in a new epoch. The member must get each of them once.
func TestP2_APublicationOfALostEpochIsNotGivenTwice(t *testing.T) {
	h := newMirror(HubConfig{})
	s := openAll(h, &fakeUpstream{}, "1")[0]
	h.Feed.Topic(link.TopicNumber{ID: 1, Topic: "all"})
	published(h.Feed, 1, 1, 1, 11, "a")
	published(h.Feed, 1, 1, 2, 12, "b")
	published(h.Feed, 1, 2, 1, 12, "b")
	published(h.Feed, 1, 2, 2, 13, "c")
	wantTexts(t, s, "a", "b", "c")
}

// TestP2_APublicationOfALostEpochIsNotGivenTwiceToWhoCameBack checks a member that left a topic and
// comes back after Redis was emptied. The topic's entry is then new and does not record the earlier
// epoch. Still, the member must not get again the messages that it had before.
func TestP2_APublicationOfALostEpochIsNotGivenTwiceToWhoCameBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newMirror(HubConfig{})
		s := openAll(h, &fakeUpstream{}, "1")[0]
		f := h.Feed
		f.Topic(link.TopicNumber{ID: 1, Topic: "all"})
		published(f, 1, 1, 1, 11, "a")
		join := func(epoch uint64) {
			f.Topic(link.TopicNumber{ID: 9, Topic: "group:g", Position: pos(epoch, 1)})
			f.Joined(link.Joined{Session: s.Info().ID, Topic: 9, Granted: true}, false)
		}
		join(2)
		published(f, 9, 2, 2, 12, "b")
		f.Left(link.Left{Session: s.Info().ID, Topic: 9, Granted: true}, false)
		f.Untopic(link.Untopic{ID: 9})
		published(f, 1, 3, 1, 13, "c") // another epoch: Redis was emptied
		join(3)
		published(f, 9, 3, 2, 12, "b")
		published(f, 9, 3, 3, 14, "d")
		wantTexts(t, s, "a", "b", "c", "d")
		time.Sleep(givenAge + time.Second)
		if h.given.aftermath() {
			t.Error("it has no end")
		}
	})
}

// TestP8_GivenAheadIsBounded checks that after a message has found no room, nothing more is given
// ahead until Redis is back. Otherwise a sender's later message could overtake that message.
func TestP8_GivenAheadIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newMirror(HubConfig{})
		s := openAll(h, &fakeUpstream{}, "1")[0]
		f := h.Feed
		f.Topic(link.TopicNumber{ID: 1, Topic: "all"})
		for id := range uint64(givenAhead) {
			ahead(f, 1, id+1, "")
			s.Take()
		}
		ahead(f, 1, givenAhead+1, "late")
		published(f, 1, 1, 1, 1, "")
		wantTexts(t, s)
		ahead(f, 1, givenAhead+2, "later")
		wantTexts(t, s)
		f.BrokerBack() // after this, the broker goes away once more
		ahead(f, 1, givenAhead+2, "later")
		wantTexts(t, s, "later")
		for range 2 { // messages that were never published are forgotten
			time.Sleep(givenAge + time.Second)
			f.BrokerBack()
		}
		if n := len(h.given.ahead) + len(h.given.older); n > 0 {
			t.Errorf("%d are remembered", n)
		}
		for id := range uint64(3 * givenRecent) {
			published(f, 1, 1, id+2, 1<<40+id, "")
		}
		if n := len(h.given.recent); n != givenRecent {
			t.Errorf("%d publications are remembered, want %d", n, givenRecent)
		}
		if !h.given.wasRecent(1<<40+3*givenRecent-1) || h.given.wasRecent(1<<40+givenRecent) {
			t.Error("it is not the last ones that are remembered")
		}
	})
}

func BenchmarkPublishedWhileMuchIsGivenAhead(b *testing.B) {
	h := newMirror(HubConfig{})
	h.Feed.Topic(link.TopicNumber{ID: 1, Topic: "all"})
	for id := range uint64(givenAhead / 2) {
		ahead(h.Feed, 1, id+1, fmt.Sprint(id))
	}
	b.ReportAllocs()
	for i := range b.N {
		published(h.Feed, 1, 1, uint64(i+1), 1<<40+uint64(i), "")
	}
}

// TestP6_WhatIsAheadWithoutAPayloadIsGivenToNobody checks a message that is older than all
// memberships of this edge. The relay sends only the message's ID ahead. The members must not get
// the message when it is published.
func TestP6_WhatIsAheadWithoutAPayloadIsGivenToNobody(t *testing.T) {
	h := newMirror(HubConfig{})
	s := openAll(h, &fakeUpstream{}, "1")[0]
	h.Feed.Topic(link.TopicNumber{ID: 1, Topic: "all"})
	ahead(h.Feed, 1, 5, "")
	published(h.Feed, 1, 1, 1, 5, "x")
	published(h.Feed, 1, 1, 2, 6, "y")
	wantTexts(t, s, "y")
}
