package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/edgerelay/edgerelay/test/bench/load"
)

// The constant pairs is the number of pairs of users in the scenario direct. One user of each pair
// sends, and the other user receives.
const pairs = 50

// pairsAtOnce and pairAtRest are the names of the two cases of the scenario direct. The goals in
// goals_linux.go refer to these names.
var pairsAtOnce = fmt.Sprintf("%d pairs, one in flight each", pairs)

const pairAtRest = "one pair at rest"

// The function direct measures messages from users on the first server to users on the last one.
func direct(ctx context.Context, b *bench, f *form) error {
	return f.with(ctx, b, func(s *site, l *load.Loop) error {
		r := b.of("direct", f, pairsAtOnce)
		streams, err := openPairs(ctx, s, l)
		if err != nil {
			return err
		}
		c, err := measure(ctx, s, l, load.Limits{Messages: 500_000, Time: b.time(5 * time.Second)}, streams...)
		if err != nil {
			return err
		}
		r.messages(c, 60)
		r.latency(c.Latencies, 0, 0.5, 0.99)
		r = b.of("direct", f, pairAtRest)
		latencies, err := b.oneAtATime(ctx, l, streams[0])
		r.latency(latencies, 0.9, 0.5, 0.99, 0.999)
		return err
	})
}

// oneAtATime sends one message at a time, with a pause of 4 ms after each. It returns the latencies
// in ascending order.
func (b *bench) oneAtATime(ctx context.Context, l *load.Loop, stream *load.Stream) (latencies []time.Duration, err error) {
	if err := l.Idle(ctx, time.Second); err != nil {
		return nil, err
	}
	for range 1500 / b.scale.time {
		r, err := l.Run(ctx, load.Limits{Messages: 1, Time: time.Minute}, stream)
		if err != nil {
			return nil, err
		}
		latencies = append(latencies, r.Latencies...)
		if err := l.Idle(ctx, 4*time.Millisecond); err != nil {
			return nil, err
		}
	}
	slices.Sort(latencies)
	return latencies, nil
}

// openPairs opens pairs. Each pair has its sender on the first server, and its receiver on the last
// server.
func openPairs(ctx context.Context, s *site, l *load.Loop) (streams []*load.Stream, err error) {
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
