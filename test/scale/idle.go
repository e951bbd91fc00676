package main

import (
	"runtime"
	"time"
)

// cluster.idle measures what the relay costs while the time d passes and no session sends anything.
func (c *cluster) idle(d time.Duration) error {
	c.relay.pass(3 * time.Minute) // the relay forgets recent messages
	c.forgetAll()
	m := beginAlone()
	c.relay.pass(d)
	m.end()
	if err := c.relay.read(); err != nil {
		return err
	}
	_, down := c.forgetAll()
	seconds := d.Seconds()
	c.report.add("at rest, %s edges", []any{count(len(c.edges))}, "%s of CPU a second, %.1f bytes a second on each link", per(time.Duration(float64(m.cpu)/seconds), 1),
		float64(down)/seconds/float64(len(c.edges)))
	return nil
}

// cluster.collect measures one garbage collection.
func (c *cluster) collect() error {
	runtime.GC()
	m := begin()
	runtime.GC()
	m.end()
	c.report.add("a collection of garbage with %s sessions", []any{count(c.members())}, "%s of CPU, each time that as much was allocated as is alive", per(m.cpu, 1))
	return nil
}
