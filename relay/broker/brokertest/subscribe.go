package brokertest

import (
	"fmt"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// testSubscribedTop subscribes again and again while another relay publishes. From each Subscribed on, Top and what follows must be whole.
func testSubscribedTop(t *testing.T, b Backend) {
	speaker, listener := Start(t, b.NewBroker(t)), Start(t, b.NewBroker(t))
	stop, stopped := make(chan struct{}), make(chan uint64)
	go func() {
		n := uint64(0)
		for {
			select {
			case <-stop:
				stopped <- n
				return
			default:
				n++
				from, token := speaker.Events(), speaker.Token()
				speaker.Publish(broker.Publish{Token: token, Topic: group, From: "1", Msg: "m", Instance: speaker.Instance, Number: n})
				Await(speaker, from, "Published", func(e broker.Published) bool { return e.Token == token })
			}
		}
	}()
	for range 30 {
		from := listener.Events()
		answer := listener.Join(group)
		_, behind := Await(listener, from, "Subscribed", func(e broker.Subscribed) bool { return e.Token == answer.Token })
		next := answer.Top
		for _, p := range listener.Received(group, behind, 10) {
			if !next.Before(p.Position) {
				continue
			}
			if !next.IsZero() && (p.Position.Epoch != next.Epoch || p.Position.Offset != next.Offset+1) {
				t.Fatalf("subscribed at %v: %v received after %v", answer.Top, p.Position, next)
			}
			next = p.Position
		}
		listener.Unsubscribe(group)
	}
	close(stop)
	n := <-stopped
	if top := listener.Join(group).Top; top.Offset != n {
		t.Errorf("top %v after %d publications", top, n)
	}
}

func testFlush(t *testing.T, b Backend) {
	listener := Start(t, b.NewBroker(t))
	listener.Join(group)
	for n := range 50 {
		b.PublishBare(t, group, "1", fmt.Sprint(n))
		token := listener.Token()
		listener.Flush(token)
		Await(listener, 0, "Flushed", func(e broker.Flushed) bool { return e.Token == token && e.Heard })
		if got := len(listener.SoFar(group)); got != n+1 {
			t.Fatalf("%d received when the flush was answered, %d were published", got, n+1)
		}
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
	eventually(t, "one subscriber left", func() bool { return r.Count(group) == 1 })
	r.Say(group, 2, "not heard")
	r.Say(fence, 3, "fence")
	r.Received(fence, 0, 1)
	other.Received(group, 0, 2)
	if got := r.SoFar(group); len(got) != 1 {
		t.Errorf("received %+v", got)
	}
	r.Unsubscribe(group) // nothing to end
	if top := r.Join(group).Top; top.Offset != 2 {
		t.Errorf("subscribed again at %v", top)
	}
	r.Say(group, 4, "heard again")
	if got := r.Received(group, 0, 2)[1]; got.Msg != "heard again" {
		t.Errorf("received %+v", got)
	}
}

// eventually polls a condition of which no event tells.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(Patience); !holds(); {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func testChurn(t *testing.T, b Backend) {
	r := Start(t, b.NewBroker(t))
	in, out := protocol.GroupTopic("in"), protocol.GroupTopic("out")
	const turns = 500
	last := uint64(0)
	for n := range uint64(turns) {
		last = 1_000_000 + n
		r.Subscribe(in, last)
		r.Subscribe(out, last)
		r.Unsubscribe(out)
		if n < turns-1 {
			r.Unsubscribe(in)
		}
	}
	subscribed, _ := Await(r, 0, "last Subscribed", func(e broker.Subscribed) bool { return e.Topic == in && e.Token == last })
	if !subscribed.Top.IsZero() {
		t.Errorf("top %v", subscribed.Top)
	}
	eventually(t, "counts of 1 and 0", func() bool { return r.Count(in) == 1 && r.Count(out) == 0 })
	from := r.Events()
	r.Say(out, 1, "not heard")
	r.Say(in, 2, "heard")
	r.Received(in, from, 1)
	if got := r.SoFar(out); len(got) != 0 {
		t.Errorf("received %+v", got)
	}
	r.Subscribe(in, last+1) // a new token without an Unsubscribe between
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
		r.Subscribe(topic(i), uint64(i+1))
	}
	place, seen := 0, make(map[protocol.Topic]bool)
	for len(seen) < topics {
		var e broker.Subscribed
		e, place = Await(r, place, "Subscribed", func(broker.Subscribed) bool { return true })
		if seen[e.Topic] || topic(int(e.Token)-1) != e.Topic {
			t.Fatalf("%+v", e)
		}
		seen[e.Topic] = true
	}
	for i := 0; i < topics; i += 100 {
		position := r.Say(topic(i), uint64(i+1), "m")
		if got := r.Received(topic(i), place, 1)[0]; got.Position != position || position.Offset != 1 {
			t.Fatalf("%+v, published at %v", got, position)
		}
	}
}

func testCount(t *testing.T, b Backend) {
	x, y := Start(t, b.NewBroker(t)), Start(t, b.NewBroker(t))
	want := func(n int64) {
		t.Helper()
		eventually(t, fmt.Sprint(n, " subscribers"), func() bool { return x.Count(group) == n })
	}
	want(0)
	x.Join(group)
	want(1)
	y.Join(group)
	want(2)
	x.Join(group) // again: still one
	want(2)
	y.Unsubscribe(group)
	want(1)
}

func testBare(t *testing.T, b Backend) {
	r := Start(t, b.NewBroker(t))
	r.Join(group)
	before := r.Say(group, 1, "ours")
	b.PublishBare(t, group, "7", "theirs 【é】")
	after := r.Say(group, 2, "ours again")
	got := r.Received(group, 0, 3)
	if want := (broker.Publication{Topic: group, From: "7", Msg: "theirs 【é】"}); got[1] != want {
		t.Errorf("received %+v, want %+v", got[1], want)
	}
	if after.Offset != before.Offset+1 {
		t.Errorf("%v after %v", after, before)
	}
	if page := r.History(group, protocol.Position{}); len(page.Publications) != 2 {
		t.Errorf("history %+v", page)
	}
}
