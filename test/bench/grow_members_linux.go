package main

import (
	"context"
	"fmt"

	"github.com/edgerelay/edgerelay/test/bench/growth"
	"github.com/edgerelay/edgerelay/test/bench/load"
)

// growMembers sends to one group that has more and more members.
func growMembers(ctx context.Context, b *session) ([]growth.Figure, error) {
	f := growth.Figure{File: "members", Title: "Members of one group", Grows: "members", Unit: "µs", Axis: "CPU, µs"}
	err := b.onCluster(ctx, 2, nil, func(s *site, l *load.Loop) error {
		var sp speaker
		for _, n := range b.scaled(10, 30, 100, 300, 1000, 3000, 10_000) {
			b.say("members: %d", n)
			if err := sp.more(ctx, s, l, load.Group("g"), n); err != nil {
				return err
			}
			for _, window := range []int{4, 1} {
				stream := sp.stream(l, messageSize, window)
				figures, err := medians(func() ([]float64, error) {
					m, err := s.round(ctx, l, load.Limits{Messages: 10_000, Time: b.roundTime()}, stream)
					return []float64{micros(m.servers(), m.Deliveries), micros(m.parts.relay, m.Messages)}, err
				})
				if err != nil {
					return err
				}
				if window > 1 {
					f.Add(fmt.Sprintf("edges and relay, per delivery, %d in flight", window), growth.Constant, float64(n), figures[0])
				} else {
					f.Add("relay alone, per message, one in flight", growth.Constant, float64(n), figures[1])
				}
			}
		}
		return nil
	})
	return []growth.Figure{f}, err
}
