package main

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// cluster is one relay and its edges. Each edge has the same number of sessions.
type cluster struct {
	store    *store
	relay    *relay
	edges    []*edge
	at       protocol.Endpoint // endpoint of all sessions
	sessions int               // number of sessions at each edge
	random   *rand.Rand
	report   *report
}

// newCluster returns a cluster with a relay. Its edges have neither links nor sessions yet.
func newCluster(edges, sessions int, at protocol.Endpoint, r *report) *cluster {
	c := &cluster{store: newStore(), at: at, sessions: sessions, random: rand.New(rand.NewPCG(1, 2)), report: r}
	for i := range edges {
		c.edges = append(c.edges, newEdge(i*sessions))
	}
	c.relay = newRelay(c.store, time.Unix(1_800_000_000, 0))
	return c
}

// cluster.link gives each edge a link to the relay. The edges must have no sessions yet.
func (c *cluster) link() error {
	for _, e := range c.edges {
		e.dial(c.relay)
		e.out = link.Synced{First: 1}.Append(e.out)
		if err := e.send(1); err != nil {
			return err
		}
		if err := c.relay.read(); err != nil {
			return err
		}
		if e.took[link.TypeLive] != 1 {
			return fmt.Errorf("an edge without sessions was told %d times that it is live", e.took[link.TypeLive])
		}
		e.forget()
	}
	return nil
}

// cluster.members returns the number of sessions at all edges together.
func (c *cluster) members() int { return len(c.edges) * c.sessions }

// cluster.somebody returns a random session and its edge.
func (c *cluster) somebody() (*edge, uint64) {
	return c.edges[c.random.IntN(len(c.edges))], uint64(1 + c.random.IntN(c.sessions))
}

// forgetAll sets the counts of all edges to zero. It returns how many bytes the edges had sent to
// the relay, and how many they had received from the relay.
func (c *cluster) forgetAll() (up, down int) {
	for _, e := range c.edges {
		up, down = up+e.up, down+e.down
		e.forget()
	}
	return up, down
}
