package redisbroker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/broker/brokertest"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/test/long"
	"github.com/edgerelay/edgerelay/test/redistest"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// atLeastOnce makes up to three attempts. The test fails if none of them succeeds. It is for limits
// of time that a busy machine may miss once, but hardly three times.
func atLeastOnce(t *testing.T, attempt func() error) {
	t.Helper()
	var failures []error
	for range 3 {
		err := attempt()
		if err == nil {
			return
		}
		failures = append(failures, err)
	}
	t.Error(failures)
}

// The function named slowly returns a relay on a slow way to the server, another relay whose way is
// not slow, and the slow way. The parameter rate says how many bytes a second the slow way carries,
// on each connection and in each direction.
func slowly(t *testing.T, rate int64) (slow, other *brokertest.Relay, way *proxy) {
	t.Helper()
	server := redistest.Start(t)
	way = newProxy(t, server)
	slow, other = relayOn(t, way.url), relayOn(t, server.URL)
	way.rate.Store(rate)
	return slow, other, way
}

// sayAll publishes the given number of messages on each topic, one topic after the other. The
// messages of one topic are in one pipeline. The parameter size is the length of each message in
// bytes.
func sayAll(t *testing.T, r *brokertest.Relay, topics []protocol.Topic, messages, size int) {
	t.Helper()
	for _, topic := range topics {
		list := make([]broker.Publish, messages)
		for n := range list {
			list[n] = r.Message(topic, uint64(n+1), strings.Repeat("x", size))
		}
		r.Pipeline(list)
	}
}

// The function named calmly runs the given function over a slow way, up to three times. At least
// one of these attempts must succeed. In that attempt the slow relay may tell neither absence nor
// deafness.
func calmly(t *testing.T, rate int64, do func(slow, other *brokertest.Relay, way *proxy) error) {
	t.Helper()
	atLeastOnce(t, func() error {
		slow, other, way := slowly(t, rate)
		from := slow.Events()
		if err := do(slow, other, way); err != nil {
			return err
		}
		return calm(slow, from)
	})
}

// The function named calm returns an error for the first State or Deaf from an index on. It returns
// nil if there is neither.
func calm(r *brokertest.Relay, from int) error {
	for end := r.Events(); from < end; {
		var e broker.Event
		e, from = brokertest.Await(r, from, "any event", func(broker.Event) bool { return true })
		switch e.(type) {
		case broker.State, broker.Deaf:
			return fmt.Errorf("told as %+v", e)
		}
	}
	return nil
}

func manyTopics(n int) (list []protocol.Topic) {
	for i := range n {
		list = append(list, protocol.GroupTopic(fmt.Sprint("slow", i)))
	}
	return list
}

// TestHistoryOverASlowWay reads the histories of 16 topics at once, as a relay may do when an edge
// comes back. This takes more than 3 s. Each history must be read whole, and the first page must
// not wait for all other pages.
func TestHistoryOverASlowWay(t *testing.T) {
	long.Only(t, "a slow way takes its time")
	t.Parallel()
	calmly(t, 5<<19, func(slow, other *brokertest.Relay, way *proxy) error {
		topics, from := manyTopics(16), slow.Events()
		sayAll(t, other, topics, 64, 8<<10)
		before := way.carried.Load()
		read := func(topic protocol.Topic, after protocol.Position) {
			slow.ReadHistory(topic, after, slow.Token())
		}
		for _, topic := range topics {
			read(topic, protocol.Position{})
		}
		brokertest.Await(slow, from, "History", func(broker.History) bool { return true })
		carried := way.carried.Load() - before
		last, index := make(map[protocol.Topic]uint64), from
		var failure error
		for unanswered := len(topics); unanswered > 0; unanswered-- {
			var page broker.History
			page, index = brokertest.Await(slow, index, "History", func(broker.History) bool { return true })
			if page.Err != nil {
				failure = page.Err
				continue
			}
			for _, p := range page.Publications {
				if p.Number != last[page.Topic]+1 {
					t.Fatalf("%s: number %d after %d", page.Topic, p.Number, last[page.Topic])
				}
				last[page.Topic] = p.Number
			}
			if page.More {
				read(page.Topic, page.Through)
				unanswered++
			} else if last[page.Topic] != 64 {
				t.Errorf("%s ends with number %d", page.Topic, last[page.Topic])
			}
		}
		if failure == nil && carried > 7<<19 {
			failure = fmt.Errorf("the first page was answered behind %d bytes: behind all others", carried)
		}
		return failure
	})
}

// TestSubscribedOverASlowWay subscribes to many topics over a slow way. The relay must read the
// tops of these topics, but not their last messages. With the messages, the reads would take about
// 8 s.
func TestSubscribedOverASlowWay(t *testing.T) {
	long.Only(t, "a slow way takes its time")
	t.Parallel()
	calmly(t, 1<<20, func(slow, other *brokertest.Relay, _ *proxy) error {
		topics, index := manyTopics(500), slow.Events()
		sayAll(t, other, topics, 1, 16<<10)
		for i, topic := range topics {
			slow.Subscribe(topic, uint64(1<<40+i), false)
		}
		for range topics {
			var e broker.Subscribed
			e, index = brokertest.Await(slow, index, "Subscribed", func(e broker.Subscribed) bool {
				return e.Token >= 1<<40
			})
			if e.Top.Offset != 1 {
				t.Errorf("%+v, want the position of the one message", e)
			}
		}
		return nil
	})
}

// TestManySubscribedOverASlowWay subscribes a new relay to 7,000 topics with long names, over a
// slow way. The commands take about 4 s, which is longer than the constant silence. Redis must have
// something to confirm meanwhile, so that the connection is not lost.
func TestManySubscribedOverASlowWay(t *testing.T) {
	long.Only(t, "a slow way takes its time")
	t.Parallel()
	calmly(t, 256<<10, func(_, _ *brokertest.Relay, way *proxy) error {
		const topics = 7000
		b := openBroker(t, Config{URL: way.url})
		for i := range topics {
			b.Subscribe(protocol.GroupTopic(fmt.Sprintf("%0*d", protocol.MaxID, i)), 1, false)
		}
		r, index := brokertest.Start(t, b), 0
		for range topics {
			_, index = brokertest.Await(r, index, "Subscribed", func(broker.Subscribed) bool { return true })
		}
		if lost := testutil.ToFloat64(b.(*Broker).subscriber.metrics.lost); lost > 0 {
			return fmt.Errorf("%v connections were lost", lost)
		}
		return nil
	})
}

// TestSlowWayCut cuts a slow way while a page and a publication are on it. The relay must tell in
// time that Redis is away. The read must fail, and the publication must be answered.
func TestSlowWayCut(t *testing.T) {
	long.Only(t, "a slow way takes its time")
	t.Parallel()
	r, other, p := slowly(t, 128<<10)
	sayAll(t, other, []protocol.Topic{group}, 1, protocol.MaxMsg)
	from, token, before := r.Events(), r.Token(), p.carried.Load()
	r.ReadHistory(group, protocol.Position{}, token)
	big := broker.Publish{Token: r.Token(), Topic: group, Content: protocol.Content{From: "1", Msg: strings.Repeat("x", protocol.MaxMsg)}, Instance: r.Instance, Number: 2}
	r.Publish(big)
	brokertest.Eventually(t, "a part is carried", func() bool { return p.carried.Load() > before+64<<10 })
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

// TestPublishedOverASlowWay publishes a backlog that takes about 4 s. No absence may be told.
func TestPublishedOverASlowWay(t *testing.T) {
	long.Only(t, "a slow way takes its time")
	t.Parallel()
	calmly(t, 256<<10, func(slow, _ *brokertest.Relay, _ *proxy) error {
		sayAll(t, slow, manyTopics(1), 64, 16<<10)
		return nil
	})
}

// TestBiggestMessageOverASlowWay publishes a message of the greatest length, receives such a
// message, and reads such a message from history. Each of the three takes more than 3 s. No absence
// may be told.
func TestBiggestMessageOverASlowWay(t *testing.T) {
	long.Only(t, "a slow way takes its time")
	for _, c := range []struct {
		name string
		pass func(t *testing.T, slow, other *brokertest.Relay) error
	}{
		{"published", func(t *testing.T, slow, _ *brokertest.Relay) error {
			sayAll(t, slow, []protocol.Topic{group}, 1, protocol.MaxMsg)
			return nil
		}},
		{"received", func(t *testing.T, slow, other *brokertest.Relay) error {
			slow.Join(group)
			sayAll(t, other, []protocol.Topic{group}, 1, protocol.MaxMsg)
			slow.Received(group, 0, 1)
			return nil
		}},
		{"read", func(t *testing.T, slow, other *brokertest.Relay) error {
			sayAll(t, other, []protocol.Topic{group}, 1, protocol.MaxMsg)
			page := slow.Read(group, protocol.Position{})
			if page.Err == nil && len(page.Publications) != 1 {
				t.Errorf("%d publications", len(page.Publications))
			}
			return page.Err
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			calmly(t, 320<<10, func(slow, other *brokertest.Relay, _ *proxy) error {
				return c.pass(t, slow, other)
			})
		})
	}
}
