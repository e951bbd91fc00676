package main

import (
	"context"
	"time"

	"github.com/edgerelay/edgerelay/test/bench/load"
	"github.com/edgerelay/edgerelay/test/bench/local"
	"github.com/edgerelay/edgerelay/test/bench/usage"
)

// site is a set of running servers.
type site struct {
	form    *form
	addrs   []string      // addresses of the servers; sessions take them in turn
	counted []process     // processes whose CPU and memory are measured
	redis   *process      // nil: the servers use no Redis, or one that the bench does not know
	store   *local.Server // the same Redis as a server; nil: the bench has started none
	cluster *cluster      // nil: the servers are not a cluster of the bench
	stop    func()
}

// process is the name and the ID of a process.
type process struct {
	name string
	pid  int
}

// site.addr returns the address of the server for session i.
func (s *site) addr(i int) string { return s.addrs[i%len(s.addrs)] }

// form is a way to run servers.
type form struct {
	name    string
	dialect load.Dialect
	ours    bool   // if the form fails, the bench fails
	budgets bool   // budgets apply to the form
	can     string // names of the scenarios that the form can run, separated by blanks
	start   func(ctx context.Context, b *bench) (*site, error)
	// keeps starts the servers as start does, but so that they keep keptMessages of each topic for
	// a minute.
	keeps func(ctx context.Context, b *bench) (*site, error)
}

// form.with starts the servers of a form, and opens a loop for sessions on them. It calls the given
// function with both. Then it closes the loop and stops the servers.
func (f *form) with(ctx context.Context, b *bench, do func(s *site, l *load.Loop) error) error {
	s, err := f.start(ctx, b)
	if err != nil {
		return err
	}
	defer s.stop()
	s.form = f
	l, err := load.NewLoop(f.dialect)
	if err != nil {
		return err
	}
	defer l.Close()
	if err := do(s, l); err != nil {
		return err
	}
	return l.Idle(ctx, 100*time.Millisecond) // a message that comes now is an error
}

// The type spent holds CPU times: of all counted processes together, of the processes by name, and
// of Redis.
type spent struct {
	servers time.Duration
	by      map[string]time.Duration
	redis   time.Duration
	known   bool // whether the servers use a Redis that the bench knows
}

// site.during calls the given function, and returns the CPU time that was spent during the call.
func (s *site) during(do func() error) (t spent, err error) {
	before, err := s.cpu()
	if err != nil {
		return t, err
	}
	if err := do(); err != nil {
		return t, err
	}
	if t, err = s.cpu(); err != nil {
		return t, err
	}
	t.servers -= before.servers
	t.redis -= before.redis
	for name := range t.by {
		t.by[name] -= before.by[name]
	}
	return t, nil
}

// site.cpu returns the CPU time that was spent since each process was started.
func (s *site) cpu() (t spent, err error) {
	t = spent{by: map[string]time.Duration{}, known: s.redis != nil}
	for _, p := range s.counted {
		d, err := usage.CPU(p.pid)
		if err != nil {
			return t, err
		}
		t.servers += d
		t.by[p.name] += d
	}
	if t.known {
		t.redis, err = usage.CPU(s.redis.pid)
	}
	return t, err
}

// startAll starts servers one after the other. If one does not start, startAll ends those that have
// started. The returned function ends all servers, the last one first.
func startAll(ctx context.Context, servers ...*local.Server) (stop func(), err error) {
	stop = func() {
		for i := range servers {
			servers[len(servers)-1-i].Kill()
		}
	}
	for _, s := range servers {
		if _, err := s.Start(ctx); err != nil {
			stop()
			return nil, err
		}
	}
	return stop, nil
}
