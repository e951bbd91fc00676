package cluster

import (
	"fmt"
	"strings"
	"time"

	"github.com/edgerelay/edgerelay/test/loopback"
)

// Edge is one edge.
type Edge struct {
	Name string

	c     *Cluster
	env   Env
	addr  string
	admin string
	links []*Proxy
	run   server
	log   *logbook
}

// StartEdge starts an edge that may link to any of relays, and waits until it has. env may be nil; it wins over the harness' own variables.
func (c *Cluster) StartEdge(env Env, relays ...*Relay) *Edge {
	c.t.Helper()
	e := c.LaunchEdge(env, relays...)
	Eventually(c.t, e.Name+" is linked", e.IsReady)
	return e
}

// LaunchEdge is StartEdge without the wait.
func (c *Cluster) LaunchEdge(env Env, relays ...*Relay) *Edge {
	c.t.Helper()
	c.started++
	e := &Edge{Name: fmt.Sprintf("edge%d", c.started), c: c}
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

// boot starts the edge at an address of this boot.
func (e *Edge) boot() {
	t := e.c.t
	e.addr, e.admin = loopback.FreeAddr(t), loopback.FreeAddr(t)
	e.run = e.c.keep(e.c.run.edge(t, merged(Env{"EDGE_ADDR": e.addr, "EDGE_ADMIN_ADDR": e.admin}, e.env), e.log))
	for _, p := range e.links {
		p.Allow()
	}
}

// URL returns a ws:// URL of the edge; path begins with a slash.
func (e *Edge) URL(path string) string { return "ws://" + e.addr + path }

// Addr returns the edge's public address.
func (e *Edge) Addr() string { return e.addr }

// Kill ends the edge as kill -9 does.
func (e *Edge) Kill() {
	for _, p := range e.links {
		p.Refuse()
	}
	e.run.kill()
}

// Restart starts a killed edge again, under its node ID: a new boot, with nothing of the old one's memory. It does not wait until it is linked.
func (e *Edge) Restart() {
	e.c.t.Helper()
	e.Exited() // in this process the old boot would dial again
	e.boot()
}

// Freeze stops the edge as SIGSTOP does. It cannot be done to a server in the test's own process.
func (e *Edge) Freeze() { e.run.freeze() }

// Thaw lets a frozen edge go on.
func (e *Edge) Thaw() { e.run.thaw() }

// Terminate asks the edge to stop, as SIGTERM does.
func (e *Edge) Terminate() { e.run.terminate() }

// Exited waits for the edge's end and returns its exit status.
func (e *Edge) Exited() int { e.c.t.Helper(); return exited(e.c.t, e.Name, e.run) }

// HasExited reports whether the edge has ended.
func (e *Edge) HasExited() bool {
	select {
	case <-e.run.done():
		return true
	default:
		return false
	}
}

// Ready returns the answer of the edge's admin /readyz.
func (e *Edge) Ready() (status int, body string) { return fetch("http://" + e.admin + "/readyz") }

// IsReady reports whether the edge says that it takes clients.
func (e *Edge) IsReady() bool { status, _ := e.Ready(); return status == 200 }

// Linked reports whether the edge has a link through one of its proxies now.
func (e *Edge) Linked() bool { return e.Link() != nil }

// Link returns the proxy to the relay in use; nil without a link. That is the oldest connection: an edge also asks other relays, for a moment, who they are.
func (e *Edge) Link() (link *Proxy) {
	var began time.Time
	for _, p := range e.links {
		if oldest := p.oldest(); !oldest.IsZero() && (link == nil || oldest.Before(began)) {
			link, began = p, oldest
		}
	}
	return link
}

// Links returns the proxies in the order of the relays.
func (e *Edge) Links() []*Proxy { return e.links }

// CutLinks resets every link of the edge; it may dial again at once.
func (e *Edge) CutLinks() {
	for _, p := range e.links {
		p.Reset()
	}
}

// Sniff counts the frames that relays send on links made from now on; those there are now are reset, so that none escapes.
func (e *Edge) Sniff() *Sniffer {
	s := &Sniffer{}
	for _, p := range e.links {
		p.Sniff(s.open)
		p.Reset()
	}
	Eventually(e.c.t, e.Name+" is linked through the sniffer", func() bool { return s.Count(typeWelcome) > 0 })
	return s
}

// Metrics scrapes the edge.
func (e *Edge) Metrics() Metrics { e.c.t.Helper(); return mustScrape(e.c.t, e.admin) }

// Admin returns the address of the edge's admin port.
func (e *Edge) Admin() string { return e.admin }

// Log returns what the edge logged so far.
func (e *Edge) Log() string { return e.log.String() }
