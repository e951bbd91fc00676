// Package cluster starts edges, relays and their Redis for tests, in the test's process, as processes of the built binaries, or as containers of the images,
// behind one type.
//
// Between every edge and every relay, and between every relay and Redis, lies a Proxy that the test owns. So a relay can die and come back elsewhere,
// and any connection can be reset, frozen or cut at any byte, in all kinds alike.
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
	InProcess Kind = "inprocess" // in the test's process, under its race detector
	Process   Kind = "process"   // processes of binaries that are built once per test run
	Container Kind = "container" // containers of the images that test/e2e/images/build makes, on a network of the test's own
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
	host() string // where proxies listen, so that its servers reach them
}

// server is one boot of an edge or a relay.
type server interface {
	terminate()            // asks it to stop, as SIGTERM does
	kill()                 // ends it, or at least its work, without a word
	freeze()               // stops it as SIGSTOP does; not in this process
	thaw()                 // lets it go on
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

// proxy returns a Proxy to target that the servers reach.
func (c *Cluster) proxy(target string) *Proxy {
	c.t.Helper()
	return NewProxy(c.t, at(c.t, c.run.host(), loopback.FreeAddr(c.t)), target)
}

// Kind returns how the Cluster's servers run.
func (c *Cluster) Kind() Kind { return c.o.Kind }

// RedisURL returns where the Redis of the Cluster listens, past all proxies.
func (c *Cluster) RedisURL() string { return c.redis.URL }

// Redis returns the redis-server, to kill, freeze and restart it: it keeps what it has acknowledged, and its address. nil with Memory.
func (c *Cluster) Redis() *redistest.Server { return c.redis }

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
