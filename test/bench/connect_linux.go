package main

import (
	"context"
	"fmt"
	"time"

	"github.com/edgerelay/edgerelay/test/bench/load"
)

// The constant connects is how many sessions the scenario connect opens in each of its cases.
const connects = 5000

// connectCase and joinedCase return the names of the two cases of the scenario connect. The goals
// in goals_linux.go refer to these names.
func connectCase(sessions int) string { return fmt.Sprintf("%d sessions", sessions) }
func joinedCase(sessions int) string {
	return fmt.Sprintf("%d sessions, each joins a group of its own", sessions)
}

// The function connect opens sessions as fast as the servers accept them, several at a time. Then
// it does the same with sessions that also join groups, if the servers' protocol has a command for
// that.
func connect(ctx context.Context, b *bench, f *form) error {
	n := b.sessions(connects)
	err := b.connectAll(ctx, f, n, connectCase(n), 250, func(i int) load.Opening { return f.dialect.Session(idler(i)) })
	if _, can := f.dialect.Joined("", ""); err != nil || !can {
		return err
	}
	return b.connectAll(ctx, f, n, joinedCase(n), 0, func(i int) load.Opening {
		o, _ := f.dialect.Joined(idler(i), fmt.Sprint("g", i))
		return o
	})
}

func (b *bench) connectAll(ctx context.Context, f *form, n int, what string, budget float64, opening func(i int) load.Opening) error {
	return f.with(ctx, b, func(s *site, l *load.Loop) error {
		r := b.of("connect", f, what)
		if err := l.Idle(ctx, b.time(time.Second)); err != nil {
			return err
		}
		began := time.Now()
		t, err := s.during(func() error {
			_, err := l.Open(ctx, n, func(i int) (string, load.Opening) { return s.addr(i), opening(i) })
			return err
		})
		if err != nil {
			return err
		}
		took := time.Since(began)
		r.cpu("connect", t, n, budget)
		if s.cluster != nil {
			r.add("CPU per connect, edge", "µs", micros(t.by["edge"], n), 0)
			r.add("CPU per connect, relay", "µs", micros(t.by["relay"], n), 0)
		}
		r.add("connects", "/s", float64(n)/took.Seconds(), 0)
		return nil
	})
}
