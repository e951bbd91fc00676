package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/edgerelay/edgerelay/test/bench/load"
)

// direct sends from users on one edge to users on the other.
func direct(ctx context.Context, b *session, f *form) error {
	s, l, done, err := f.open(ctx, b)
	if err != nil {
		return err
	}
	defer done()
	const pairs = 50
	streams, err := directPairs(ctx, s, l, pairs)
	if err != nil {
		return err
	}
	c, err := measure(ctx, b, s, l, load.Limits{Messages: 500_000, Time: b.time(5 * time.Second)}, streams...)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("%d pairs, one in flight each", pairs)
	b.row("direct", f.name, what+", CPU per message", "µs", micros(c.servers, c.Messages), f.budget(60))
	if s.redis != nil {
		b.row("direct", f.name, what+", CPU of Redis per message", "µs", micros(c.redis, c.Messages), 0)
	}
	b.row("direct", f.name, what+", messages", "/s", float64(c.Messages)/c.Took.Seconds(), 0)
	b.latency("direct", f.name, what, c.Latencies, 0, 0.5, 0.99)
	return b.atRest(ctx, s, l, streams[0])
}

// atRest sends one message at a time, with pauses, on a machine that does nothing else.
func (b *session) atRest(ctx context.Context, s *site, l *load.Loop, stream *load.Stream) error {
	if err := l.Idle(ctx, time.Second); err != nil {
		return err
	}
	messages := 1500
	if b.quick {
		messages /= 5
	}
	var latencies []time.Duration
	for range messages {
		r, err := l.Run(ctx, load.Limits{Messages: 1, Time: time.Minute}, stream)
		if err != nil {
			return err
		}
		latencies = append(latencies, r.Latencies...)
		if err := l.Idle(ctx, 4*time.Millisecond); err != nil {
			return err
		}
	}
	slices.Sort(latencies)
	b.latency("direct", s.form.name, "one pair at rest", latencies, s.form.budget(0.9), 0.5, 0.99, 0.999)
	return nil
}

// directPairs opens pairs of a sender on the first server and a receiver on the last.
func directPairs(ctx context.Context, s *site, l *load.Loop, pairs int) (streams []*load.Stream, err error) {
	var wraps []load.Wrap
	senders, err := l.Open(ctx, pairs, func(i int) (string, load.Opening) {
		opening, wrap := s.form.dialect.Send(fmt.Sprint("from-", i), load.User(fmt.Sprint("to-", i)))
		wraps = append(wraps, wrap)
		return s.addr(0), opening
	})
	if err != nil {
		return nil, err
	}
	receivers, err := l.Open(ctx, pairs, func(i int) (string, load.Opening) {
		user := fmt.Sprint("to-", i)
		return s.addr(len(s.addrs) - 1), s.form.dialect.Receive(user, load.User(user))
	})
	if err != nil {
		return nil, err
	}
	for i, sender := range senders {
		stream := l.Stream(sender, wraps[i], messageSize, 1)
		receivers[i].Hear(stream)
		streams = append(streams, stream)
	}
	return streams, l.Idle(ctx, settled)
}
