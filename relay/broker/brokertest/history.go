package brokertest

import (
	"fmt"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// fill publishes n messages and returns the position of each.
func fill(r *Relay, t protocol.Topic, n int) []protocol.Position {
	var list []protocol.Position
	for i := range n {
		list = append(list, r.Say(t, uint64(i+1), fmt.Sprint(i+1)))
	}
	return list
}

// The function named behind reads what a history has after a position, in as many pages as needed.
func behind(r *Relay, t protocol.Topic, after protocol.Position) (list []broker.Publication) {
	r.t.Helper()
	for {
		page := r.History(t, after)
		list = append(list, page.Publications...)
		if !page.More {
			return list
		}
		if !after.Before(page.Through) {
			r.t.Fatalf("history of %s: a page after %v says that there is more, and is through %v",
				t, after, page.Through)
		}
		after = page.Through
	}
}

func testPages(t *testing.T, b Backend) {
	r := Start(t, b.NewBroker(t))
	if page := r.History(group, protocol.Position{}); len(page.Publications) != 0 || page.More || !page.Top.IsZero() {
		t.Fatalf("history of nothing: %+v", page)
	}
	const messages = 90
	at := fill(r, group, messages)
	for _, c := range []struct {
		name  string
		after protocol.Position
		first int // number of the first expected publication
		n     int
		more  bool
	}{
		{"from the beginning", protocol.Position{}, 1, broker.PageSize, true},
		{"the second page", at[broker.PageSize-1], broker.PageSize + 1, messages - broker.PageSize, false},
		{"exactly one page", at[messages-broker.PageSize-1], messages - broker.PageSize + 1, broker.PageSize, false},
		{"one more than a page", at[messages-broker.PageSize-2], messages - broker.PageSize, broker.PageSize, true},
		{"the last", at[messages-2], messages, 1, false},
		{"from the top", at[messages-1], 0, 0, false},
		{"from an earlier epoch", protocol.Position{Epoch: at[0].Epoch - 1, Offset: 70}, 1, broker.PageSize, true},
		{"from a later epoch", protocol.Position{Epoch: at[0].Epoch + 1, Offset: 1}, 0, 0, false},
	} {
		page := r.History(group, c.after)
		if len(page.Publications) != c.n || page.More != c.more || page.Top != at[messages-1] {
			t.Errorf("%s: %d publications, more %v, top %v", c.name, len(page.Publications), page.More, page.Top)
			continue
		}
		through := protocol.Position{}
		if c.n > 0 {
			through = at[c.first+c.n-2]
		}
		if page.Through != through {
			t.Errorf("%s: through %v, want %v", c.name, page.Through, through)
		}
		for i, p := range page.Publications {
			number := c.first + i
			want := broker.Publication{
				Topic: group, Position: at[number-1], Content: protocol.Content{From: "1", Msg: fmt.Sprint(number)}, Instance: r.Instance, Number: uint64(number),
			}
			if p != want {
				t.Errorf("%s: %+v, want %+v", c.name, p, want)
			}
		}
	}
}

func testTrimmed(t *testing.T, b Backend) {
	r := Start(t, b.NewBroker(t))
	const messages, kept = 250, 100
	at := fill(r, group, messages)
	page := r.History(group, at[9])
	if len(page.Publications) == 0 || page.Publications[0].Position != at[messages-kept] || !page.More {
		t.Errorf("after number 10, of %d with %d kept: %+v", messages, kept, page)
	}
	page = r.History(group, at[messages-2])
	if len(page.Publications) != 1 || page.Publications[0].Position != at[messages-1] || page.More {
		t.Errorf("after the last but one: %+v", page)
	}
}

// testEpochPages reads the history of a topic that has had several epochs. For each publication, it
// reads the history after that publication, and must get exactly the publications that follow. It
// then reads after positions that the history does not have.
func testEpochPages(t *testing.T, b Backend) {
	r := Start(t, b.NewBroker(t))
	var all []broker.Publication
	n, top := uint64(0), protocol.Position{}
	for _, length := range []int{1, 3, 40, 2, 1, 25} {
		for i := range length {
			n++
			p := r.Message(group, n, fmt.Sprint(n))
			pub := broker.Publication{Topic: group, Content: protocol.Content{From: "1", Msg: p.Msg}, Instance: r.Instance, Number: n}
			if i == 0 && n > 1 {
				// A publisher that knows a higher position than the top begins a new epoch.
				p.Known = protocol.Position{Epoch: top.Epoch, Offset: top.Offset + 9}
				pub.Previous = top
			}
			top = r.Put(p)
			pub.Position = top
			all = append(all, pub)
		}
	}
	samePublications(t, "all", behind(r, group, protocol.Position{}), all)
	for i, pub := range all {
		samePublications(t, fmt.Sprint("behind ", pub.Position), behind(r, group, pub.Position), all[i+1:])
	}
	lost := all[0].Position
	lost.Offset += 9 // the epoch ended before this offset
	samePublications(t, "behind a lost one", behind(r, group, lost), all[1:])
	between := all[4].Position
	between.Epoch--
	between.Offset = 70
	samePublications(t, "behind an epoch that is not there", behind(r, group, between), all[4:])
}

func testGenuine(t *testing.T, b Backend) {
	r := Start(t, b.NewBroker(t))
	if page := r.History(group, protocol.Position{}); page.Genuine {
		t.Errorf("history of nothing: %+v", page)
	}
	for n := range uint64(10) {
		r.Say(group, n+1, "m")
		Eventually(t, "the server that gave it tells it", func() bool {
			return r.History(group, protocol.Position{}).Genuine
		})
	}
}

// testLongExpiry waits until a history of many publications has expired, and then publishes many
// more. Their positions must continue from the last position of the expired history. A page of the
// history must have only the new publications.
func testLongExpiry(t *testing.T, b Backend) {
	t.Parallel() // this test waits for expiry
	r := Start(t, b.NewBroker(t))
	const long = 30
	first := fill(r, group, long)[long-1]
	Eventually(t, "history gone", func() bool { return len(r.History(group, protocol.Position{}).Publications) == 0 })
	next := first
	for n := range uint64(long) {
		next.Offset++
		if got := r.Say(group, long+n+1, "m"); got != next {
			t.Fatalf("after the history's end: %v, want %v", got, next)
		}
	}
	began := time.Now()
	page := r.History(group, protocol.Position{})
	for i, pub := range page.Publications {
		if want := (protocol.Position{Epoch: first.Epoch, Offset: next.Offset - uint64(len(page.Publications)-1-i)}); pub.Position != want || pub.Position.Offset <= first.Offset {
			t.Errorf("%v read as number %d of %d, want %v", pub.Position, i+1, len(page.Publications), want)
		}
	}
	if page.Top != next || len(page.Publications) == 0 && time.Since(began) < brief.HistoryAge/2 {
		t.Errorf("history %+v, want the top %v", page, next)
	}
}

func testExpiry(t *testing.T, b Backend) {
	t.Parallel() // this test waits for expiry
	r, other := Start(t, b.NewBroker(t)), Start(t, b.NewBroker(t))
	first := fill(r, group, 3)[2]
	Eventually(t, "history gone", func() bool { return len(r.History(group, protocol.Position{}).Publications) == 0 })

	// The back end still tells the last position. A publication continues from that position, even
	// if the publisher does not know the position.
	after := protocol.Position{Epoch: first.Epoch, Offset: 1}
	if page := r.History(group, after); len(page.Publications) != 0 || page.More || !page.Through.IsZero() || page.Top != first {
		t.Errorf("history after its end: %+v, want the top %v", page, first)
	}
	if top := other.Join(group).Top; top != first {
		t.Errorf("subscribed after the history's end: top %v, want %v", top, first)
	}
	again := broker.Publish{Topic: group, Content: protocol.Content{From: "1", Msg: "again"}, Instance: r.Instance, Number: 2}
	if answer := other.Ask(again); answer.Outcome != broker.Duplicate || answer.Position != first {
		t.Errorf("number 2 again: %+v, want a Duplicate at %v", answer, first)
	}
	next := first
	for n := uint64(1); ; n++ {
		next.Offset++
		began := time.Now()
		if got := other.Say(group, n, "m"); got != next {
			t.Errorf("after the history's end: %v, want %v", got, next)
		}
		page := r.History(group, after)
		if len(page.Publications) == 0 && time.Since(began) > brief.HistoryAge {
			continue // the history expired before it was read
		}
		if len(page.Publications) != 1 || page.Publications[0].Position != next ||
			page.More || page.Top != next {
			t.Errorf("history begun again: %+v, want %v alone", page, next)
		}
		break
	}

	Eventually(t, "last position gone", func() bool { return r.History(group, protocol.Position{}).Top.IsZero() })
	born := r.Put(again) // the mark has expired too
	if born.Epoch <= first.Epoch || born.Offset != 1 {
		t.Errorf("born again at %v after %v", born, next)
	}
	late := other.Message(group, 60, "m")
	late.Predecessor, late.Floor = 59, 59 // the mark is gone, and the Floor sets it
	r.Put(late)
}

// testExpiryKnown publishes after the history has expired. The publisher has seen a higher position
// than the topic's last one. So the topic has lost publications, and a new epoch must begin.
func testExpiryKnown(t *testing.T, b Backend) {
	t.Parallel() // this test waits for expiry
	r := Start(t, b.NewBroker(t))
	first := fill(r, group, 3)[2]
	Eventually(t, "history gone", func() bool { return len(r.History(group, protocol.Position{}).Publications) == 0 })
	known := broker.Publish{Topic: group, Content: protocol.Content{From: "1", Msg: "m"}, Instance: r.Instance, Number: 4}
	known.Known = protocol.Position{Epoch: first.Epoch, Offset: first.Offset + 1}
	if at := r.Put(known); at.Epoch <= first.Epoch || at.Offset != 1 {
		t.Errorf("knowing %v: %v after %v, want a later epoch", known.Known, at, first)
	}
}

func testName(t *testing.T, b Backend) {
	x, y := Start(t, b.NewBroker(t)), Start(t, b.NewBroker(t))
	Eventually(t, "names known", func() bool { return x.Name() != "" && y.Name() != "" })
	if x.Name() != y.Name() {
		t.Errorf("%q and %q", x.Name(), y.Name())
	}
}
