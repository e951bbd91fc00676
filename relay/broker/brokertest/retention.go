package brokertest

import (
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// These are the topics of testRetention. For longTopic, the function raise asks for more than the
// Config raised keeps of every topic. For lessTopic, the function asks for less.
const (
	longTopic  protocol.Topic = "group:long"
	lessTopic  protocol.Topic = "group:less"
	usualTopic protocol.Topic = "group:usual"
	longSize                  = 150
	longAge                   = 6 * time.Second
)

func raise(t protocol.Topic) broker.Retention {
	switch t {
	case longTopic:
		return broker.Retention{Size: longSize, Age: longAge}
	case lessTopic:
		return broker.Retention{Size: 1, Age: time.Millisecond}
	}
	return broker.Retention{}
}

// testRetention publishes to longTopic, lessTopic and usualTopic. Each topic must keep its own
// number of publications, for its own time. The last position must be kept for as long as a history
// and a mark together.
func testRetention(t *testing.T, b Backend) {
	t.Parallel() // this test waits for expiry
	r, reader := Start(t, b.NewBroker(t)), Start(t, b.NewBroker(t))
	const slack = 100 * time.Millisecond // clocks are not exact
	number := uint64(0)
	next := func(topic protocol.Topic) protocol.Position {
		number++
		return r.Say(topic, number, "m")
	}
	// fresh publishes n messages to a topic, and must then read as many as the argument kept says.
	// It publishes again if the history may have expired before it was read.
	fresh := func(topic protocol.Topic, n, kept int, age time.Duration) (last protocol.Position, since time.Time) {
		for {
			for range n {
				since = time.Now()
				last = next(topic)
			}
			list := behind(reader, topic, protocol.Position{})
			if time.Since(since) > age-slack {
				continue
			}
			if len(list) != kept || list[kept-1].Position != last {
				t.Fatalf("%s: %d are kept, want %d through %v", topic, len(list), kept, last)
			}
			return last, since
		}
	}
	gone := func(topic protocol.Topic, what string, since time.Time, after time.Duration, is func(broker.History) bool) {
		t.Helper()
		Eventually(t, string(topic)+": "+what, func() bool { return is(reader.History(topic, protocol.Position{})) })
		if d := time.Since(since); d < after-slack {
			t.Fatalf("%s: %s after %v, want %v", topic, what, d, after)
		}
	}
	empty := func(page broker.History) bool { return len(page.Publications) == 0 }
	unknown := func(page broker.History) bool { return page.Top.IsZero() }

	for {
		last, since := fresh(longTopic, 2*longSize, longSize, longAge)
		for _, topic := range []protocol.Topic{usualTopic, lessTopic} {
			_, since := fresh(topic, 2*raised.HistorySize, raised.HistorySize, raised.HistoryAge)
			gone(topic, "no history", since, raised.HistoryAge, empty)
			if topic == usualTopic {
				gone(topic, "no last position", since, raised.HistoryAge+raised.MarkAge, unknown)
			}
		}
		// By now, other topics would have lost the history and the last position.
		at := next(longTopic)
		list := behind(reader, longTopic, protocol.Position{})
		if time.Since(since) > longAge-slack {
			continue // it took too long, and the history may have expired
		}
		if len(list) != longSize || list[longSize-2].Position != last || list[longSize-1].Position != at || at.Epoch != last.Epoch {
			t.Fatalf("%d are kept after a while, behind %v and %v", len(list), last, at)
		}
		break
	}
	last, since := fresh(longTopic, 1, longSize, longAge)
	gone(longTopic, "no history", since, longAge, empty)
	if page := reader.History(longTopic, protocol.Position{}); page.Top != last && time.Since(since) < longAge+raised.MarkAge-slack {
		t.Errorf("the last position is kept for no longer than the history: %+v", page)
	}
	gone(longTopic, "no last position", since, longAge+raised.MarkAge, unknown)
}
