package cluster

import (
	"fmt"

	"github.com/edgerelay/edgerelay/test/loopback"
)

// Relay is one relay. Its links' proxies stay while it is killed and restarted.
type Relay struct {
	Name string

	c       *Cluster
	env     Env
	addr    string
	admin   string
	redis   *Proxy // nil with Memory
	redisAt string // what it leads to
	links   []*Proxy
	run     server
	log     *logbook
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
		r.redisAt = c.redis.Addr
		r.redis = c.proxy(r.redisAt)
	}
	r.boot()
	return r
}

// boot starts the relay at an address of this boot, and turns its links' proxies to it.
func (r *Relay) boot() {
	t := r.c.t
	r.addr, r.admin = loopback.FreeAddr(t), loopback.FreeAddr(t)
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

// RedisAt has the relay's next boot use another Redis than the Cluster's.
func (r *Relay) RedisAt(addr string) { r.redisAt = addr }

// Restart starts a killed or stopped relay again: a new boot, with nothing of the old one's memory. It does not wait until it is live.
func (r *Relay) Restart() {
	r.c.t.Helper()
	if r.redis != nil {
		r.redis = r.c.proxy(r.redisAt) // the old boot's one goes on refusing
	}
	r.boot()
}

// Setenv changes a variable of the relay's next boot.
func (r *Relay) Setenv(name, value string) { r.env[name] = value }

// Freeze stops the relay as SIGSTOP does. It cannot be done to a server in the test's own process.
func (r *Relay) Freeze() { r.run.freeze() }

// Thaw lets a frozen relay go on.
func (r *Relay) Thaw() { r.run.thaw() }

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

// Addr returns the address at which this boot of the relay takes links, past all proxies.
func (r *Relay) Addr() string { return r.addr }

// Admin returns the address of the relay's admin port.
func (r *Relay) Admin() string { return r.admin }

// RedisProxy returns what lies between the relay and Redis.
func (r *Relay) RedisProxy() *Proxy { return r.redis }

// Log returns what the relay logged so far, in all its boots.
func (r *Relay) Log() string { return r.log.String() }
