package main

import (
	"context"
	"slices"
	"time"

	"github.com/edgerelay/edgerelay/test/bench/local"
	"github.com/edgerelay/edgerelay/test/bench/usage"
)

// cluster is our servers as processes of their own.
type cluster struct {
	redis, relay *local.Server
	spare        *local.Server // a relay that is not started
	edges        []*local.Server
}

const noRate = "EDGE_RATE=0" // what is measured is the servers, not the limit that they set

func startCluster(ctx context.Context, b *session) (*site, error) { return startEdges(ctx, b, 2) }

// startEdges starts a cluster of so many edges. env is added to what each edge has.
func startEdges(ctx context.Context, b *session, edges int, env ...string) (*site, error) {
	redis, err := b.dir.Redis()
	if err != nil {
		return nil, err
	}
	c := &cluster{redis: redis, relay: b.dir.Relay(redis), spare: b.dir.Relay(redis)}
	for range edges {
		c.edges = append(c.edges, b.dir.Edge("ws://"+c.relay.Addr+",ws://"+c.spare.Addr, append(env, noRate)...))
	}
	stop, err := startAll(ctx, slices.Concat([]*local.Server{c.redis, c.relay}, c.edges)...)
	if err != nil {
		return nil, err
	}
	s := &site{redis: &process{"Redis", redis.PID()}, cluster: c, stop: func() { c.spare.Kill(); stop() }}
	for _, e := range c.edges {
		s.addrs, s.counted = append(s.addrs, e.Addr), append(s.counted, process{"edge", e.PID()})
	}
	s.counted = append(s.counted, process{"relay", c.relay.PID()})
	return s, nil
}

func startOne(ctx context.Context, b *session) (*site, error) {
	one := b.dir.One(noRate)
	stop, err := startAll(ctx, one)
	if err != nil {
		return nil, err
	}
	return &site{addrs: []string{one.Addr}, counted: []process{{"server", one.PID()}}, stop: stop}, nil
}

// parts is CPU time of the parts of a cluster: of all edges together, of the relay in use, and of Redis.
type parts struct {
	edges, relay, redis time.Duration
	took                time.Duration // in which it was spent; 0: not known
}

func (p parts) servers() time.Duration { return p.edges + p.relay }

func (p parts) since(before parts) parts {
	return parts{edges: p.edges - before.edges, relay: p.relay - before.relay, redis: p.redis - before.redis}
}

// less is what was spent beyond what is spent at rest in the same time, at least a microsecond.
func (p parts) less(rest parts) parts {
	beyond := func(spent, rested time.Duration) time.Duration {
		return max(time.Microsecond, spent-time.Duration(float64(rested)*p.took.Seconds()/rest.took.Seconds()))
	}
	return parts{beyond(p.edges, rest.edges), beyond(p.relay, rest.relay), beyond(p.redis, rest.redis), p.took}
}

// spent is what they have spent since each was started.
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
