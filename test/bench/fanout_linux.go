package main

import (
	"context"
	"fmt"
	"time"

	"github.com/edgerelay/edgerelay/test/bench/load"
)

// fanout sends to one group with members on all edges.
func fanout(ctx context.Context, b *session, f *form) error {
	for _, of := range []struct {
		members int
		budgets map[int]float64 // by messages in flight
	}{{1000, map[int]float64{4: 4, 16: 2}}, {10_000, nil}} {
		members := b.sessions(of.members)
		s, l, done, err := f.open(ctx, b)
		if err != nil {
			return err
		}
		err = b.toGroup(ctx, s, l, of.members, members, of.budgets)
		done()
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *session) toGroup(ctx context.Context, s *site, l *load.Loop, named, members int, budgets map[int]float64) error {
	speaker, wrap, receivers, err := group(ctx, s, l, "g", members)
	if err != nil {
		return err
	}
	for _, window := range []int{1, 4, 16} {
		what := fmt.Sprintf("%d members, %d in flight", members, window)
		b.say("fanout: %s, %s", s.form.name, what)
		stream := l.Stream(speaker, wrap, messageSize, window)
		for _, r := range receivers {
			r.Hear(stream)
		}
		c, err := measure(ctx, b, s, l, load.Limits{Messages: 2_000_000 / members, Time: b.time(3 * time.Second)}, stream)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		budget := 0.0
		if members == named {
			budget = s.form.budget(budgets[window])
		}
		b.row("fanout", s.form.name, what+", CPU per delivery", "µs", micros(c.servers, c.Deliveries), budget)
		b.row("fanout", s.form.name, what+", deliveries", "/s", float64(c.Deliveries)/c.Took.Seconds(), 0)
		b.latency("fanout", s.form.name, what, c.Latencies, 0, 0.5, 0.99)
	}
	return nil
}

// group opens the sessions of a group: one that sends, and others that receive.
func group(ctx context.Context, s *site, l *load.Loop, name string, members int) (speaker *load.Socket, wrap load.Wrap, receivers []*load.Socket, err error) {
	topic := load.Group(name)
	sockets, err := l.Open(ctx, members, func(i int) (string, load.Opening) {
		user := fmt.Sprintf("%s-%d", name, i)
		if i > 0 {
			return s.addr(i), s.form.dialect.Receive(user, topic)
		}
		opening, w := s.form.dialect.Send(user, topic)
		wrap = w
		return s.addr(i), opening
	})
	if err != nil {
		return nil, wrap, nil, err
	}
	return sockets[0], wrap, sockets[1:], l.Idle(ctx, settled)
}
