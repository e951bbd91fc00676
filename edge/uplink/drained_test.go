package uplink

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/edgerelay/edgerelay/shared/link"
)

// sentDrained reads all frames that l has yet to send, and returns those that are Drained.
func sentDrained(t *testing.T, l *Link) (list []link.Drained) {
	t.Helper()
	for batch := l.Fill(nil); len(batch) > 0; batch = l.Fill(nil) {
		for len(batch) > 0 {
			typ, body, remainder, err := link.Next(batch)
			if err != nil {
				t.Fatal(err)
			}
			if batch = remainder; typ == link.TypeDrained {
				d, err := link.ParseDrained(body)
				if err != nil {
					t.Fatal(err)
				}
				list = append(list, d)
			}
		}
	}
	return list
}

// TestDrainedIsSentOnItsLink says Drained on links in four states: on the link in use, on one whose
// tables are not told yet, on one that is being left, and on one that has ended. Only the first two
// must send it.
func TestDrainedIsSentOnItsLink(t *testing.T) {
	hub := &fakeHub{comparable: true}
	s := NewLinks(LinksConfig{}, hub)
	woken := 0
	l := NewLink(s, link.FeatureSDK, func() { woken++ })
	say := hub.say[0]
	say(link.Drained{Session: 1, Bytes: 17_000})
	if first := l.Fill(nil); len(first) == 0 || woken != 1 {
		t.Fatalf("%d bytes, woken %d times", len(first), woken)
	} else if typ, _, rest, _ := link.Next(first); typ != link.TypeSynced || len(rest) > 0 {
		t.Fatalf("%v comes before the tables are told", typ)
	}
	const many = 20_000 // more than a batch has room for
	want := []link.Drained{{Session: 1, Bytes: 17_000}}
	for i := range uint64(many) {
		d := link.Drained{Session: 2, Bytes: 20_000 + i}
		want = append(want, d)
		say(d)
	}
	if got := sentDrained(t, l); !slices.Equal(got, want) {
		t.Errorf("%d frames, want %d", len(got), len(want))
	}
	say(link.Drained{Session: 3})
	next := NewLink(s, link.FeatureSDK, func() {})
	if got := sentDrained(t, l); len(got) != 0 {
		t.Errorf("a link that is being left sends %v", got)
	}
	if say(link.Drained{Session: 4}); len(l.drains.frames) != 0 {
		t.Error("frames are kept for a link that is being left")
	}
	if l.Leave(); fmt.Sprint(kinds(t, l)) != "[moved]" {
		t.Error("a link that is being left sends more than Moved")
	}
	if got := sentDrained(t, next); len(got) != 0 {
		t.Errorf("the next link sends %v", got)
	}
	hub.say[1](link.Drained{Session: 5, Bytes: 9})
	if got := fmt.Sprint(sentDrained(t, next)); got != "[{5 9}]" {
		t.Errorf("the next link sends %s", got)
	}
	l.Down()
	next.Down()
	hub.say[1](link.Drained{Session: 6})
	if len(next.drains.frames) != 0 {
		t.Error("frames are kept for a link that has ended")
	}
	if NewLink(s, 0, func() {}).Down(); len(hub.say) != 2 {
		t.Error("a link without the feature says Drained")
	}
}

// TestARepeatedLongAnswerIsDrainedAtOnce brings the same answer twice, be it an Answer or an
// Answered. The second time it is not passed on, and Drained must be said of it.
func TestARepeatedLongAnswerIsDrainedAtOnce(t *testing.T) {
	hub := &fakeHub{comparable: true}
	s := NewLinks(LinksConfig{}, hub)
	l := NewLink(s, link.FeatureSDK, func() {})
	enrolled(t, s, link.Client{ID: 1})
	s.Open(link.Session{ID: 2, User: "2"})
	for number := range uint64(5) {
		s.Accept(number%2+1, []byte("a"))
	}
	sentDrained(t, l)
	long, short := bytes.Repeat([]byte("x"), link.LongAnswer+1), bytes.Repeat([]byte("x"), link.LongAnswer)
	drained := fmt.Sprintf("[{1 %d}]", len(long))
	for i, c := range []struct {
		answer appender
		again  string // what is sent when the answer comes again
	}{
		{link.Answer{Number: 1, Session: 1, Text: long}, drained},
		{link.Answer{Number: 2, Session: 2, Text: long}, "[]"}, // a session of the chat
		{link.Answer{Number: 3, Session: 1, Text: short}, "[]"},
		{link.Answered{Number: 5, Session: 1, Text: long}, drained},
	} {
		for _, want := range []string{"[]", c.again} {
			if err := take(l, c.answer); err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(sentDrained(t, l)); got != want {
				t.Errorf("answer %d: sent %s, want %s", i, got, want)
			}
		}
	}
	l.Down()
}

// TestDrainedRacesWithALink is for the race detector. It says Drained from several goroutines while
// a link sends and ends.
func TestDrainedRacesWithALink(t *testing.T) {
	hub := &fakeHub{comparable: true}
	s := NewLinks(LinksConfig{}, hub)
	for range 20 {
		l := NewLink(s, link.FeatureSDK, func() {})
		say := hub.say[len(hub.say)-1]
		var saying sync.WaitGroup
		for n := range uint64(4) {
			saying.Go(func() {
				for i := range uint64(100) {
					say(link.Drained{Session: n, Bytes: i})
				}
			})
		}
		for range 10 {
			l.Fill(nil)
		}
		l.Down()
		saying.Wait()
	}
}
