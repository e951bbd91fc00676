package main

import (
	"context"

	"github.com/edgerelay/edgerelay/test/bench/growth"
	"github.com/edgerelay/edgerelay/test/bench/load"
)

// growPayload measures messages to one group while the messages get longer and longer.
func growPayload(ctx context.Context, b *bench) ([]growth.Figure, error) {
	f := growth.Figure{File: "payload", Title: "Payload", Grows: "bytes of a message", Unit: "µs", Axis: "CPU of edges and relay, µs"}
	err := b.onCluster(ctx, 2, nil, func(s *site, l *load.Loop) error {
		sp, err := openGroup(ctx, s, l, load.Group("g"), b.sessions(500))
		if err != nil {
			return err
		}
		for _, size := range b.points(64, 256, 1<<10, 4<<10, 16<<10, 64<<10) {
			b.say("payload: %d bytes", size)
			stream := sp.stream(l, size, 2)
			figures, err := medians(func() ([]float64, error) {
				m, err := s.round(ctx, l, load.Limits{Messages: 10_000, Time: b.roundTime()}, stream)
				return []float64{micros(m.servers(), m.Deliveries)}, err
			})
			if err != nil {
				return err
			}
			f.Add("CPU per delivery", growth.Proportional, float64(size), figures[0])
			f.Add("CPU per MB delivered", growth.Constant, float64(size), figures[0]/float64(size)*(1<<20))
		}
		return nil
	})
	return []growth.Figure{f}, err
}
