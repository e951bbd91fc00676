package redisbroker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/broker/brokertest"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/test/redistest"
)

// slowly returns a relay whose way to the server carries so many bytes a second on each connection, one whose way is not slow, and the slow way.
func slowly(t *testing.T, rate int64) (slow, other *brokertest.Relay, way *proxy) {
	t.Helper()
	server := redistest.Start(t)
	way = newProxy(t, server)
	slow, other = relayOn(t, way.url), relayOn(t, server.URL)
	way.rate.Store(rate)
	return slow, other, way
}

// sayAll publishes messages of a size on each topic, all at once, and wants each published by that.
func sayAll(t *testing.T, r *brokertest.Relay, topics []protocol.Topic, messages, size int) {
	t.Helper()
	from, asked := r.Events(), make(map[uint64]bool)
	for n := range messages {
		for _, topic := range topics {
			p := broker.Publish{Token: r.Token(), Topic: topic, From: "1", Msg: strings.Repeat("x", size), Instance: r.Instance, Number: uint64(n + 1)}
			asked[p.Token] = true
			r.Publish(p)
		}
	}
	for range asked {
		var answer broker.Published
		answer, from = brokertest.Await(r, from, "Published", func(e broker.Published) bool { return asked[e.Token] })
		if answer.Outcome != broker.Done {
			t.Fatalf("%+v", answer)
		}
	}
}

// wantCalm wants neither absence nor deafness told from a place on.
func wantCalm(t *testing.T, r *brokertest.Relay, from int) {
	t.Helper()
	for end := r.Events(); from < end; {
		var e broker.Event
		e, from = brokertest.Await(r, from, "any event", func(broker.Event) bool { return true })
		switch e.(type) {
		case broker.State, broker.Deaf:
			t.Errorf("a way that is slow was told as %+v", e)
		}
	}
}

func manyTopics(n int) (list []protocol.Topic) {
	for i := range n {
		list = append(list, protocol.GroupTopic(fmt.Sprint("slow", i)))
	}
	return list
}

// TestHistoryOverASlowWay reads as much at once as an edge that comes back asks for, which takes more than 3 s.
func TestHistoryOverASlowWay(t *testing.T) {
	t.Parallel()
	slow, other, way := slowly(t, 5<<19)
	topics, from := manyTopics(16), slow.Events()
	sayAll(t, other, topics, 64, 8<<10)
	before := way.carried.Load()
	read := func(topic protocol.Topic, after protocol.Position) { slow.ReadHistory(topic, after, slow.Token()) }
	for _, topic := range topics {
		read(topic, protocol.Position{})
	}
	brokertest.Await(slow, from, "History", func(broker.History) bool { return true })
	if carried := way.carried.Load() - before; carried > 7<<19 {
		t.Errorf("the first page was answered behind %d bytes: behind all others", carried)
	}
	last, place := make(map[protocol.Topic]uint64), from
	for unfinished := len(topics); unfinished > 0; {
		var page broker.History
		page, place = brokertest.Await(slow, place, "History", func(broker.History) bool { return true })
		if page.Err != nil {
			t.Fatal(page.Err)
		}
		for _, p := range page.Publications {
			if p.Number != last[page.Topic]+1 {
				t.Fatalf("%s: number %d after %d", page.Topic, p.Number, last[page.Topic])
			}
			last[page.Topic] = p.Number
		}
		if page.More {
			read(page.Topic, page.Through)
			continue
		}
		if last[page.Topic] != 64 {
			t.Errorf("%s ends with number %d", page.Topic, last[page.Topic])
		}
		unfinished--
	}
	wantCalm(t, slow, from)
}

// TestSubscribedOverASlowWay subscribes to topics whose last messages would take 8 s.
func TestSubscribedOverASlowWay(t *testing.T) {
	t.Parallel()
	slow, other, _ := slowly(t, 1<<20)
	topics, from := manyTopics(500), slow.Events()
	sayAll(t, other, topics, 1, 16<<10)
	for i, topic := range topics {
		slow.Subscribe(topic, uint64(1<<40+i))
	}
	place := from
	for range topics {
		var e broker.Subscribed
		e, place = brokertest.Await(slow, place, "Subscribed", func(broker.Subscribed) bool { return true })
		if e.Top.Offset != 1 {
			t.Errorf("%+v, want the place of the one message", e)
		}
	}
	wantCalm(t, slow, from)
}

// TestSlowWayCut loses the way in the midst of what takes long.
func TestSlowWayCut(t *testing.T) {
	t.Parallel()
	r, other, p := slowly(t, 128<<10)
	sayAll(t, other, []protocol.Topic{group}, 1, protocol.MaxMsg)
	from, token, before := r.Events(), r.Token(), p.carried.Load()
	r.ReadHistory(group, protocol.Position{}, token)
	big := broker.Publish{Token: r.Token(), Topic: group, From: "1", Msg: strings.Repeat("x", protocol.MaxMsg), Instance: r.Instance, Number: 2}
	r.Publish(big)
	eventually(t, "a part is carried", func() bool { return p.carried.Load() > before+64<<10 })
	began := time.Now()
	p.swallow.Store(true)
	awaitState(r, from, true)
	within(t, "told", began, noticed)
	answer, _ := brokertest.Await(r, from, "History", func(e broker.History) bool { return e.Token == token })
	if answer.Err == nil {
		t.Error("read over a way that was cut")
	}
	brokertest.Await(r, from, "Published", func(e broker.Published) bool { return e.Token == big.Token })
	within(t, "the publication is given up", began, 10*time.Second)
}

// TestPublishedOverASlowWay has a backlog that takes 4 s.
func TestPublishedOverASlowWay(t *testing.T) {
	t.Parallel()
	slow, _, _ := slowly(t, 256<<10)
	from := slow.Events()
	sayAll(t, slow, manyTopics(1), 64, 16<<10)
	wantCalm(t, slow, from)
}

// TestBiggestMessageOverASlowWay has one that takes more than 3 s.
func TestBiggestMessageOverASlowWay(t *testing.T) {
	for _, c := range []struct {
		name string
		pass func(t *testing.T, slow, other *brokertest.Relay)
	}{
		{"published", func(t *testing.T, slow, _ *brokertest.Relay) {
			sayAll(t, slow, []protocol.Topic{group}, 1, protocol.MaxMsg)
		}},
		{"received", func(t *testing.T, slow, other *brokertest.Relay) {
			slow.Join(group)
			sayAll(t, other, []protocol.Topic{group}, 1, protocol.MaxMsg)
			slow.Received(group, 0, 1)
		}},
		{"read", func(t *testing.T, slow, other *brokertest.Relay) {
			sayAll(t, other, []protocol.Topic{group}, 1, protocol.MaxMsg)
			if page := slow.History(group, protocol.Position{}); len(page.Publications) != 1 {
				t.Errorf("%d publications", len(page.Publications))
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			slow, other, _ := slowly(t, 320<<10)
			from := slow.Events()
			c.pass(t, slow, other)
			wantCalm(t, slow, from)
		})
	}
}
