package main

import (
	"context"
	"fmt"
	"time"

	"github.com/edgerelay/edgerelay/test/bench/load"
	"github.com/edgerelay/edgerelay/test/bench/report"
)

// scenario is one kind of load.
type scenario struct {
	name string
	run  func(ctx context.Context, b *session, f *form) error
}

// scenarios are in the order in which they run.
var scenarios []scenario

func init() {
	scenarios = []scenario{
		{"idle", idle},
		{"connect", connect},
		{"direct", direct},
		{"fanout", fanout},
	}
}

// messageSize is that of messages, in bytes, where the scenario says nothing else.
const messageSize = 128

// settled is how long servers are left alone after sessions have opened: some say that a subscription is in force before it is.
const settled = 500 * time.Millisecond

// cost is a round and what it took of the servers.
type cost struct {
	load.Result
	spent
}

// measure runs a round after a shorter one that warms the servers up.
func measure(ctx context.Context, b *session, s *site, l *load.Loop, limits load.Limits, streams ...*load.Stream) (c cost, err error) {
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

// micros is d for each of n, in microseconds.
func micros(d time.Duration, n int) float64 { return float64(d) / 1000 / float64(max(1, n)) }

// latency adds rows of how long messages took.
func (b *session) latency(scenario, server, what string, sorted []time.Duration, budget float64, shares ...float64) {
	for i, share := range shares {
		if i > 0 {
			budget = 0
		}
		b.row(scenario, server, fmt.Sprintf("%s, latency p%v", what, share*100), "ms", report.Percentile(sorted, share).Seconds()*1000, budget)
	}
}

// budget is a budget of ours where it applies.
func (f *form) budget(v float64) float64 {
	if f.budgets {
		return v
	}
	return 0
}
