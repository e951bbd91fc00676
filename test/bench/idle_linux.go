package main

import (
	"context"
	"fmt"
	"time"

	"github.com/edgerelay/edgerelay/test/bench/load"
	"github.com/edgerelay/edgerelay/test/bench/usage"
)

// idle opens sessions, and looks at memory some seconds later; then each sends itself one message.
func idle(ctx context.Context, b *session, f *form) error {
	for _, n := range []int{5000, 19_000} {
		if err := b.idleAt(ctx, f, b.sessions(n)); err != nil {
			return err
		}
	}
	return nil
}

func (b *session) idleAt(ctx context.Context, f *form, n int) error {
	s, l, done, err := f.open(ctx, b)
	if err != nil {
		return err
	}
	defer done()
	if err := l.Idle(ctx, b.time(2*time.Second)); err != nil {
		return err
	}
	before, err := s.resident()
	if err != nil {
		return err
	}
	kernel := usage.KernelMemory()
	sockets, err := openSessions(ctx, s, l, n)
	if err != nil {
		return err
	}
	if err := b.remembered(ctx, s, l, n, before, kernel, fmt.Sprintf("%d sessions, per session", n)); err != nil {
		return err
	}
	var streams []*load.Stream
	for i, socket := range sockets {
		stream := l.Stream(socket, f.dialect.Self(idler(i)), messageSize, 1)
		socket.Hear(stream)
		streams = append(streams, stream)
	}
	for len(streams) > 0 { // some at once
		some := streams[:min(64, len(streams))]
		if _, err := l.Run(ctx, load.Limits{Messages: len(some), Time: time.Minute}, some...); err != nil {
			return err
		}
		streams = streams[len(some):]
	}
	return b.remembered(ctx, s, l, n, before, kernel, fmt.Sprintf("%d sessions, after a message each, per session", n))
}

func idler(i int) string { return fmt.Sprint("idle-", i) }

// openSessions opens sessions that idle, on all servers alike.
func openSessions(ctx context.Context, s *site, l *load.Loop, n int) ([]*load.Socket, error) {
	return l.Open(ctx, n, func(i int) (string, load.Opening) { return s.addr(i), s.form.dialect.Session(idler(i)) })
}

// remembered adds rows of the memory that n sessions take some seconds later: now, less before they came.
func (b *session) remembered(ctx context.Context, s *site, l *load.Loop, n int, before []int64, kernel usage.Kernel, what string) error {
	b.say("idle: %s, %s", s.form.name, what)
	if err := l.Idle(ctx, b.time(5*time.Second)); err != nil {
		return err
	}
	now, err := s.resident()
	if err != nil {
		return err
	}
	by := map[string]int64{}
	var order []string
	for i, p := range s.counted {
		if _, there := by[p.name]; !there {
			order = append(order, p.name)
		}
		by[p.name] += now[i] - before[i]
	}
	budgets := map[string]float64{"edge": 6000, "relay": 1000}
	for _, name := range order {
		b.row("idle", s.form.name, what+", "+name, "B", float64(by[name])/float64(n), s.form.budget(budgets[name]))
	}
	if s.redis != nil {
		last := len(now) - 1
		b.row("idle", s.form.name, what+", Redis", "B", float64(now[last]-before[last])/float64(n), 0)
	}
	k := usage.KernelMemory()
	b.row("idle", s.form.name, what+", kernel's objects, both ends", "B", float64(k.Slab-kernel.Slab)/float64(n), 0)
	b.row("idle", s.form.name, what+", kernel's buffers, both ends", "B", float64(k.Buffers-kernel.Buffers)/float64(n), 0)
	return nil
}
