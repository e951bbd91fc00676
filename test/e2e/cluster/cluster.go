// Package cluster starts edges, relays and their Redis for tests. A Cluster runs its servers in one
// of three ways: in the test's process, as processes of the built binaries, or as containers of the
// images.
//
// A Proxy lies between an edge and each relay that the edge was given. Another Proxy lies between a
// relay and its Redis. Servers whose URLs the test sets itself do not use these Proxies. A Proxy
// between an edge and a relay keeps its address when the relay dies and comes back at another
// address. A test can reset or freeze the connections through a Proxy, or cut them after a number
// of bytes.
package cluster

import (
	"maps"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/test/loopback"
	"github.com/edgerelay/edgerelay/test/redistest"
)

// Kind says how servers run.
type Kind string

const (
	InProcess Kind = "inprocess" // in the test's process, which may run with the race detector
	Process   Kind = "process"   // as processes; the test's process builds the binaries once
	Container Kind = "container" // as containers of the images, on the test's own network
)

// Backend says what carries publications between relays.
type Backend string

const (
	Memory Backend = "memory" // one store in memory for all relays of the Cluster; InProcess only
	Redis  Backend = "redis"  // a redis-server of the Cluster's own
)

// Env holds environment variables.
type Env map[string]string

// Options say what a Cluster is made of.
type Options struct {
	Kind    Kind
	Backend Backend
	Edge    Env  // added to the environment of every edge
	Relay   Env  // added to the environment of every relay
	NoRedis bool // keeps Redis down until Redis().Restart
}

// Key is the link key of every server for which the test sets no other key.
const Key = "test:a-link-key-for-tests-that-is-long-enough"

// stopTime is how long servers may take to stop at a test's end. It is 1 s longer than
// relay.StopsWithin.
const stopTime = 8 * time.Second

// longHistory is the default length of a topic's history, in publications. It is long, so that
// messages sent during an outage are not lost. A test that wants losses sets a shorter history.
const longHistory = "20000"

// Cluster is a set of edges and relays, and their Redis. Everything in it ends with the test.
type Cluster struct {
	t       testing.TB
	o       Options
	run     runner
	redis   *redistest.Server // nil with Memory
	started int
	servers []server // one entry per boot
}

// runner starts servers of one Kind.
type runner interface {
	edge(t testing.TB, env Env, log *logbook) server
	relay(t testing.TB, env Env, log *logbook) server
	host() string // address where proxies must listen so that the runner's servers reach them
}

// server is one boot of an edge or a relay.
type server interface {
	terminate()            // asks it to stop, as SIGTERM does
	kill()                 // ends it without warning; may return before it has ended
	freeze()               // stops it as SIGSTOP does; panics for InProcess
	thaw()                 // lets it go on
	done() <-chan struct{} // closed when it has ended
	exit() int             // its exit status; valid once it has ended
}

// Cluster.keep adds s to the servers that are stopped at the test's end. They are stopped together,
// before the proxies between them are closed.
func (c *Cluster) keep(s server) server {
	c.servers = append(c.servers, s)
	c.t.Cleanup(c.stop)
	return s
}

// Cluster.stop asks all servers to stop. If a server still runs after stopTime, Cluster.stop kills
// that server and fails the test.
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

// New returns a Cluster without servers. Its Redis, if it has one, runs unless Options.NoRedis is
// set.
func New(t testing.TB, o Options) *Cluster {
	t.Helper()
	o.Relay = merged(Env{"RELAY_HISTORY_SIZE": longHistory}, o.Relay)
	c := &Cluster{t: t, o: o}
	switch o.Kind {
	case Process:
		c.run = processes(t)
	case Container:
		c.run = containers(t)
	default:
		c.run = newInProcess(t, o.Relay)
	}
	if o.Backend == Redis {
		c.redis = newRedis(t, o.NoRedis)
	}
	return c
}

// Cluster.proxy returns a Proxy that dials target. The servers can reach the address of the Proxy.
func (c *Cluster) proxy(target string) *Proxy {
	c.t.Helper()
	return NewProxy(c.t, at(c.t, c.run.host(), loopback.FreeAddr(c.t)), target)
}

// Kind returns how the Cluster's servers run.
func (c *Cluster) Kind() Kind { return c.o.Kind }

// RedisURL returns the URL at which the Cluster's Redis itself listens, without a Proxy. It panics
// with Memory.
func (c *Cluster) RedisURL() string { return c.redis.URL }

// Redis returns the redis-server, which a test may kill, freeze and restart. Over a restart the
// server keeps its address, and every write that it has acknowledged. With Memory, Redis returns
// nil.
func (c *Cluster) Redis() *redistest.Server { return c.redis }

func merged(envs ...Env) Env {
	all := Env{}
	for _, e := range envs {
		maps.Copy(all, e)
	}
	return all
}
