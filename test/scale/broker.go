package main

import (
	"context"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/broker/memorybroker"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// store is the back end of a cluster's relay, and of the relay that replaces it. It holds a
// memorybroker.Memory, and the last position of each topic that has a publication.
type store struct {
	memory *memorybroker.Memory
	tops   map[protocol.Topic]protocol.Position
}

// relayBroker is a relay's broker. The memorybroker.Memory of the store keeps the publications,
// marks and histories. Almost all subscriptions are to topics without a publication. relayBroker
// answers such a subscription at once, and keeps it only from the first publication on. So the
// memory that a real broker needs for these subscriptions is not measured.
type relayBroker struct {
	*memorybroker.Handle
	store  *store
	events []broker.Event
}

var _ broker.Broker = (*relayBroker)(nil)

func newStore() *store {
	return &store{memory: memorybroker.New(memorybroker.Config{}), tops: map[protocol.Topic]protocol.Position{}}
}

func (s *store) broker() *relayBroker { return &relayBroker{Handle: s.memory.Broker(), store: s} }

// Run implements broker.Broker. Nobody calls it: relay.settle takes the events.
func (b *relayBroker) Run(context.Context, func(broker.Event)) error { return nil }

// relayBroker.take returns the events since the last call.
func (b *relayBroker) take() []broker.Event {
	b.events = append(b.events, b.Take()...)
	events := b.events
	b.events = nil
	return events
}

// Subscribe implements broker.Broker.
func (b *relayBroker) Subscribe(t protocol.Topic, token uint64, begin bool) {
	if _, published := b.store.tops[t]; published {
		b.Handle.Subscribe(t, token, begin)
		return
	}
	answer := broker.Subscribed{Topic: t, Token: token}
	if begin {
		b.events = append(b.events, b.Take()...)
		b.Begin(t, token)
		began := b.Take()[0].(broker.Began)
		answer.Begun, answer.Genuine = began.Top.Epoch, began.Genuine
	}
	b.events = append(b.events, answer)
}

// Publish implements broker.Broker. Before the first publication of a topic, Publish subscribes to
// the topic. Until then Subscribe only answers, and keeps no subscription.
func (b *relayBroker) Publish(p broker.Publish) {
	b.events = append(b.events, b.Take()...)
	if _, published := b.store.tops[p.Topic]; !published {
		b.Handle.Subscribe(p.Topic, 0, false)
		b.Take() // drops a second Subscribed event, since b.Subscribe has sent one
	}
	b.Handle.Publish(p)
	for _, ev := range b.Take() {
		if done, ok := ev.(broker.Published); ok && done.Outcome == broker.Done {
			b.store.tops[p.Topic] = done.Position
		}
		b.events = append(b.events, ev)
	}
}

// relayBroker.die ends the subscriptions that are kept.
func (b *relayBroker) die() {
	for t := range b.store.tops {
		b.Unsubscribe(t)
	}
}
