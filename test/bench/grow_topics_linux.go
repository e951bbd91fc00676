package main

import (
	"context"
	"time"

	"github.com/edgerelay/edgerelay/test/bench/growth"
	"github.com/edgerelay/edgerelay/test/bench/load"
)

const (
	opsOfTopics = 300 // leaves, and as many joins, in a call of topics.ops at full scale
	spokenTo    = 200 // largest number of topics that topics.ops sends messages to
	fewTopics   = 1000
)

// growTopics measures the cost of joins, leaves and messages, and the memory that topics take,
// while sessions join more and more topics.
func growTopics(ctx context.Context, b *bench) ([]growth.Figure, error) {
	cost := growth.Figure{File: "topics", Title: "Topics with a member each: what one of them costs", Grows: "topics", Unit: "µs", Axis: "CPU of edges and relay, µs"}
	room := growth.Figure{File: "topics-memory", Title: "Topics with a member each: memory", Grows: "topics", Unit: "B", Axis: "resident memory per topic, bytes"}
	err := b.onCluster(ctx, 2, nil, func(s *site, l *load.Loop) error {
		t, err := openTopics(ctx, s, l)
		if err != nil {
			return err
		}
		if err := l.Idle(ctx, b.time(2*time.Second)); err != nil {
			return err
		}
		empty, err := s.memory()
		if err != nil {
			return err
		}
		for _, n := range b.scaled(1, 10, 100, 1000, 10_000, 30_000, 100_000) {
			b.say("topics: %d", n)
			there := t.count
			before, err := s.cluster.spent()
			if err != nil {
				return err
			}
			if err := t.more(ctx, n); err != nil {
				return err
			}
			after, err := s.cluster.spent()
			if err != nil {
				return err
			}
			x := float64(n)
			if n >= fewTopics/b.scale.sessions {
				cost.Add("a join, many at once", growth.Constant, x, micros(after.since(before).servers(), n-there))
				if err := l.Idle(ctx, b.time(2*time.Second)); err != nil {
					return err
				}
				now, err := s.memory()
				if err != nil {
					return err
				}
				room.Add("memory of the edges, per topic", growth.Constant, x, positive(now.by["edge"]-empty.by["edge"])/x)
				room.Add("memory of the relay, per topic", growth.Constant, x, positive(now.by["relay"]-empty.by["relay"])/x)
				room.Add("memory of Redis, per topic", growth.Constant, x, positive(now.redis-empty.redis)/x)
			}
			figures, err := medians(func() ([]float64, error) { return t.ops(ctx, b) })
			if err != nil {
				return err
			}
			for i, name := range []string{"a leave, alone", "a join, alone", "a message, alone"} {
				cost.Add(name, growth.Constant, x, figures[i])
			}
		}
		return nil
	})
	return []growth.Figure{cost, room}, err
}

// positive returns a difference of memory in bytes, but at least 1. The difference may be zero or
// less, since a process can reuse memory that it freed earlier.
func positive(bytes int64) float64 { return float64(max(bytes, 1)) }

// topics.ops makes members leave topics and join them again, and sends messages to some topics. It
// returns the CPU time of the edges and the relay for one leave, for one join and for one message,
// in microseconds.
func (t *topics) ops(ctx context.Context, b *bench) (figures []float64, err error) {
	var again []int
	for some := t.some(opsOfTopics); len(again) < opsOfTopics/b.scale.time; {
		again = append(again, some...)
	}
	var sums [2]time.Duration
	measure := func(sum *time.Duration, method string, topics []int) error {
		before, err := t.s.cluster.spent()
		if err != nil {
			return err
		}
		if err := t.each(ctx, "member-", method, topics); err != nil {
			return err
		}
		after, err := t.s.cluster.spent()
		*sum += after.since(before).servers()
		return err
	}
	// Each turn of the loop handles a chunk of topics: members leave all topics of the chunk, and
	// then join them again. No topic comes twice in a turn.
	chunk := min(t.count, opsOfTopics)
	for i := 0; i < len(again); i += chunk {
		if err := measure(&sums[0], "LeaveGroup", again[i:i+chunk]); err != nil {
			return nil, err
		}
		if err := measure(&sums[1], "UserGroup", again[i:i+chunk]); err != nil {
			return nil, err
		}
	}
	some := t.some(spokenTo)
	if err := t.each(ctx, "partner-", "UserGroup", some); err != nil {
		return nil, err
	}
	streams := t.streams(some)
	before, err := t.s.cluster.spent()
	if err != nil {
		return nil, err
	}
	messages := 0
	for messages < 1000/b.scale.time {
		for _, stream := range streams {
			r, err := t.l.Run(ctx, load.Limits{Messages: stream.Topics(), Time: time.Minute}, stream)
			if err != nil {
				return nil, err
			}
			messages += r.Messages
		}
	}
	after, err := t.s.cluster.spent()
	if err != nil {
		return nil, err
	}
	sum := after.since(before).servers()
	return []float64{micros(sums[0], len(again)), micros(sums[1], len(again)), micros(sum, messages)}, t.each(ctx, "partner-", "LeaveGroup", some)
}
