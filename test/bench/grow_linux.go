package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/edgerelay/edgerelay/test/bench/growth"
	"github.com/edgerelay/edgerelay/test/bench/load"
	"github.com/edgerelay/edgerelay/test/bench/report"
	"github.com/edgerelay/edgerelay/test/bench/usage"
)

// axis is one quantity that grows, and the measurements along it.
type axis struct {
	name string
	most int // largest number of sessions at one time
	run  func(ctx context.Context, b *bench) ([]growth.Figure, error)
}

// axes are in the order in which they are measured.
var axes []axis

func init() {
	axes = []axis{
		{"members", 10_000, growMembers},
		{"topics", 2 * talkers, growTopics},
		{"topics told again", 2 * talkers, growTold},
		{"sessions", 19_000, growSessions},
		{"sessions at rest", 19_000, growIdle},
		{"sessions told again", 19_000, growResync},
		{"edges", 800, growEdges},
		{"payload", 500, growPayload},
	}
}

// bench.grow measures how costs grow along the axes that the options select. It writes the results
// into a section of the file o.grow, and a table to out.
func (b *bench) grow(ctx context.Context, o options, out io.Writer) error {
	var some []axis
	var all []string
	for _, a := range axes {
		all = append(all, a.name)
		if o.scenario.MatchString(a.name) {
			some = append(some, a)
		}
	}
	if len(some) == 0 {
		return fmt.Errorf("-run '%s' leaves nothing: with -grow there are %q", o.scenario, all)
	}
	for _, a := range some {
		if err := load.Room(b.sessions(a.most)); err != nil {
			return fmt.Errorf("%s: %w, or leave it out with -run", a.name, err)
		}
	}
	b.explainGrowth()
	before := usage.Busy()
	r := growth.Run{Date: b.began.UTC(), Command: o.command, Machine: report.ThisMachine(ctx)}
	for _, a := range some {
		figures, err := a.run(ctx, b)
		if err != nil {
			return fmt.Errorf("%s: %w", a.name, err)
		}
		r.Figures = append(r.Figures, figures...)
	}
	b.others(usage.Busy().Since(before))
	r.Notes = b.notes
	if err := r.Write(o.grow); err != nil {
		return fmt.Errorf("-grow: %w", err)
	}
	_, err := io.WriteString(out, r.Table())
	return err
}

func (b *bench) explainGrowth() {
	b.note("Two edges, one relay, one redis-server, a process each, where nothing else is said, with EDGE_AUTH=open and EDGE_RATE=0. CPU is user and system time of the edges and the relay, without Redis and the clients, where nothing else is said; each is the median of three rounds, and what a relay's restart takes the least of two. Every message is checked: none is lost, doubled or out of order.")
	b.note("Members are of one group, on both edges; messages have %d bytes. The relay alone is measured while messages come 8 times a second, however many members there are, less what it takes at rest. Redis is beside it since it does the same for each message: what rises there as well is the machine's, which has the cores busy with the edges' work, and caches cold.", messageSize)
	b.note("Topics are groups with one member each, joined by %d sessions. At each point, %d joins and leaves of some of them, one at a time, each of which subscribes or unsubscribes at Redis; then messages to some of them, one at a time, to that member. Redis' memory is mostly the history of each topic, which has the announcement of the join.", talkers, opsOfTopics)
	b.note("Sessions: connects are those from the point before to this one; memory is resident, less what the processes had before, per session; direct messages go between %d pairs, one in flight each, while the others idle. At rest: without pings (EDGE_PING=1h), and each session pinged every %v.", pairs, pingEvery)
	b.note("Told again: the relay is killed and started again at once, which loses both links; CPU is that of the edges since then and of the new relay since its start, until a second after all is delivered. Time is from the kill until all messages that are sent the moment after have arrived: one for each pair, or, of topics, to one topic of each session that has some.")
	b.note("Edges: sessions are spread over them; a broadcast goes to all, 20 times a second. Bytes are those of all links, both ways.")
	b.note("Payload: to 500 members of a group on both edges, 2 messages in flight.")
	if b.scale != whole {
		b.note("Counts were divided by %d and times by %d: no figures to go by.", b.scale.sessions, b.scale.time)
	}
}

// bench.onCluster starts a cluster and a loop for clients, and calls the given function with both.
// Then it closes the loop and stops the cluster.
func (b *bench) onCluster(ctx context.Context, edges int, env []string, do func(s *site, l *load.Loop) error) error {
	f := &form{name: clusterName, dialect: load.Chat{}, start: func(ctx context.Context, b *bench) (*site, error) { return startEdges(ctx, b, edges, env...) }}
	return f.with(ctx, b, do)
}

// bench.points returns the points of an axis at which to measure: all of them, or in a test only
// the first and the last.
func (b *bench) points(all ...int) []int {
	if b.scale.time > quick.time {
		return []int{all[0], all[len(all)-1]}
	}
	return all
}

// bench.scaled divides the points of an axis by the scale's divisor of sessions. Places in the list
// are counted from 1. A result at place i that is below 10 * i is raised to 10 * i, but never above
// the undivided point. Neighbours that have become equal are merged into one point.
func (b *bench) scaled(all ...int) []int {
	points := b.points(all...)
	for i, n := range points {
		points[i] = max(min(n, 10*(i+1)), n/b.scale.sessions)
	}
	return slices.Compact(points)
}

// The constant rounds is the number of rounds of one measurement. The function medians takes the
// median of the rounds, and publishTo takes their sum.
const rounds = 3

// The type measured is the result of a round and the CPU time of the cluster's parts.
type measured struct {
	load.Result
	parts
}

func (s *site) round(ctx context.Context, l *load.Loop, limits load.Limits, streams ...*load.Stream) (m measured, err error) {
	before, err := s.cluster.spent()
	if err != nil {
		return m, err
	}
	if m.Result, err = l.Run(ctx, limits, streams...); err != nil {
		return m, err
	}
	after, err := s.cluster.spent()
	m.parts = after.since(before)
	return m, err
}

// site.paced sends messages of a stream one at a time, and measures what they cost together. The
// given interval is the least time between the starts of two messages. The interval influences the
// cost, since processes have to wake up after a pause. So compare only costs that were measured at
// the same interval.
func (s *site) paced(ctx context.Context, l *load.Loop, messages int, every time.Duration, stream *load.Stream) (p parts, err error) {
	before, err := s.cluster.spent()
	if err != nil {
		return p, err
	}
	began := time.Now()
	for range messages {
		next := time.Now().Add(every)
		if _, err := l.Run(ctx, load.Limits{Messages: 1, Time: time.Minute}, stream); err != nil {
			return p, err
		}
		if err := l.Idle(ctx, time.Until(next)); err != nil {
			return p, err
		}
	}
	after, err := s.cluster.spent()
	p = after.since(before)
	p.took = time.Since(began)
	return p, err
}

// site.idle measures the CPU time of a cluster during the time d, in which clients send no
// messages.
func (s *site) idle(ctx context.Context, l *load.Loop, d time.Duration) (p parts, err error) {
	before, err := s.cluster.spent()
	if err != nil {
		return p, err
	}
	if err := l.Idle(ctx, d); err != nil {
		return p, err
	}
	after, err := s.cluster.spent()
	p = after.since(before)
	p.took = d
	return p, err
}

// medians repeats a measurement and returns the median of each figure. An extra round before the
// others warms the servers up, and does not count.
func medians(measure func() ([]float64, error)) ([]float64, error) {
	if _, err := measure(); err != nil {
		return nil, err
	}
	var all [][]float64
	for range rounds {
		figures, err := measure()
		if err != nil {
			return nil, err
		}
		all = append(all, figures)
	}
	middle := make([]float64, len(all[0]))
	for i := range middle {
		var values []float64
		for _, figures := range all {
			values = append(values, figures[i])
		}
		slices.Sort(values)
		middle[i] = values[len(values)/2]
	}
	return middle, nil
}

// roundTime returns the field Time of the Limits of a round: how long the round sends messages.
func (b *bench) roundTime() time.Duration { return b.time(600 * time.Millisecond) }
