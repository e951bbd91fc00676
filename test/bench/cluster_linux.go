package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/edgerelay/edgerelay/test/bench/local"
	"github.com/edgerelay/edgerelay/test/bench/usage"
)

// cluster is Redis, relays and edges, each a process of its own.
type cluster struct {
	redis, relay *local.Server
	spare        *local.Server // a second relay, which is not started at first
	edges        []*local.Server
}

const noRate = "EDGE_RATE=0" // without this setting the rate limit would be measured

func startCluster(ctx context.Context, b *bench) (*site, error) { return startEdges(ctx, b, 2) }

func startKeeping(ctx context.Context, b *bench) (*site, error) {
	rules := fmt.Sprintf("RELAY_CHANNELS=user:* read=self write=any; * read=any write=any history=%d/1m", keptMessages)
	return startServers(ctx, b, 2, []string{rules})
}

// startEdges starts a cluster with the given number of edges. The settings in env are added to the
// environment of each edge.
func startEdges(ctx context.Context, b *bench, edges int, env ...string) (*site, error) {
	return startServers(ctx, b, edges, nil, env...)
}

// startServers does what startEdges does. The settings in relays are added to the environment of
// each relay.
func startServers(ctx context.Context, b *bench, edges int, relays []string, env ...string) (*site, error) {
	redis, err := b.dir.Redis()
	if err != nil {
		return nil, err
	}
	c := &cluster{redis: redis, relay: b.dir.Relay(redis, relays...), spare: b.dir.Relay(redis, relays...)}
	for range edges {
		c.edges = append(c.edges, b.dir.Edge("ws://"+c.relay.Addr+",ws://"+c.spare.Addr, append(env, noRate)...))
	}
	stop, err := startAll(ctx, slices.Concat([]*local.Server{c.redis, c.relay}, c.edges)...)
	if err != nil {
		return nil, err
	}
	s := &site{redis: &process{"Redis", redis.PID()}, store: redis, cluster: c, stop: func() { c.spare.Kill(); stop() }}
	for _, e := range c.edges {
		s.addrs, s.counted = append(s.addrs, e.Addr), append(s.counted, process{"edge", e.PID()})
	}
	s.counted = append(s.counted, process{"relay", c.relay.PID()})
	return s, nil
}

func startOne(ctx context.Context, b *bench) (*site, error) {
	one := b.dir.One(noRate)
	stop, err := startAll(ctx, one)
	if err != nil {
		return nil, err
	}
	return &site{addrs: []string{one.Addr}, counted: []process{{"server", one.PID()}}, stop: stop}, nil
}

// The type parts holds the CPU times of a cluster's parts: of all edges together, of the relay in
// use, and of Redis. The spare relay does not count.
type parts struct {
	edges, relay, redis time.Duration
	took                time.Duration // wall time of the measurement; 0: unknown
}

func (p parts) servers() time.Duration { return p.edges + p.relay }

func (p parts) since(before parts) parts {
	return parts{edges: p.edges - before.edges, relay: p.relay - before.relay, redis: p.redis - before.redis}
}

// parts.less returns p without the CPU time that a cluster at rest would spend in the same wall
// time. The argument is a measurement of a cluster at rest, from which this CPU time is computed.
// The field took must be set in p and in the argument. Each part of the result is at least 1 µs.
func (p parts) less(idle parts) parts {
	beyond := func(spent, meanwhile time.Duration) time.Duration {
		return max(time.Microsecond, spent-time.Duration(float64(meanwhile)*p.took.Seconds()/idle.took.Seconds()))
	}
	return parts{beyond(p.edges, idle.edges), beyond(p.relay, idle.relay), beyond(p.redis, idle.redis), p.took}
}

// cluster.spent returns the CPU time that the parts have spent since each was started.
func (c *cluster) spent() (p parts, err error) {
	for _, e := range c.edges {
		d, err := usage.CPU(e.PID())
		if err != nil {
			return p, err
		}
		p.edges += d
	}
	if p.relay, err = usage.CPU(c.relay.PID()); err == nil {
		p.redis, err = usage.CPU(c.redis.PID())
	}
	return p, err
}

// cluster.written returns how many frames the edges have written to clients since they were
// started, and in how many writes. A nil cluster has written nothing.
func (c *cluster) written(ctx context.Context) (frames, writes float64) {
	if c == nil {
		return 0, 0
	}
	for _, e := range c.edges {
		frames += e.Metric(ctx, "edgerelay_edge_client_frames_written_total")
		writes += e.Metric(ctx, "edgerelay_edge_client_writes_total")
	}
	return frames, writes
}

// cluster.links returns how often the edges have linked to a relay since they were started. A nil
// cluster has no links.
func (c *cluster) links(ctx context.Context) (n float64) {
	if c == nil {
		return 0
	}
	for _, e := range c.edges {
		n += e.Metric(ctx, "edgerelay_edge_links_total")
	}
	return n
}
