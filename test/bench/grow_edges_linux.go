package main

import (
	"context"
	"fmt"
	"time"

	"github.com/edgerelay/edgerelay/test/bench/growth"
	"github.com/edgerelay/edgerelay/test/bench/load"
)

// growEdges measures broadcasts to sessions that are spread over more and more edges.
func growEdges(ctx context.Context, b *bench) ([]growth.Figure, error) {
	cost := growth.Figure{File: "edges", Title: "Edges: the relay's work for a broadcast", Grows: "edges", Unit: "µs", Axis: "CPU of the relay per broadcast, µs"}
	bytes := growth.Figure{File: "edges-links", Title: "Edges: what a broadcast takes on all links", Grows: "edges", Unit: "B", Axis: "bytes per broadcast"}
	clients := growth.Figure{Grows: "edges"}
	for _, edges := range b.points(1, 2, 3, 4, 6, 8) {
		for _, n := range []int{80, 800} {
			n = max(n/10, b.sessions(n))
			b.say("edges: %d with %d sessions", edges, n)
			err := b.onCluster(ctx, edges, nil, func(s *site, l *load.Loop) error {
				sp, err := openGroup(ctx, s, l, load.All, n)
				if err != nil {
					return err
				}
				idle, err := s.idle(ctx, l, b.time(time.Second))
				if err != nil {
					return err
				}
				stream, messages := sp.stream(l, messageSize, 1), 20/min(b.scale.time, 4)
				figures, err := medians(func() ([]float64, error) {
					before := s.cluster.linkBytes(ctx)
					p, err := s.paced(ctx, l, messages, time.Second/20, stream)
					if err == nil {
						err = l.Idle(ctx, 100*time.Millisecond) // acknowledgements may still come
					}
					return []float64{micros(p.less(idle).relay, messages), (s.cluster.linkBytes(ctx) - before) / float64(messages)}, err
				})
				if err != nil {
					return err
				}
				cost.Add(fmt.Sprintf("CPU of the relay per broadcast, %d sessions in all", n), growth.Proportional, float64(edges), figures[0])
				bytes.Add(fmt.Sprintf("bytes on links per broadcast, %d sessions in all", n), growth.Proportional, float64(edges), figures[1])
				info, err := s.cluster.redis.Info()
				clients.Add(fmt.Sprintf("connections to Redis, %d sessions in all", n), growth.Constant, float64(edges), float64(info.Clients))
				return err
			})
			if err != nil {
				return nil, err
			}
		}
	}
	return []growth.Figure{cost, bytes, clients}, nil
}
