package main

import (
	"context"

	"github.com/edgerelay/edgerelay/test/bench/local"
)

// cluster is our servers as processes of their own.
type cluster struct {
	redis, relay *local.Server
	spare        *local.Server // a relay that is not started
	edges        [2]*local.Server
}

const noRate = "EDGE_RATE=0" // what is measured is the servers, not the limit that they set

func startCluster(ctx context.Context, b *session) (*site, error) {
	redis, err := b.dir.Redis()
	if err != nil {
		return nil, err
	}
	c := &cluster{redis: redis, relay: b.dir.Relay(redis), spare: b.dir.Relay(redis)}
	for i := range c.edges {
		c.edges[i] = b.dir.Edge("ws://"+c.relay.Addr+",ws://"+c.spare.Addr, noRate)
	}
	stop, err := startAll(ctx, c.redis, c.relay, c.edges[0], c.edges[1])
	if err != nil {
		return nil, err
	}
	return &site{
		addrs:   []string{c.edges[0].Addr, c.edges[1].Addr},
		counted: []process{{"edge", c.edges[0].PID()}, {"edge", c.edges[1].PID()}, {"relay", c.relay.PID()}},
		redis:   &process{"Redis", redis.PID()},
		cluster: c, stop: func() { c.spare.Kill(); stop() },
	}, nil
}

func startOne(ctx context.Context, b *session) (*site, error) {
	one := b.dir.One(noRate)
	stop, err := startAll(ctx, one)
	if err != nil {
		return nil, err
	}
	return &site{addrs: []string{one.Addr}, counted: []process{{"server", one.PID()}}, stop: stop}, nil
}
