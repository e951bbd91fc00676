package memorybroker_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/broker/brokertest"
	"github.com/edgerelay/edgerelay/relay/broker/memorybroker"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

type memoryBackend struct{ *brokertest.Memory }

func (b memoryBackend) NewBroker(testing.TB) broker.Broker { return b.Broker() }

func (b memoryBackend) PublishBare(_ testing.TB, t protocol.Topic, from, msg string) {
	b.Memory.PublishBare(t, from, msg)
}

func TestMemory(t *testing.T) {
	brokertest.Run(t, func(_ *testing.T, c brokertest.Config) brokertest.Backend {
		return memoryBackend{brokertest.NewMemory(brokertest.MemoryConfig{HistorySize: c.HistorySize, HistoryAge: c.HistoryAge, MarkAge: c.MarkAge, Retention: c.Retention})}
	})
}

var group = protocol.GroupTopic("g")

// TestFullQueue blocks a Handle's sink until the Handle's queue is full. The Handle must then send
// one Deaf, and a Subscribed whose Top is the position from which the Handle goes on.
func TestFullQueue(t *testing.T) {
	m := memorybroker.New(memorybroker.Config{QueueBytes: 1000})
	h := m.Broker()
	h.Subscribe(group, 1, false)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var held sync.Mutex // the test holds this mutex, and the sink waits for it
	held.Lock()
	events := make(chan broker.Event, 1000)
	var running sync.WaitGroup
	running.Go(func() {
		h.Run(ctx, func(e broker.Event) {
			events <- e
			held.Lock()
			defer held.Unlock()
		})
	})
	// This event says that the subscription is confirmed. The sink now waits until the test unlocks
	// the mutex. Until then, nothing else leaves the queue.
	<-events
	const messages = 100
	publish := func(n uint64) {
		h.Publish(broker.Publish{Topic: group, Content: protocol.Content{From: "1", Msg: fmt.Sprintf("%099d", n)}, Instance: protocol.Instance{1}, Number: n})
	}
	for n := range uint64(messages) {
		publish(n + 1)
	}
	held.Unlock()

	answers, received, deaf := 0, uint64(0), 0
	var again broker.Subscribed
	for again.Token == 0 || answers < messages {
		switch e := (<-events).(type) {
		case broker.Published:
			answers++
		case broker.Deaf:
			deaf++
		case broker.Received:
			if received++; e.Publication.Number != received || deaf > 0 {
				t.Fatalf("%d is the publication %d received, deaf %d times", e.Publication.Number, received, deaf)
			}
		case broker.Subscribed:
			if deaf > 0 {
				again = e
			}
		}
	}
	if deaf != 1 || received == 0 || received > 20 || again.Top.Offset != messages {
		t.Errorf("deaf %d times, %d received, then %+v", deaf, received, again)
	}
	publish(messages + 1)
	for {
		if e, ok := (<-events).(broker.Received); ok {
			if e.Publication.Number != messages+1 {
				t.Errorf("received %+v after the queue was full", e)
			}
			break
		}
	}
	cancel()
	running.Wait()
	h2 := m.Broker()
	h2.CountSubscribers(group, 7)
	ctx, cancel = context.WithCancel(t.Context())
	h2.Run(ctx, func(e broker.Event) {
		if c := e.(broker.Counted); c.Count != 0 {
			t.Errorf("%d subscribers after Run", c.Count)
		}
		cancel()
	})
}

// TestForgets lets hours pass. A Memory must keep histories, positions and marks only of the topics
// that were active lately.
func TestForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memorybroker.New(memorybroker.Config{})
		r := brokertest.Start(t, m.Broker())
		for n := range uint64(5000) {
			r.Say(protocol.UserTopic(fmt.Sprint(n)), n+1, "m")
			time.Sleep(time.Second)
		}
		synctest.Wait()
		var histories, positions, marks int
		if _, err := fmt.Sscanf(m.String(), "%d histories, %d positions, %d marks", &histories, &positions, &marks); err != nil {
			t.Fatal(err)
		}
		// There is one message a second, each on a topic of its own. So the Memory keeps as many
		// histories as the age of a history has seconds. It keeps positions and marks by the same
		// rule, with their own ages. It keeps up to 30 more of each, since a sweep comes only every
		// quarter of a history's age.
		if histories < 119 || histories > 151 || positions < 3719 || positions > 3751 || marks < 3599 || marks > 3631 {
			t.Errorf("keeps %s", m)
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if got, want := m.String(), "0 histories, 0 positions, 0 marks, 0 topics subscribed"; got != want {
			t.Errorf("keeps %s, want %s", got, want)
		}
	})
}

func BenchmarkMemoryPublish(b *testing.B) {
	for _, listeners := range []int{1, 10} {
		b.Run(fmt.Sprint("listeners=", listeners), func(b *testing.B) {
			m := memorybroker.New(memorybroker.Config{})
			ctx, cancel := context.WithCancel(b.Context())
			var running sync.WaitGroup
			done := make(chan struct{}, 1)
			for range listeners {
				l := m.Broker()
				l.Subscribe(group, 1, false)
				running.Go(func() { l.Run(ctx, func(broker.Event) {}) })
			}
			h := m.Broker()
			running.Go(func() {
				h.Run(ctx, func(e broker.Event) { done <- struct{}{} })
			})
			b.ReportAllocs()
			n := uint64(0)
			for b.Loop() {
				n++
				h.Publish(broker.Publish{Token: n, Topic: group, Content: protocol.Content{From: "1", Msg: "hello"}, Instance: protocol.Instance{1}, Number: n})
				<-done
			}
			cancel()
			running.Wait()
		})
	}
}
