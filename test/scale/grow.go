package main

import (
	"fmt"
	"slices"

	"github.com/edgerelay/edgerelay/shared/link"
)

// cluster.grow connects all sessions in rounds. In each round every edge connects about a twentieth
// of its sessions. The parameter steps has numbers of sessions. After the round in which one of
// these numbers is reached, cluster.grow reports a measurement. It also reports one after the last
// round. The parameter base is the size of the heap without sessions, in bytes.
func (c *cluster) grow(base float64, steps []int) error {
	m := begin()
	done, since := 0, 0
	round := max(c.sessions/20, 1)
	for first := 1; first <= c.sessions; first += round {
		n := min(round, c.sessions+1-first)
		for _, e := range c.edges {
			m.besides(func() { e.connects(c.at, first, n) })
			c.relay.now = c.relay.now.Add(tickOf(n))
			if err := e.send(connectsAtOnce); err != nil {
				return err
			}
			var err error
			m.besides(func() {
				if err = c.relay.read(); err == nil && e.took[link.TypeOpened] != n {
					err = fmt.Errorf("%d of %d connects were answered", e.took[link.TypeOpened], n)
				}
			})
			if err != nil {
				return err
			}
		}
		done += n * len(c.edges)
		if !slices.ContainsFunc(steps, func(step int) bool { return done-n*len(c.edges) < step && step <= done }) && done < c.members() {
			for _, e := range c.edges {
				e.took = [256]int{}
			}
			continue
		}
		m.end()
		up, down := c.forgetAll()
		c.report.add("connect, %s sessions", []any{count(done)}, "%s of CPU each, collecting garbage included, %.0f bytes up and %.0f down", per(m.cpu, done-since), float64(up)/float64(done-since),
			float64(down)/float64(done-since))
		stands := resident()
		alive := heap() - base
		c.report.add("memory, %s sessions", []any{count(done)}, "%.0f bytes alive a session; resident %s, %.0f bytes a session", alive/float64(done), size(stands), stands/float64(done))
		since, m = done, begin()
	}
	return nil
}
