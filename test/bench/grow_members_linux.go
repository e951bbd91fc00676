package main

import (
	"context"
	"time"

	"github.com/edgerelay/edgerelay/test/bench/growth"
	"github.com/edgerelay/edgerelay/test/bench/load"
)

// growMembers measures messages to one group while the group gets more and more members.
func growMembers(ctx context.Context, b *bench) ([]growth.Figure, error) {
	f := growth.Figure{File: "members", Title: "Members of one group", Grows: "members", Unit: "µs", Axis: "CPU, µs"}
	err := b.onCluster(ctx, 2, nil, func(s *site, l *load.Loop) error {
		idle, err := s.idle(ctx, l, b.time(3*time.Second))
		if err != nil {
			return err
		}
		var sp speaker
		for _, n := range b.scaled(10, 30, 100, 1000, 3000, 10_000) {
			b.say("members: %d", n)
			if err := sp.more(ctx, s, l, load.Group("g"), n); err != nil {
				return err
			}
			figures, err := medians(func() ([]float64, error) {
				m, err := s.round(ctx, l, load.Limits{Messages: 10_000, Time: b.roundTime()}, sp.stream(l, messageSize, 4))
				return []float64{micros(m.servers(), m.Deliveries)}, err
			})
			if err != nil {
				return err
			}
			f.Add("edges and relay, per delivery, 4 in flight", growth.Constant, float64(n), figures[0])
			stream, messages := sp.stream(l, messageSize, 1), 10/min(b.scale.time, 4)
			figures, err = medians(func() ([]float64, error) {
				p, err := s.paced(ctx, l, messages, time.Second/8, stream)
				return []float64{micros(p.less(idle).relay, messages), micros(p.less(idle).redis, messages)}, err
			})
			if err != nil {
				return err
			}
			f.Add("relay alone, per message, 8 a second", growth.Constant, float64(n), figures[0])
			f.Add("Redis alone, per message, 8 a second", growth.Constant, float64(n), figures[1])
		}
		return nil
	})
	return []growth.Figure{f}, err
}
