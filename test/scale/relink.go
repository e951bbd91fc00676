package main

import (
	"fmt"
	"runtime"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
)

// cluster.relink cuts the links of the given number of edges, one edge at a time. Each edge links
// again and tells its tables before the next edge loses its link. The measurement is what that
// costs the relay.
func (c *cluster) relink(edges int) error {
	m := beginAlone()
	defer m.end()
	c.relay.longest = 0
	for _, e := range c.edges[:edges] {
		e.hang()
		if err := c.tell(m, e); err != nil {
			return err
		}
	}
	m.end()
	up, down := c.forgetAll()
	n := float64(edges)
	c.report.add("resync of an edge with %s sessions", []any{count(c.sessions)}, "%s of CPU, %s allocated, %s up and %s down; it takes %s, the longest step %s", per(m.cpu, edges),
		size(float64(m.allocated)/n), size(float64(up)/n), size(float64(down)/n), per(m.wall, edges), per(c.relay.longest, 1))
	return c.compare(c.edges[:edges])
}

// cluster.tell gives an edge a new link and sends its tables over the link. It fails unless the
// relay answers with Live.
func (c *cluster) tell(m *meter, e *edge) (err error) {
	m.besides(func() {
		e.dial(c.relay)
		e.tables(c.at, c.sessions, c.store)
	})
	if err := e.send(1 << 20); err != nil {
		return err
	}
	m.besides(func() {
		if err = c.relay.read(); err == nil && e.took[link.TypeLive] != 1 {
			err = fmt.Errorf("the edge with user %d was told %d times that all its topics are caught up", e.first, e.took[link.TypeLive])
		}
	})
	return err
}

// cluster.compare lets 11 s of the relay's clock pass. In this time the relay must send each of the
// given edges a Digest. cluster.compare fails unless each Digest matches the tables of its edge.
func (c *cluster) compare(edges []*edge) error {
	for _, e := range edges {
		e.forget()
	}
	c.relay.pass(11 * time.Second)
	if err := c.relay.read(); err != nil {
		return err
	}
	for _, e := range edges {
		if e.took[link.TypeDigest] == 0 {
			return fmt.Errorf("the edge with user %d was not told the relay's tables", e.first)
		}
		if err := e.wants(c.at, c.sessions); err != nil {
			return err
		}
	}
	c.forgetAll()
	return nil
}

// cluster.restart replaces the relay by another one, to which all edges tell their tables.
func (c *cluster) restart() error {
	for _, e := range c.edges {
		e.link, e.relay = nil, nil
	}
	c.relay.broker.die()
	now := c.relay.now
	c.relay = nil
	runtime.GC()
	base := heap()
	c.relay = newRelay(c.store, now)
	m := begin()
	for _, e := range c.edges {
		if err := c.tell(m, e); err != nil {
			return err
		}
	}
	m.end()
	up, down := c.forgetAll()
	c.report.add("a relay is replaced: %s edges tell %s sessions each", []any{count(len(c.edges)), count(c.sessions)}, "%.1f s of CPU, %s a session, collecting garbage included; %s up and %s down; it takes %.1f s",
		m.cpu.Seconds(), per(m.cpu, c.members()), size(float64(up)), size(float64(down)), m.wall.Seconds())
	stands := resident()
	alive := heap() - base
	c.report.add("memory behind that", nil, "%.0f bytes alive a session; resident %s", alive/float64(c.members()), size(stands))
	return c.compare(c.edges[:min(len(c.edges), 3)])
}

// cluster.lose cuts the link of an edge, and lets time pass until the relay has forgotten the edge.
// It measures what the forgetting costs the relay. Then the edge links again.
func (c *cluster) lose() error {
	e := c.edges[len(c.edges)-1]
	e.hang()
	c.relay.settle()
	c.relay.pass(14 * time.Second)
	c.relay.longest = 0
	m := beginAlone()
	c.relay.pass(2 * time.Second)
	m.end()
	c.report.add("an edge with %s sessions does not come back", []any{count(c.sessions)}, "%s of CPU; the longest step takes %s", per(m.cpu, 1), per(c.relay.longest, 1))
	if err := c.tell(m, e); err != nil {
		return err
	}
	return c.compare([]*edge{e})
}
