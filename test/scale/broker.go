package main

import (
	"context"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/broker/memorybroker"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// store is the broker behind all relays: memorybroker.Memory, and the last position of each topic
// that has a publication.
type store struct {
	memory *memorybroker.Memory
	tops   map[protocol.Topic]protocol.Position
}

// relayBroker is a relay's broker. memorybroker.Memory keeps its publications, marks and
// histories. Almost all subscriptions are to topics without a publisher. It answers these and does
// not keep them: what a real broker holds for them is measured elsewhere.
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

// Run implements broker.Broker. Nobody calls it: events are taken.
func (b *relayBroker) Run(context.Context, func(broker.Event)) error { return nil }

// take returns the events since the last call.
func (b *relayBroker) take() []broker.Event {
	b.events = append(b.events, b.Take()...)
	events := b.events
	b.events = nil
	return events
}

// Subscribe implements broker.Broker.
func (b *relayBroker) Subscribe(t protocol.Topic, token uint64) {
	if _, published := b.store.tops[t]; published {
		b.Handle.Subscribe(t, token)
		return
	}
	b.events = append(b.events, broker.Subscribed{Topic: t, Token: token})
}

// Publish implements broker.Broker. What is published to is subscribed.
func (b *relayBroker) Publish(p broker.Publish) {
	b.events = append(b.events, b.Take()...)
	if _, published := b.store.tops[p.Topic]; !published {
		b.Handle.Subscribe(p.Topic, 0)
		b.Take() // its answer: the caller had one
	}
	b.Handle.Publish(p)
	for _, ev := range b.Take() {
		if done, ok := ev.(broker.Published); ok && done.Outcome == broker.Done {
			b.store.tops[p.Topic] = done.Position
		}
		b.events = append(b.events, ev)
	}
}

// die ends the subscriptions.
func (b *relayBroker) die() {
	for t := range b.store.tops {
		b.Unsubscribe(t)
	}
}
