package main

import (
	"context"
	"time"

	"github.com/edgerelay/edgerelay/test/bench/load"
	"github.com/edgerelay/edgerelay/test/bench/local"
	"github.com/edgerelay/edgerelay/test/bench/usage"
)

// site is servers that run.
type site struct {
	form    *form
	addrs   []string  // sessions are spread over them, one after the other
	counted []process // the product's own
	redis   *process  // nil: none
	cluster *cluster  // nil: it is not ours
	stop    func()
}

// process is what one process is called and its id.
type process struct {
	name string
	pid  int
}

// addr is where session i goes.
func (s *site) addr(i int) string { return s.addrs[i%len(s.addrs)] }

// form is a way to run servers.
type form struct {
	name    string
	dialect load.Dialect
	budgets bool            // the budgets are for it
	can     map[string]bool // which scenarios it takes part in
	start   func(ctx context.Context, b *session) (*site, error)
}

// open starts the servers, and a loop for sessions on them. Both are ended by done.
func (f *form) open(ctx context.Context, b *session) (s *site, l *load.Loop, done func(), err error) {
	if s, err = f.start(ctx, b); err != nil {
		return nil, nil, nil, err
	}
	s.form = f
	if l, err = load.NewLoop(f.dialect); err != nil {
		s.stop()
		return nil, nil, nil, err
	}
	return s, l, func() { l.Close(); s.stop() }, nil
}

// spent is CPU time.
type spent struct{ servers, redis time.Duration }

func (s *site) cpu() (t spent, err error) {
	for _, p := range s.counted {
		d, err := usage.CPU(p.pid)
		if err != nil {
			return t, err
		}
		t.servers += d
	}
	if s.redis != nil {
		t.redis, err = usage.CPU(s.redis.pid)
	}
	return t, err
}

// resident is the memory of each counted process, and at last of Redis.
func (s *site) resident() (bytes []int64, err error) {
	all := s.counted
	if s.redis != nil {
		all = append(all[:len(all):len(all)], *s.redis)
	}
	for _, p := range all {
		n, err := usage.Resident(p.pid)
		if err != nil {
			return nil, err
		}
		bytes = append(bytes, n)
	}
	return bytes, nil
}

// startAll starts servers one after the other, and ends them all when one does not start.
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
