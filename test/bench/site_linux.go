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
	ours    bool   // when it fails, so does the bench
	budgets bool   // the budgets are for it
	can     string // the scenarios that it takes part in, blanks between them
	start   func(ctx context.Context, b *session) (*site, error)
}

// with starts the servers, gives them and a loop for sessions on them to do, and ends both.
func (f *form) with(ctx context.Context, b *session, do func(s *site, l *load.Loop) error) error {
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
	return l.Idle(ctx, 100*time.Millisecond) // what comes now has come twice
}

// spent is CPU time.
type spent struct{ servers, redis time.Duration }

func (s *site) cpu() (t spent, err error) {
	each, err := s.each()
	for _, d := range each {
		t.servers += d
	}
	if err == nil && s.redis != nil {
		t.redis, err = usage.CPU(s.redis.pid)
	}
	return t, err
}

// each is the CPU time of each counted process.
func (s *site) each() (all []time.Duration, err error) {
	for _, p := range s.counted {
		d, err := usage.CPU(p.pid)
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
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
