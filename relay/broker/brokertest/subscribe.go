package brokertest

import (
	"fmt"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// testSubscribedTop subscribes again and again while another relay publishes. After each
// Subscribed, the first publications must continue from its Top without a gap.
func testSubscribedTop(t *testing.T, b Backend) {
	speaker, listener := Start(t, b.NewBroker(t)), Start(t, b.NewBroker(t))
	stop, stopped := make(chan struct{}), make(chan uint64, 1)
	go func() {
		n := uint64(0)
		defer func() { stopped <- n }()
		for {
			select {
			case <-stop:
				return
			default:
				n++
				speaker.Ask(speaker.Message(group, n, "m"))
			}
		}
	}()
	for range 30 {
		from := listener.Events()
		answer := listener.Join(group)
		_, index := Await(listener, from, "Subscribed", func(e broker.Subscribed) bool {
			return e.Token == answer.Token
		})
		followsWhole(t, listener, index, answer.Top)
		listener.Unsubscribe(group)
	}
	close(stop)
	n := <-stopped
	if top := listener.Join(group).Top; top.Offset != n {
		t.Errorf("top %v after %d publications", top, n)
	}
}

// followsWhole checks that the publications that r receives continue from top without a gap. If top
// is zero, any position may come first. Publications at or before top do not count. followsWhole
// begins with the event at the given index, and looks at ten events about the topic. If the
// subscription is lost, it looks at fewer.
func followsWhole(t *testing.T, r *Relay, index int, top protocol.Position) {
	t.Helper()
	for next, n := top, 0; n < 10; n++ {
		var e broker.Event
		e, index = Await(r, index, "publication", func(e broker.Event) bool { return about(e, group) })
		got, ok := e.(broker.Received)
		if !ok {
			return
		}
		at := got.Publication.Position
		if !next.Before(at) {
			continue
		}
		if !next.IsZero() && (at.Epoch != next.Epoch || at.Offset != next.Offset+1) {
			t.Fatalf("subscribed at %v: %v received after %v", top, at, next)
		}
		next = at
	}
}

func testFlush(t *testing.T, b Backend) {
	listener := Start(t, b.NewBroker(t))
	listener.Join(group)
	index, deaf := listener.Events(), false
	// The function named flushed publishes msg, calls Flush, and waits for a Flushed. It returns
	// true if this Flushed answers the call, its Heard is true, and msg has come. If only msg is
	// missing, and the subscription was not lost, the function fails the test.
	flushed := func(msg string) bool {
		t.Helper()
		b.PublishBare(t, group, "1", msg)
		token := listener.Token()
		listener.Flush(token)
		for received, lost := false, deaf; ; {
			var e broker.Event
			e, index = Await(listener, index, "Flushed", func(broker.Event) bool { return true })
			switch e := e.(type) {
			case broker.Received:
				received = received || e.Publication.Msg == msg
			case broker.Deaf:
				lost, deaf = true, true
			case broker.Subscribed:
				deaf = false
			case broker.Flushed:
				if e.Token == token && e.Heard && !received && !lost {
					t.Fatalf("a flush was answered before %q came, which was published before it", msg)
				}
				return e.Token == token && e.Heard && received
			}
		}
	}
	for n := range 50 {
		Eventually(t, "a flush is heard", func() bool { return flushed(fmt.Sprint(n)) })
	}
}

func testUnsubscribe(t *testing.T, b Backend) {
	r, other := Start(t, b.NewBroker(t)), Start(t, b.NewBroker(t))
	fence := protocol.GroupTopic("fence")
	r.Join(group)
	r.Join(fence)
	other.Join(group)
	r.Say(group, 1, "heard")
	r.Received(group, 0, 1)
	r.Unsubscribe(group)
	Eventually(t, "one subscriber left", func() bool { return r.Count(group) == 1 })
	r.Say(group, 2, "not heard")
	r.Say(fence, 3, "fence")
	r.Received(fence, 0, 1)
	other.Received(group, 0, 2)
	if got := r.SoFar(group); len(got) != 1 {
		t.Errorf("received %+v", got)
	}
	r.Unsubscribe(group) // there is no subscription to end
	if top := r.Join(group).Top; top.Offset != 2 {
		t.Errorf("subscribed again at %v", top)
	}
	index := r.Events()
	r.Say(group, 4, "heard again")
	if got := r.Received(group, index, 1)[0]; got.Msg != "heard again" {
		t.Errorf("received %+v", got)
	}
}

// Eventually polls a condition that no event announces, until the condition holds. It fails the
// test after Patience.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(Patience); !holds(); {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func testChurn(t *testing.T, b Backend) {
	r := Start(t, b.NewBroker(t))
	in, out := protocol.GroupTopic("in"), protocol.GroupTopic("out")
	const turns = 500
	last := uint64(0)
	for n := range uint64(turns) {
		last = 1_000_000 + n
		r.Subscribe(in, last, false)
		r.Subscribe(out, last, false)
		r.Unsubscribe(out)
		if n < turns-1 {
			r.Unsubscribe(in)
		}
	}
	subscribed, _ := Await(r, 0, "last Subscribed", func(e broker.Subscribed) bool { return e.Topic == in && e.Token == last })
	if !subscribed.Top.IsZero() {
		t.Errorf("top %v", subscribed.Top)
	}
	Eventually(t, "counts of 1 and 0", func() bool { return r.Count(in) == 1 && r.Count(out) == 0 })
	from := r.Events()
	r.Say(out, 1, "not heard")
	r.Say(in, 2, "heard")
	r.Received(in, from, 1)
	if got := r.SoFar(out); len(got) != 0 {
		t.Errorf("received %+v", got)
	}
	r.Subscribe(in, last+1, false) // a new token, without an Unsubscribe between
	again, _ := Await(r, from, "Subscribed with the new token", func(e broker.Subscribed) bool { return e.Token == last+1 })
	if again.Top.Offset != 1 {
		t.Errorf("top %v", again.Top)
	}
}

func testManyTopics(t *testing.T, b Backend) {
	r := Start(t, b.NewBroker(t))
	const topics = 5000
	topic := func(i int) protocol.Topic { return protocol.UserTopic(fmt.Sprint(i)) }
	for i := range topics {
		r.Subscribe(topic(i), uint64(i+1), false)
	}
	index, seen := 0, make(map[protocol.Topic]bool)
	for len(seen) < topics {
		var e broker.Event
		e, index = Await(r, index, "Subscribed", func(broker.Event) bool { return true })
		switch e := e.(type) {
		case broker.Deaf:
			clear(seen)
		case broker.Subscribed:
			if seen[e.Topic] || topic(int(e.Token)-1) != e.Topic {
				t.Fatalf("%+v", e)
			}
			seen[e.Topic] = true
		}
	}
	for i := 0; i < topics; i += 100 {
		position := r.Say(topic(i), uint64(i+1), "m")
		if got := r.Received(topic(i), index, 1)[0]; got.Position != position || position.Offset != 1 {
			t.Fatalf("%+v, published at %v", got, position)
		}
	}
}

func testCount(t *testing.T, b Backend) {
	x, y := Start(t, b.NewBroker(t)), Start(t, b.NewBroker(t))
	want := func(n int64) {
		t.Helper()
		Eventually(t, fmt.Sprint(n, " subscribers"), func() bool { return x.Count(group) == n })
	}
	want(0)
	x.Join(group)
	want(1)
	y.Join(group)
	want(2)
	x.Join(group) // joins a second time, and counts once
	want(2)
	y.Unsubscribe(group)
	want(1)
}

func testBare(t *testing.T, b Backend) {
	r := Start(t, b.NewBroker(t))
	r.Join(group)
	before := r.Say(group, 1, "ours")
	got := r.Bare(group, func() { b.PublishBare(t, group, "7", "theirs 【é】") })
	if want := (broker.Publication{Topic: group, Content: protocol.Content{From: "7", Msg: "theirs 【é】"}}); got != want {
		t.Errorf("received %+v, want %+v", got, want)
	}
	after := r.Say(group, 2, "ours again")
	if after.Offset != before.Offset+1 {
		t.Errorf("%v after %v", after, before)
	}
	if page := r.History(group, protocol.Position{}); len(page.Publications) != 2 {
		t.Errorf("history %+v", page)
	}
}
