package gateway

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
)

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
	ahead(f, 1, 12, "b")                                                               // from a tail
	ahead(f, 1, 11, "a")                                                               // of a relay that does not know that it was published
	f.Ahead(link.Ahead{Topic: 1, ID: 13, Except: "1", Payload: []byte("not for one")}) // its sender
	f.Down()
	g := h.begin() // another relay
	g.Topic(link.TopicNumber{ID: 7, Topic: "all"})
	ahead(g, 7, 12, "b")
	published(g, 7, 1, 2, 12, "b")
	published(g, 7, 1, 3, 14, "c")
	published(g, 7, 1, 4, 13, "not for one")
	wantTexts(t, sessions[0], "a", "b", "c")
	wantTexts(t, sessions[1], "a", "b", "not for one", "c")
	if n := len(h.given.ahead) + len(h.given.before); n != 0 {
		t.Errorf("%d are still waited for", n)
	}
}

// However long an outage lasts, what was given ahead in it is known when it is published.
func TestP5_WhatWasGivenAheadInALongOutageIsNotGivenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newMirror(HubConfig{})
		s := openAll(h, &fakeUpstream{}, "1")[0]
		f := h.Feed
		f.Topic(link.TopicNumber{ID: 1, Topic: "all"})
		f.BrokerBack() // it is there when the link begins
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

// A member that leaves and comes back, and the topic that is forgotten in between, change nothing.
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

// Redis came back empty: what was under way is published anew, in a new epoch.
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

// Who left a topic and came back after Redis was emptied is not given again what it had there before: the topic's place is new, and says nothing of the epoch before.
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

// Beyond the bound nothing is given ahead, until what was is published: a sender's later message must not overtake one that found no room.
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
		f.BrokerBack() // and away again
		ahead(f, 1, givenAhead+2, "later")
		wantTexts(t, s, "later")
		for range 2 { // what was never published is forgotten
			time.Sleep(givenAge + time.Second)
			f.BrokerBack()
		}
		if n := len(h.given.ahead) + len(h.given.before); n > 0 {
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
