package main

import (
	"context"
	"math"
	"time"

	"github.com/edgerelay/edgerelay/test/bench/growth"
	"github.com/edgerelay/edgerelay/test/bench/load"
)

// growTold measures restarts of the relay while sessions are in more and more topics.
func growTold(ctx context.Context, b *bench) ([]growth.Figure, error) {
	f := growth.Figure{File: "topics-told", Title: "Topics with a member each: the relay is restarted", Grows: "topics", Unit: "ms", Axis: "ms"}
	err := b.onCluster(ctx, 2, nil, func(s *site, l *load.Loop) error {
		t, err := openTopics(ctx, s, l)
		if err != nil {
			return err
		}
		var streams []*load.Stream
		for _, n := range b.scaled(1000, 10_000, 30_000, 60_000, 100_000) {
			b.say("topics told again: %d", n)
			if err := t.more(ctx, n); err != nil {
				return err
			}
			if streams == nil {
				var first []int
				for topic := range min(n, talkers) {
					first = append(first, topic)
				}
				if err := t.each(ctx, "partner-", "UserGroup", first); err != nil {
					return err
				}
				streams = t.streams(first)
			}
			if err := b.told(ctx, s, l, &f, n, streams); err != nil {
				return err
			}
		}
		return nil
	})
	return []growth.Figure{f}, err
}

// growResync measures restarts of the relay while there are more and more sessions.
func growResync(ctx context.Context, b *bench) ([]growth.Figure, error) {
	f := growth.Figure{File: "sessions-told", Title: "Sessions: the relay is restarted", Grows: "sessions", Unit: "ms", Axis: "ms"}
	err := b.onCluster(ctx, 2, []string{noPings}, func(s *site, l *load.Loop) error {
		streams, err := openPairs(ctx, s, l)
		if err != nil {
			return err
		}
		there := 2 * pairs
		for _, n := range b.scaled(1000, 5000, 10_000, 15_000, 19_000) {
			b.say("sessions told again: %d", n)
			if err := moreSessions(ctx, s, l, there, n); err != nil {
				return err
			}
			there = n
			if err := b.told(ctx, s, l, &f, n, streams); err != nil {
				return err
			}
		}
		return nil
	})
	return []growth.Figure{f}, err
}

// bench.told adds to f what a restart of the relay costs while there are n topics or sessions. When
// the relay is killed, each stream sends one message, and the relay is started again at once. The
// first figure is the time until all these messages have reached their receivers. The other two
// figures are CPU times, which also include up to one second after that moment.
//
// Each figure is the smaller of the values of two rounds. There are only two rounds, because before
// each round it takes seconds until the edges count their links as settled.
func (b *bench) told(ctx context.Context, s *site, l *load.Loop, f *growth.Figure, n int, streams []*load.Stream) error {
	o := &outages{cluster: s.cluster}
	least := []float64{math.Inf(1), math.Inf(1), math.Inf(1)}
	for range 2 {
		if err := o.settle(ctx, l, b.time(6*time.Second)); err != nil {
			return err
		}
		before, err := s.cluster.spent()
		if err != nil {
			return err
		}
		seen, err := l.Through(ctx, nil, 2*time.Millisecond, streams, o.ways(ctx, b)[0].away)
		if err != nil {
			return err
		}
		if err := l.Idle(ctx, b.time(time.Second)); err != nil {
			return err
		}
		after, err := s.cluster.spent()
		if err != nil {
			return err
		}
		for i, took := range []time.Duration{
			seen.Arrived[len(seen.Arrived)-1],
			after.edges - before.edges,
			after.relay, // the new process counts from 0
		} {
			least[i] = min(least[i], took.Seconds()*1000)
		}
	}
	for i, name := range []string{"relay restarted: time until all is delivered again", "relay restarted: CPU of the edges", "relay restarted: CPU of the new relay"} {
		f.Add(name, growth.Proportional, float64(n), least[i])
	}
	return nil
}
