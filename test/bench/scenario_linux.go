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
	most int // largest number of sessions at one time
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
		{"pace", 1000, pace},
		{"link", 10_000, link},
		{"redis", 2000, redis},
		{"publish", 0, publish},
		{"restart", 10_000, restart},
		{"resume", 10_100, resume},
	}
}

// messageSize is the size of messages in bytes, unless a scenario chooses another.
const messageSize = 128

// The constant settled is how long servers are left alone after sessions have opened. Some servers
// confirm a subscription before it is in force.
const settled = 500 * time.Millisecond

// cost is the result of a round and the CPU time that the servers and Redis spent on it.
type cost struct {
	load.Result
	spent
	frames, writes float64 // frames that the edges wrote to clients, and their writes; 0: unknown
}

// The function measure runs a round after a shorter one that warms the servers up.
func measure(ctx context.Context, s *site, l *load.Loop, limits load.Limits, streams ...*load.Stream) (c cost, err error) {
	if _, err := l.Run(ctx, load.Limits{Messages: max(1, limits.Messages/4), Time: limits.Time / 4}, streams...); err != nil {
		return c, fmt.Errorf("warming up: %w", err)
	}
	frames, writes := s.cluster.written(ctx)
	c.spent, err = s.during(func() (err error) {
		c.Result, err = l.Run(ctx, limits, streams...)
		return err
	})
	c.frames, c.writes = s.cluster.written(ctx)
	c.frames -= frames
	c.writes -= writes
	return c, err
}

// rows.cpu adds a row for the CPU time per unit, without Redis. The CPU time t was spent on n
// units. If the servers use a Redis that the bench knows, rows.cpu adds a second row, in which
// Redis' time is included.
func (r rows) cpu(unit string, t spent, n int, budget float64) {
	r.add("CPU per "+unit, "µs", micros(t.servers, n), budget)
	if t.known {
		r.add("CPU per "+unit+withRedis, "µs", micros(t.servers+t.redis, n), 0)
	}
}

const withRedis = ", with Redis"

// rows.deliveries adds rows for the CPU time of one delivery, for the rate of deliveries, for the
// frames in one write to a client if they are known, and for latencies.
func (r rows) deliveries(c cost, budget float64) {
	r.cpu("delivery", c.spent, c.Deliveries, budget)
	r.add("deliveries", "/s", float64(c.Deliveries)/c.Took.Seconds(), 0)
	if c.writes > 0 {
		r.add("frames per write", "", c.frames/c.writes, 0)
	}
	r.latency(c.Latencies, 0, 0.5, 0.99)
}

// rows.messages adds rows for the CPU time of one message, and for the rate of messages.
func (r rows) messages(c cost, budget float64) {
	r.cpu("message", c.spent, c.Messages, budget)
	r.add("messages", "/s", float64(c.Messages)/c.Took.Seconds(), 0)
}

// micros returns d / n in microseconds.
func micros(d time.Duration, n int) float64 { return float64(d) / 1000 / float64(max(1, n)) }
