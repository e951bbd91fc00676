package main

import (
	"context"
	"fmt"
	"time"

	"github.com/edgerelay/edgerelay/test/bench/usage"
)

// connect opens sessions as fast as they are let in, some at once.
func connect(ctx context.Context, b *session, f *form) error {
	s, l, done, err := f.open(ctx, b)
	if err != nil {
		return err
	}
	defer done()
	if err := l.Idle(ctx, b.time(time.Second)); err != nil {
		return err
	}
	n := b.sessions(5000)
	before, err := s.each()
	if err != nil {
		return err
	}
	began := time.Now()
	if _, err := openSessions(ctx, s, l, n); err != nil {
		return err
	}
	took := time.Since(began)
	after, err := s.each()
	if err != nil {
		return err
	}
	sum := time.Duration(0)
	by := map[string]time.Duration{}
	for i, p := range s.counted {
		by[p.name] += after[i] - before[i]
		sum += after[i] - before[i]
	}
	what := fmt.Sprintf("%d sessions, CPU per connect", n)
	b.row("connect", f.name, what, "µs", micros(sum, n), f.budget(250))
	if len(by) > 1 {
		for _, name := range []string{"edge", "relay"} {
			b.row("connect", f.name, what+", "+name, "µs", micros(by[name], n), 0)
		}
	}
	b.row("connect", f.name, fmt.Sprintf("%d sessions, connects", n), "/s", float64(n)/took.Seconds(), 0)
	return nil
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
