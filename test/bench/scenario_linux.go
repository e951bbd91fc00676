package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/edgerelay/edgerelay/test/bench/load"
)

// scenario is one kind of load.
type scenario struct {
	name string
	most int // most sessions at one time
	run  func(ctx context.Context, b *bench, f *form) error
}

// names returns the names of all scenarios.
func names() string {
	var all []string
	for _, s := range scenarios {
		all = append(all, s.name)
	}
	return strings.Join(all, ", ")
}

// scenarios are in the order in which they run.
var scenarios []scenario

func init() {
	scenarios = []scenario{
		{"idle", 19_000, idle},
		{"connect", 5000, connect},
		{"direct", 100, direct},
		{"fanout", 10_000, fanout},
		{"groups", 10_000, groups},
		{"broadcast", 5000, broadcast},
		{"payload", 500, payload},
		{"link", 10_000, link},
		{"redis", 1000, redis},
		{"restart", 10_000, restart},
	}
}

// messageSize is the size of messages in bytes, unless a scenario chooses another.
const messageSize = 128

// settled is how long servers are left alone after sessions have opened. Some servers confirm a
// subscription before it is in force.
const settled = 500 * time.Millisecond

// cost is the result of a round and the CPU time that the servers and Redis spent on it.
type cost struct {
	load.Result
	spent
}

// measure runs a round after a shorter one that warms the servers up.
func measure(ctx context.Context, s *site, l *load.Loop, limits load.Limits, streams ...*load.Stream) (c cost, err error) {
	if _, err := l.Run(ctx, load.Limits{Messages: max(1, limits.Messages/4), Time: limits.Time / 4}, streams...); err != nil {
		return c, fmt.Errorf("warming up: %w", err)
	}
	before, err := s.cpu()
	if err != nil {
		return c, err
	}
	if c.Result, err = l.Run(ctx, limits, streams...); err != nil {
		return c, err
	}
	after, err := s.cpu()
	c.spent = spent{after.servers - before.servers, after.redis - before.redis}
	return c, err
}

// deliveries adds rows for the CPU time of one delivery, for the rate of deliveries, and for
// latencies.
func (r rows) deliveries(c cost, budget float64) {
	r.add("CPU per delivery", "µs", micros(c.servers, c.Deliveries), budget)
	r.add("deliveries", "/s", float64(c.Deliveries)/c.Took.Seconds(), 0)
	r.latency(c.Latencies, 0, 0.5, 0.99)
}

// messages adds rows for the CPU time of one message, and for the rate of messages. If redis is
// set, messages also adds a row for the CPU time of Redis for one message.
func (r rows) messages(c cost, redis bool, budget float64) {
	r.add("CPU per message", "µs", micros(c.servers, c.Messages), budget)
	if redis {
		r.add("CPU of Redis per message", "µs", micros(c.redis, c.Messages), 0)
	}
	r.add("messages", "/s", float64(c.Messages)/c.Took.Seconds(), 0)
}

// micros returns d / n in microseconds.
func micros(d time.Duration, n int) float64 { return float64(d) / 1000 / float64(max(1, n)) }
