package main

import (
	"context"
	"fmt"
	"time"

	"github.com/edgerelay/edgerelay/test/bench/load"
)

// windows are the numbers of messages in flight that the scenario fanout measures.
var windows = []int{1, 4, 16}

func fanoutCase(members, window int) string {
	return fmt.Sprintf("%d members, %d in flight", members, window)
}

// fanout measures messages to one group with members on all servers.
func fanout(ctx context.Context, b *bench, f *form) error {
	for _, members := range []int{1000, 10_000} {
		budgets := map[int]float64{} // key: messages in flight
		if members == 1000 {
			budgets = map[int]float64{4: 4, 16: 2}
		}
		err := f.with(ctx, b, func(s *site, l *load.Loop) error {
			speaker, err := openGroup(ctx, s, l, load.Group("g"), b.sessions(members))
			if err != nil {
				return err
			}
			for _, window := range windows {
				r := b.of("fanout", f, fanoutCase(b.sessions(members), window))
				c, err := b.toAll(ctx, s, l, speaker, messageSize, window)
				if err != nil {
					return err
				}
				r.deliveries(c, budgets[window])
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// The function broadcast measures messages to everybody.
func broadcast(ctx context.Context, b *bench, f *form) error {
	return f.with(ctx, b, func(s *site, l *load.Loop) error {
		n := b.sessions(5000)
		speaker, err := openGroup(ctx, s, l, load.All, n)
		if err != nil {
			return err
		}
		r := b.of("broadcast", f, fmt.Sprintf("%d sessions, 4 in flight", n))
		c, err := b.toAll(ctx, s, l, speaker, messageSize, 4)
		if err != nil {
			return err
		}
		r.deliveries(c, 0)
		return nil
	})
}

// The function payload measures short and long messages to a group.
func payload(ctx context.Context, b *bench, f *form) error {
	return f.with(ctx, b, func(s *site, l *load.Loop) error {
		n := b.sessions(500)
		speaker, err := openGroup(ctx, s, l, load.Group("g"), n)
		if err != nil {
			return err
		}
		for _, size := range []int{64, 1 << 10, 16 << 10} {
			r := b.of("payload", f, fmt.Sprintf("%d bytes to %d members, 4 in flight", size, n))
			c, err := b.toAll(ctx, s, l, speaker, size, 4)
			if err != nil {
				return err
			}
			r.deliveries(c, 0)
		}
		return nil
	})
}

// The function groups measures messages to many small groups, one message in flight in each.
func groups(ctx context.Context, b *bench, f *form) error {
	return f.with(ctx, b, func(s *site, l *load.Loop) error {
		n := b.sessions(1000)
		r := b.of("groups", f, fmt.Sprintf("%d groups of 10, one in flight each", n))
		speakers, err := openGroups(ctx, s, l, n, 10)
		if err != nil {
			return err
		}
		var streams []*load.Stream
		for _, speaker := range speakers {
			streams = append(streams, speaker.stream(l, messageSize, 1))
		}
		c, err := measure(ctx, s, l, load.Limits{Messages: 300_000, Time: b.time(4 * time.Second)}, streams...)
		if err != nil {
			return err
		}
		r.messages(c, 0)
		r.deliveries(c, 0)
		return nil
	})
}

// toAll measures messages from a speaker to all its listeners.
func (b *bench) toAll(ctx context.Context, s *site, l *load.Loop, sp speaker, size, window int) (cost, error) {
	most := min(2_000_000/len(sp.listeners), 4_000_000_000/size/len(sp.listeners))
	return measure(ctx, s, l, load.Limits{Messages: most, Time: b.time(3 * time.Second)}, sp.stream(l, size, window))
}
