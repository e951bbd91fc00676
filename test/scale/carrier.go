package main

import (
	"context"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// store is what is behind all relays: broker.Memory, with each topic that anything was published to, and its last position.
type store struct {
	memory *broker.Memory
	tops   map[protocol.Topic]protocol.Position
}

// carrier is a relay's broker. Publications, marks and histories are broker.Memory's. Subscriptions to topics that nobody publishes to, almost all, are answered here and not kept:
// what a real broker holds for them is measured elsewhere.
type carrier struct {
	*broker.Handle
	store  *store
	events []broker.Event
}

var _ broker.Broker = (*carrier)(nil)

func newStore() *store {
	return &store{memory: broker.NewMemory(broker.MemoryConfig{}), tops: map[protocol.Topic]protocol.Position{}}
}

func (s *store) carrier() *carrier { return &carrier{Handle: s.memory.Broker(), store: s} }

// Run implements broker.Broker. Nobody calls it: events are taken.
func (c *carrier) Run(context.Context, func(broker.Event)) error { return nil }

// take returns the events since the last call.
func (c *carrier) take() []broker.Event {
	c.events = append(c.events, c.Take()...)
	events := c.events
	c.events = nil
	return events
}

// Subscribe implements broker.Broker.
func (c *carrier) Subscribe(t protocol.Topic, token uint64) {
	if _, published := c.store.tops[t]; published {
		c.Handle.Subscribe(t, token)
		return
	}
	c.events = append(c.events, broker.Subscribed{Topic: t, Token: token})
}

// Publish implements broker.Broker. What is published to is subscribed.
func (c *carrier) Publish(p broker.Publish) {
	c.events = append(c.events, c.Take()...)
	if _, published := c.store.tops[p.Topic]; !published {
		c.Handle.Subscribe(p.Topic, 0)
		c.Take() // its answer: the caller had one
	}
	c.Handle.Publish(p)
	for _, ev := range c.Take() {
		if done, ok := ev.(broker.Published); ok && done.Outcome == broker.Done {
			c.store.tops[p.Topic] = done.Position
		}
		c.events = append(c.events, ev)
	}
}

// die ends the subscriptions.
func (c *carrier) die() {
	for t := range c.store.tops {
		c.Unsubscribe(t)
	}
}
