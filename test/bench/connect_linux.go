package main

import (
	"context"
	"fmt"
	"time"

	"github.com/edgerelay/edgerelay/test/bench/load"
)

// connect opens sessions as fast as the servers accept them, several at a time.
func connect(ctx context.Context, b *bench, f *form) error {
	return f.with(ctx, b, func(s *site, l *load.Loop) error {
		n := b.sessions(5000)
		r := b.of("connect", f, fmt.Sprintf("%d sessions", n))
		if err := l.Idle(ctx, b.time(time.Second)); err != nil {
			return err
		}
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
		var sum time.Duration
		by := map[string]time.Duration{}
		for i, p := range s.counted {
			by[p.name] += after[i] - before[i]
			sum += after[i] - before[i]
		}
		r.add("CPU per connect", "µs", micros(sum, n), 250)
		if s.cluster != nil {
			r.add("CPU per connect, edge", "µs", micros(by["edge"], n), 0)
			r.add("CPU per connect, relay", "µs", micros(by["relay"], n), 0)
		}
		r.add("connects", "/s", float64(n)/took.Seconds(), 0)
		return nil
	})
}
