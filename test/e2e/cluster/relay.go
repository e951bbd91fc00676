package cluster

import (
	"fmt"

	"github.com/edgerelay/edgerelay/test/loopback"
)

// Relay is one relay. The proxies of its links stay while it is killed and restarted.
type Relay struct {
	part
	redis   *Proxy // nil with Memory
	redisAt string // address of the Redis that later boots use
}

// StartRelay starts a relay and waits until it is live. The variables in env, which may be nil,
// override those that the Cluster sets.
func (c *Cluster) StartRelay(env Env) *Relay {
	c.t.Helper()
	r := c.LaunchRelay(env)
	Eventually(c.t, r.Name+" is live", r.Live)
	return r
}

// LaunchRelay starts a relay as StartRelay does, but does not wait.
func (c *Cluster) LaunchRelay(env Env) *Relay {
	c.t.Helper()
	r := c.NewRelay(env)
	r.boot()
	return r
}

// NewRelay returns a relay that does not run yet. Call Restart to start it.
func (c *Cluster) NewRelay(env Env) *Relay {
	c.t.Helper()
	c.started++
	r := &Relay{part: part{Name: fmt.Sprintf("relay%d", c.started), c: c, runner: c.run}}
	r.env = merged(Env{"LINK_KEYS": Key, "LOG_LEVEL": "debug"}, c.o.Relay, env)
	r.log = newLogbook(c.t, r.Name)
	if c.redis != nil {
		r.redisAt = c.redis.Addr
		r.redis = c.proxy(r.redisAt)
	}
	return r
}

// Relay.boot starts the relay and points the proxies of its links to it. The relay gets new
// addresses unless r.env names them.
func (r *Relay) boot() {
	t := r.c.t
	redis := "memory://"
	if r.redis != nil {
		redis = "redis://" + r.redis.Addr()
	}
	env := merged(Env{
		"RELAY_ADDR": loopback.FreeAddr(t), "RELAY_ADMIN_ADDR": loopback.FreeAddr(t),
		"RELAY_REDIS_URL": redis,
	}, r.env)
	r.addr, r.admin = env["RELAY_ADDR"], env["RELAY_ADMIN_ADDR"]
	r.run = r.c.keep(r.runner.relay(t, env, r.log))
	for _, p := range r.links {
		p.SetTarget(r.addr)
		p.Allow()
	}
}

// Kill ends the relay without warning, and breaks its connections.
func (r *Relay) Kill() {
	for _, p := range r.links {
		p.Refuse()
	}
	if r.redis != nil {
		r.redis.Refuse()
	}
	r.run.kill()
}

// RedisAt sets the address of the Redis that later boots of the relay use. Without a call of
// RedisAt, all boots use the Cluster's Redis.
func (r *Relay) RedisAt(addr string) { r.redisAt = addr }

// Restart starts a relay that was killed or stopped, or that has not run yet. The new boot has
// nothing of the old boot's memory. Restart does not wait until the relay is live.
func (r *Relay) Restart() {
	r.c.t.Helper()
	if r.redis != nil {
		r.redis = r.c.proxy(r.redisAt) // after a Kill, the old boot's proxy refuses connections
	}
	r.boot()
}

// Setenv changes a variable of the relay for later boots.
func (r *Relay) Setenv(name, value string) { r.env[name] = value }

// Live reports whether the relay says at its admin port that it lives.
func (r *Relay) Live() bool { status, _ := fetch("http://" + r.admin + "/livez"); return status == 200 }

// RedisProxy returns the Proxy between the relay's last boot and Redis, or nil with Memory.
func (r *Relay) RedisProxy() *Proxy { return r.redis }
