package main

import (
	"context"
	"fmt"
	"time"

	"github.com/edgerelay/edgerelay/test/bench/load"
)

// connects is how many sessions the scenario connect opens.
const connects = 5000

func connectCase(sessions int) string { return fmt.Sprintf("%d sessions", sessions) }

// connect opens sessions as fast as the servers accept them, several at a time.
func connect(ctx context.Context, b *bench, f *form) error {
	return f.with(ctx, b, func(s *site, l *load.Loop) error {
		n := b.sessions(connects)
		r := b.of("connect", f, connectCase(n))
		if err := l.Idle(ctx, b.time(time.Second)); err != nil {
			return err
		}
		began := time.Now()
		t, err := s.during(func() error {
			_, err := openSessions(ctx, s, l, n)
			return err
		})
		if err != nil {
			return err
		}
		took := time.Since(began)
		r.cpu("connect", t, n, 250)
		if s.cluster != nil {
			r.add("CPU per connect, edge", "µs", micros(t.by["edge"], n), 0)
			r.add("CPU per connect, relay", "µs", micros(t.by["relay"], n), 0)
		}
		r.add("connects", "/s", float64(n)/took.Seconds(), 0)
		return nil
	})
}
