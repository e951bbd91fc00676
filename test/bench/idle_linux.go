package main

import (
	"context"
	"fmt"
	"slices"
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
	return f.with(ctx, b, func(s *site, l *load.Loop) error {
		r := b.of("idle", f, fmt.Sprintf("%d sessions, per session", n))
		if err := l.Idle(ctx, b.time(2*time.Second)); err != nil {
			return err
		}
		before, _, err := s.memory()
		if err != nil {
			return err
		}
		sockets, err := openSessions(ctx, s, l, n)
		if err != nil {
			return err
		}
		if err := b.remembered(ctx, s, l, n, before, r); err != nil {
			return err
		}
		if _, can := f.dialect.Self(""); !can {
			return nil
		}
		r = b.of("idle", f, fmt.Sprintf("%d sessions, after a message each, per session", n))
		if err := toThemselves(ctx, f, l, sockets); err != nil {
			return err
		}
		return b.remembered(ctx, s, l, n, before, r)
	})
}

// toThemselves has each session send itself a message.
func toThemselves(ctx context.Context, f *form, l *load.Loop, sockets []*load.Socket) error {
	var streams []*load.Stream
	for i, socket := range sockets {
		wrap, _ := f.dialect.Self(idler(i))
		stream := l.Stream(socket, wrap, messageSize, 1)
		socket.Hear(stream)
		streams = append(streams, stream)
	}
	for some := range slices.Chunk(streams, 64) { // at once
		if _, err := l.Run(ctx, load.Limits{Messages: len(some), Time: time.Minute}, some...); err != nil {
			return err
		}
	}
	return nil
}

func idler(i int) string { return fmt.Sprint("idle-", i) }

// openSessions opens sessions that idle, on all servers alike.
func openSessions(ctx context.Context, s *site, l *load.Loop, n int) ([]*load.Socket, error) {
	return l.Open(ctx, n, func(i int) (string, load.Opening) { return s.addr(i), s.form.dialect.Session(idler(i)) })
}

// memory is what is held at a moment, in bytes.
type memory struct {
	resident map[string]int64 // by the name of the processes, Redis included
	kernel   usage.Kernel
}

// memory also returns the names of the processes in their order.
func (s *site) memory() (m memory, names []string, err error) {
	m = memory{map[string]int64{}, usage.KernelMemory()}
	all := slices.Clone(s.counted)
	if s.redis != nil {
		all = append(all, *s.redis)
	}
	for _, p := range all {
		n, err := usage.Resident(p.pid)
		if err != nil {
			return m, nil, err
		}
		if _, there := m.resident[p.name]; !there {
			names = append(names, p.name)
		}
		m.resident[p.name] += n
	}
	return m, names, nil
}

// remembered adds the memory that n sessions hold some seconds later: now, less before they came.
func (b *session) remembered(ctx context.Context, s *site, l *load.Loop, n int, before memory, r rows) error {
	if err := l.Idle(ctx, b.time(5*time.Second)); err != nil {
		return err
	}
	now, names, err := s.memory()
	if err != nil {
		return err
	}
	budgets := map[string]float64{"edge": 6000, "relay": 1000}
	each := func(bytes int64) float64 { return float64(bytes) / float64(n) }
	for _, name := range names {
		r.add("resident memory, "+name, "B", each(now.resident[name]-before.resident[name]), budgets[name])
	}
	r.add("objects of the kernel, both ends", "B", each(now.kernel.Slab-before.kernel.Slab), 0)
	r.add("buffers of the kernel, both ends", "B", each(now.kernel.Buffers-before.kernel.Buffers), 0)
	return nil
}
