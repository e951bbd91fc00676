package cluster

import (
	"fmt"
	"strings"
	"time"

	"github.com/edgerelay/edgerelay/test/loopback"
)

// Edge is one edge.
type Edge struct{ part }

// StartEdge starts an edge that may link to any of the given relays, and waits until it is ready.
// Unless Options.NoRedis is set, StartEdge then waits up to 5 s until the edge does not list the
// broker as degraded. The variables in env, which may be nil, override those that the Cluster sets.
func (c *Cluster) StartEdge(env Env, relays ...*Relay) *Edge {
	c.t.Helper()
	e := c.LaunchEdge(env, relays...)
	Eventually(c.t, e.Name+" is linked", e.IsReady)
	if !c.o.NoRedis {
		e.settle()
	}
	return e
}

// Edge.settle waits until the edge does not list the broker as degraded. On a busy machine,
// Redis and the relays that check Redis need time to start. After 5 s Edge.settle gives up, since
// the test may have taken Redis away.
func (e *Edge) settle() {
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); <-time.After(5 * time.Millisecond) {
		if _, body := e.Ready(); !strings.Contains(body, `"broker"`) {
			return
		}
	}
}

// LaunchEdge starts an edge as StartEdge does, but does not wait.
func (c *Cluster) LaunchEdge(env Env, relays ...*Relay) *Edge {
	c.t.Helper()
	c.started++
	e := &Edge{part{Name: fmt.Sprintf("edge%d", c.started), c: c, runner: c.run}}
	var urls []string
	for _, r := range relays {
		p := c.proxy(r.addr)
		r.links, e.links = append(r.links, p), append(e.links, p)
		urls = append(urls, "ws://"+p.Addr())
	}
	e.log = newLogbook(c.t, e.Name)
	e.env = merged(Env{
		"EDGE_RELAY_URLS": strings.Join(urls, ","), "EDGE_NODE_ID": e.Name,
		"EDGE_AUTH": "open", "EDGE_RATE": "0", "EDGE_DRAIN": "1s", "LINK_KEYS": Key, "LOG_LEVEL": "debug",
	}, c.o.Edge, env)
	e.boot()
	return e
}

// Edge.boot starts the edge at new addresses, and lets its proxies carry connections again.
func (e *Edge) boot() {
	t := e.c.t
	e.addr, e.admin = loopback.FreeAddr(t), loopback.FreeAddr(t)
	e.run = e.c.keep(e.runner.edge(t, merged(Env{"EDGE_ADDR": e.addr, "EDGE_ADMIN_ADDR": e.admin}, e.env), e.log))
	for _, p := range e.links {
		p.Allow()
	}
}

// URL returns the ws:// URL of a path at the edge. The path must begin with a slash.
func (e *Edge) URL(path string) string { return "ws://" + e.addr + path }

// Kill breaks the edge's links, and ends the edge without warning.
func (e *Edge) Kill() {
	for _, p := range e.links {
		p.Refuse()
	}
	e.run.kill()
}

// Restart starts a killed edge again under its node ID. The new boot has nothing of the old boot's
// memory. Restart waits until the old boot has ended, but not until the new boot is linked.
func (e *Edge) Restart() {
	e.c.t.Helper()
	e.Exited() // a boot in the test's process may dial relays until it has ended
	e.boot()
}

// IsReady reports whether the edge answers 200 at /readyz.
func (e *Edge) IsReady() bool { status, _ := e.Ready(); return status == 200 }

// Linked reports whether a connection through one of the edge's proxies is open now.
func (e *Edge) Linked() bool { return e.Link() != nil }

// Link returns the proxy with the oldest open connection, or nil if no connection is open. Link
// assumes that this connection is the edge's link. The edge may connect to other relays too, to ask
// who they are, but such a connection is short.
func (e *Edge) Link() (link *Proxy) {
	var began time.Time
	for _, p := range e.links {
		if oldest := p.oldest(); !oldest.IsZero() && (link == nil || oldest.Before(began)) {
			link, began = p, oldest
		}
	}
	return link
}

// Links returns the edge's proxies, in the order in which its relays were given.
func (e *Edge) Links() []*Proxy { return e.links }

// CutLinks resets the edge's links. The proxies let the edge dial again.
func (e *Edge) CutLinks() {
	for _, p := range e.links {
		p.Reset()
	}
}

// Sniff resets the edge's links, and counts the frames that relays send on later links. It waits
// until the edge has linked again.
func (e *Edge) Sniff() *Sniffer {
	s := &Sniffer{}
	for _, p := range e.links {
		p.Sniff(s.open)
		p.Reset()
	}
	Eventually(e.c.t, e.Name+" is linked through the sniffer", func() bool { return s.Count(typeWelcome) > 0 })
	return s
}
