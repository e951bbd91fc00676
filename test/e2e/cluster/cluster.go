// Package cluster starts edges, relays and their Redis for tests, in the test's process or as processes of the built binaries, behind one type.
//
// Between every edge and every relay, and between every relay and Redis, lies a Proxy that the test owns. So a relay can die and come back elsewhere,
// and any connection can be reset, frozen or cut at any byte, in both kinds alike.
package cluster

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/test/redistest"
)

// Kind says how servers run.
type Kind string

const (
	InProcess Kind = "inprocess" // in the test's process, under its race detector
	Process   Kind = "process"   // processes of binaries that are built once per test run
)

// Backend says what carries publications between relays.
type Backend string

const (
	Memory Backend = "memory" // one store in the test's process that all relays share; InProcess only
	Redis  Backend = "redis"  // a redis-server of the test's own
)

// Env holds environment variables.
type Env map[string]string

// Options say what a Cluster is made of.
type Options struct {
	Kind    Kind
	Backend Backend
	Edge    Env  // variables of every edge beside the harness' own
	Relay   Env  // of every relay
	NoRedis bool // Redis is not started: Redis().Restart starts it
}

// Key is the link key of every server that is not told another.
const Key = "test:a-link-key-for-tests-that-is-long-enough"

// stopTime is how long servers have at a test's end: long enough for an edge's drain and a relay's 5 s.
const stopTime = 8 * time.Second

// longHistory is what relays keep per topic unless told otherwise: more than any outage here is long, since a loss beyond history is told to
// clients and is a case of its own.
const longHistory = "20000"

// Cluster is edges, relays and their Redis. Everything in it ends with the test.
type Cluster struct {
	t       testing.TB
	o       Options
	run     runner
	redis   *redistest.Server // nil with Memory
	started int
	servers []server // every boot
}

// runner starts servers of one Kind.
type runner interface {
	edge(t testing.TB, env Env, log *logbook) server
	relay(t testing.TB, env Env, log *logbook) server
}

// server is one boot of an edge or a relay.
type server interface {
	terminate()            // asks it to stop, as SIGTERM does
	kill()                 // ends it, or at least its work, without a word
	done() <-chan struct{} // closed when it has ended
	exit() int             // its exit status, once done
}

// keep takes a boot on. At the test's end all are stopped together, before any proxy between them goes.
func (c *Cluster) keep(s server) server {
	c.servers = append(c.servers, s)
	c.t.Cleanup(c.stop)
	return s
}

// stop asks all servers to stop. One that takes too long fails the test and is ended.
func (c *Cluster) stop() {
	for _, s := range c.servers {
		s.terminate()
	}
	late := time.After(stopTime)
	for i, s := range c.servers {
		select {
		case <-s.done():
		case <-late:
			c.t.Errorf("server %d of the test goes on %v after it was told to stop", i+1, stopTime)
			s.kill()
			late = time.After(0)
		}
	}
	c.servers = nil
}

// New returns an empty Cluster, with its Redis running.
func New(t testing.TB, o Options) *Cluster {
	t.Helper()
	o.Relay = merged(Env{"RELAY_HISTORY_SIZE": longHistory}, o.Relay)
	c := &Cluster{t: t, o: o}
	switch o.Kind {
	case Process:
		c.run = processes(t)
	default:
		c.run = newInProcess(t, o.Relay)
	}
	if o.Backend == Redis {
		c.redis = newRedis(t, o.NoRedis)
	}
	return c
}

// Kind returns how the Cluster's servers run.
func (c *Cluster) Kind() Kind { return c.o.Kind }

// RedisURL returns where the Redis of the Cluster listens, past all proxies.
func (c *Cluster) RedisURL() string { return c.redis.URL }

// Redis returns the redis-server, to kill, freeze and restart it: it keeps what it has acknowledged, and its address. nil with Memory.
func (c *Cluster) Redis() *redistest.Server { return c.redis }

// Relay is one relay. Its links' proxies stay while it is killed and restarted.
type Relay struct {
	Name string

	c     *Cluster
	env   Env
	addr  string
	admin string
	redis *Proxy // nil with Memory
	links []*Proxy
	run   server
	log   *logbook
}

// StartRelay starts a relay and waits until it takes links. env may be nil; it wins over the harness' own variables.
func (c *Cluster) StartRelay(env Env) *Relay {
	c.t.Helper()
	r := c.LaunchRelay(env)
	Eventually(c.t, r.Name+" is live", r.Live)
	return r
}

// LaunchRelay is StartRelay without the wait.
func (c *Cluster) LaunchRelay(env Env) *Relay {
	c.t.Helper()
	c.started++
	r := &Relay{Name: fmt.Sprintf("relay%d", c.started), c: c}
	r.env = merged(Env{"LINK_KEYS": Key, "LOG_LEVEL": "debug"}, c.o.Relay, env)
	r.log = newLogbook(c.t, r.Name)
	if c.redis != nil {
		r.redis = NewProxy(c.t, c.redis.Addr)
	}
	r.boot()
	return r
}

// boot starts the relay at an address of this boot, and turns its links' proxies to it.
func (r *Relay) boot() {
	t := r.c.t
	r.addr, r.admin = FreeAddr(t), FreeAddr(t)
	env := merged(r.env, Env{"RELAY_ADDR": r.addr, "RELAY_ADMIN_ADDR": r.admin, "RELAY_REDIS_URL": "memory://"})
	if r.redis != nil {
		env["RELAY_REDIS_URL"] = "redis://" + r.redis.Addr()
	}
	r.run = r.c.keep(r.c.run.relay(t, env, r.log))
	for _, p := range r.links {
		p.SetTarget(r.addr)
		p.Allow()
	}
}

// Kill ends the relay as kill -9 does: whatever it had not written is lost, and its sockets break.
func (r *Relay) Kill() {
	for _, p := range r.links {
		p.Refuse()
	}
	if r.redis != nil {
		r.redis.Refuse()
	}
	r.run.kill()
}

// Restart starts a killed or stopped relay again: a new boot, with nothing of the old one's memory. It does not wait until it is live.
func (r *Relay) Restart() {
	r.c.t.Helper()
	if r.redis != nil {
		r.redis = NewProxy(r.c.t, r.c.redis.Addr) // the old boot's one goes on refusing
	}
	r.boot()
}

// Setenv changes a variable of the relay's next boot.
func (r *Relay) Setenv(name, value string) { r.env[name] = value }

// Terminate asks the relay to stop, as SIGTERM does.
func (r *Relay) Terminate() { r.run.terminate() }

// Exited waits for the relay's end and returns its exit status.
func (r *Relay) Exited() int { r.c.t.Helper(); return exited(r.c.t, r.Name, r.run) }

// Live reports whether the relay's admin port says so.
func (r *Relay) Live() bool { status, _ := fetch("http://" + r.admin + "/livez"); return status == 200 }

// Ready returns the answer of the relay's /readyz.
func (r *Relay) Ready() (status int, body string) { return fetch("http://" + r.admin + "/readyz") }

// Metrics scrapes the relay.
func (r *Relay) Metrics() Metrics { r.c.t.Helper(); return mustScrape(r.c.t, r.admin) }

// Admin returns the address of the relay's admin port.
func (r *Relay) Admin() string { return r.admin }

// RedisProxy returns what lies between the relay and Redis.
func (r *Relay) RedisProxy() *Proxy { return r.redis }

// Log returns what the relay logged so far, in all its boots.
func (r *Relay) Log() string { return r.log.String() }

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
		p := NewProxy(c.t, r.addr)
		r.links, e.links = append(r.links, p), append(e.links, p)
		urls = append(urls, "ws://"+p.Addr())
	}
	e.addr, e.admin, e.log = FreeAddr(c.t), FreeAddr(c.t), newLogbook(c.t, e.Name)
	e.env = merged(Env{
		"EDGE_ADDR": e.addr, "EDGE_ADMIN_ADDR": e.admin, "EDGE_RELAY_URLS": strings.Join(urls, ","), "EDGE_NODE_ID": e.Name,
		"EDGE_AUTH": "open", "EDGE_RATE": "0", "EDGE_DRAIN": "1s", "LINK_KEYS": Key, "LOG_LEVEL": "debug",
	}, c.o.Edge, env)
	e.run = c.keep(c.run.edge(c.t, e.env, e.log))
	return e
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

// Link returns the proxy to the relay in use; nil without a link.
func (e *Edge) Link() *Proxy {
	for _, p := range e.links {
		if p.Live() > 0 {
			return p
		}
	}
	return nil
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

func exited(t testing.TB, name string, s server) int {
	t.Helper()
	select {
	case <-s.done():
	case <-time.After(Patience):
		t.Fatalf("%s has not ended after %v", name, Patience)
	}
	return s.exit()
}

func merged(envs ...Env) Env {
	all := Env{}
	for _, e := range envs {
		maps.Copy(all, e)
	}
	return all
}
