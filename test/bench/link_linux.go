package main

import (
	"context"
	"fmt"
	"time"

	"github.com/edgerelay/edgerelay/test/bench/load"
)

// The function link measures how many bytes cross the links for each message to a group. It does so
// for groups of several sizes. If the group has at least 1000 members, the function also measures
// how many bytes cross the links in each second without messages.
func link(ctx context.Context, b *bench, f *form) error {
	for _, members := range []int{10, 100, 10_000} {
		err := f.with(ctx, b, func(s *site, l *load.Loop) error {
			n := members
			if n > 1000 {
				n = b.sessions(n)
			}
			r := b.of("link", f, fmt.Sprintf("%d members on two edges", n))
			speaker, err := openGroup(ctx, s, l, load.Group("g"), n)
			if err != nil {
				return err
			}
			stream := speaker.stream(l, messageSize, 1)
			before := s.cluster.linkBytes(ctx)
			result, err := l.Run(ctx, load.Limits{Messages: 200, Time: b.time(4 * time.Second)}, stream)
			if err != nil {
				return err
			}
			// Acknowledgements may follow the last message. They are counted too.
			if err := l.Idle(ctx, 100*time.Millisecond); err != nil {
				return err
			}
			r.add("bytes of both links, both ways, per message of 128", "B", (s.cluster.linkBytes(ctx)-before)/float64(result.Messages), 0)
			if n < 1000 {
				return nil
			}
			quiet := b.time(10 * time.Second)
			before = s.cluster.linkBytes(ctx)
			if err := l.Idle(ctx, quiet); err != nil {
				return err
			}
			r.add("bytes of both links when quiet", "B/s", (s.cluster.linkBytes(ctx)-before)/quiet.Seconds(), 0)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// linkBytes returns how many bytes have crossed the links of c.relay, both ways. This includes the
// bytes of WebSocket's framing.
func (c *cluster) linkBytes(ctx context.Context) float64 {
	return c.relay.Metric(ctx, "edgerelay_relay_link_bytes_total")
}
