package main

import (
	"context"
	"fmt"
	"time"

	"github.com/edgerelay/edgerelay/test/bench/load"
)

// redis measures what messages cost on Redis: commands, scripts, CPU time and memory.
func redis(ctx context.Context, b *bench, f *form) error {
	if err := b.asked(ctx, f); err != nil {
		return err
	}
	return b.kept(ctx, f)
}

// bench.kept measures the memory that Redis takes for topics that got one message each.
func (b *bench) kept(ctx context.Context, f *form) error {
	return f.with(ctx, b, func(s *site, l *load.Loop) error {
		const size = 100
		n := b.sessions(2000)
		r := b.of("redis", f, fmt.Sprintf("%d users, a message of %d bytes to each", n, size))
		sockets, err := openSessions(ctx, s, l, n)
		if err != nil {
			return err
		}
		// The first messages fill buffers and load scripts, so they are not measured.
		warm := n / 10
		if err := toThemselves(ctx, f, l, size, 0, sockets[:warm]); err != nil {
			return err
		}
		before, err := s.cluster.redis.Info()
		if err != nil {
			return err
		}
		if err := toThemselves(ctx, f, l, size, warm, sockets[warm:]); err != nil {
			return err
		}
		after, err := s.cluster.redis.Info()
		r.add("memory of Redis per topic", "B", float64(after.Memory-before.Memory)/float64(n-warm), 700)
		return err
	})
}

// bench.asked adds rows for what Redis does for each message: first with messages between pairs,
// and then with messages to a group.
func (b *bench) asked(ctx context.Context, f *form) error {
	return f.with(ctx, b, func(s *site, l *load.Loop) error {
		r := b.of("redis", f, pairsAtOnce)
		streams, err := openPairs(ctx, s, l)
		if err != nil {
			return err
		}
		if err := s.asked(ctx, l, r, load.Limits{Messages: 500_000, Time: b.time(2 * time.Second)}, streams...); err != nil {
			return err
		}
		n := b.sessions(1000)
		r = b.of("redis", f, fmt.Sprintf("a group of %d, 4 in flight", n))
		speaker, err := openGroup(ctx, s, l, load.Group("g"), n)
		if err != nil {
			return err
		}
		return s.asked(ctx, l, r, load.Limits{Messages: 1000, Time: b.time(2 * time.Second)}, speaker.stream(l, messageSize, 4))
	})
}

// site.asked adds rows for what Redis does for each message of a round.
func (s *site) asked(ctx context.Context, l *load.Loop, r rows, limits load.Limits, streams ...*load.Stream) error {
	before, err := s.cluster.redis.Info()
	if err != nil {
		return err
	}
	c, err := measure(ctx, s, l, limits, streams...)
	if err != nil {
		return err
	}
	after, err := s.cluster.redis.Info()
	if err != nil {
		return err
	}
	// Redis has also counted the messages that warmed the servers up, and so has Stream.Sent.
	messages := 0
	for _, stream := range streams {
		messages += stream.Sent()
	}
	r.add("scripts per message", "", float64(after.Since(before, "eval"))/float64(messages), 0)
	r.add("commands per message, those in scripts included", "", float64(after.Since(before))/float64(messages), 0)
	r.add("CPU of Redis per message", "µs", micros(c.redis, c.Messages), 0)
	r.add("connections to Redis", "", float64(after.Clients), 0)
	return nil
}
