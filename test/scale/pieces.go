package main

import (
	"fmt"
	"runtime"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// pieces measures the memory of an edge, of a session, of a topic and of a membership. Each
// measurement has a relay of its own.
func pieces(sessions int, r *report) error {
	const edges = 10
	each := sessions / edges
	measure := func(edges, each int, at protocol.Endpoint, groups func(*cluster)) (float64, error) {
		c := newCluster(edges, each, at, &report{})
		groups(c)
		base := heap()
		if err := c.link(); err != nil {
			return 0, err
		}
		if each > 0 {
			for _, e := range c.edges {
				e.hang()
				if err := c.tell(begin(), e); err != nil {
					return 0, err
				}
			}
		}
		c.relay.wire, c.relay.written = nil, nil
		held := heap() - base
		runtime.KeepAlive(c)
		return held, nil
	}
	none := func(*cluster) {}
	// The call in(n, spread) returns a function that puts every session of a cluster into n groups.
	// A group has up to ten members. They are on ten edges if spread is true, and otherwise on one
	// edge.
	in := func(n int, spread bool) func(*cluster) {
		return func(c *cluster) {
			for i, e := range c.edges {
				for id := 1; id <= c.sessions; id++ {
					for k := range n {
						group := fmt.Sprintf("%d-%d-%d", k, i, id/10)
						if spread {
							group = fmt.Sprintf("%d-%d", k, id)
						}
						e.groups[group] = append(e.groups[group], uint64(id))
					}
				}
			}
		}
	}
	var held [5]float64
	for i, of := range []struct {
		edges, each int
		at          protocol.Endpoint
		groups      func(*cluster)
	}{
		{1000, 0, protocol.EndpointAll, none},
		{edges, each, protocol.EndpointAll, none},
		{edges, each, protocol.EndpointUser, none},
		{edges, each, protocol.EndpointChannel, in(4, false)},
		{edges, each, protocol.EndpointChannel, in(4, true)},
	} {
		var err error
		if held[i], err = measure(of.edges, of.each, of.at, of.groups); err != nil {
			return err
		}
	}
	n := float64(edges * each)
	session := held[1] / n
	topic := held[2]/n - session
	r.add("memory of an edge without sessions", nil, "%s", size(held[0]/1000))
	r.add("memory of a session", nil, "%.0f bytes, with its place in `all`", session)
	r.add("memory of a topic", nil, "%.0f bytes, with the edge that follows it: a user's own", topic)
	for i, where := range []string{"whose ten members are on one edge", "whose ten members are on ten edges"} {
		r.add("memory of a membership in a group "+where, nil, "%.0f bytes, with a tenth of the group; each session in four", (held[3+i]/n-session-topic)/4)
	}
	return nil
}
