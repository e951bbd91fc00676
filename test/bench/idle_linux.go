package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/edgerelay/edgerelay/test/bench/load"
)

// idleSessions are the numbers of sessions that the scenario idle measures.
var idleSessions = []int{5000, 19_000}

func idleCase(sessions int) string { return fmt.Sprintf("%d sessions, per session", sessions) }

// The function idle opens sessions and measures memory some seconds later. If the servers' protocol
// has messages to oneself, each session then sends itself a message, and memory is measured again.
func idle(ctx context.Context, b *bench, f *form) error {
	for _, n := range idleSessions {
		if err := b.idleAt(ctx, f, b.sessions(n)); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) idleAt(ctx context.Context, f *form, n int) error {
	return f.with(ctx, b, func(s *site, l *load.Loop) error {
		r := b.of("idle", f, idleCase(n))
		if err := l.Idle(ctx, b.time(2*time.Second)); err != nil {
			return err
		}
		before, err := s.memory()
		if err != nil {
			return err
		}
		sockets, err := openSessions(ctx, s, l, n)
		if err != nil {
			return err
		}
		if err := b.remembered(ctx, s, l, n, before, r, budgets{7000, 6000, 1000}); err != nil {
			return err
		}
		if _, can := f.dialect.Self(""); !can {
			return nil
		}
		r = b.of("idle", f, fmt.Sprintf("%d sessions, after a message each, per session", n))
		if err := toThemselves(ctx, f, l, messageSize, 0, sockets); err != nil {
			return err
		}
		// The budgets are for sessions that have sent no message yet. So no budget applies here: a
		// relay keeps recent messages, and these take memory.
		return b.remembered(ctx, s, l, n, before, r, budgets{})
	})
}

// toThemselves makes sessions send one message each to themselves. The messages have the given size
// in bytes. The sockets are a section of the result of openSessions, and the parameter first is the
// index at which the section begins in that result.
func toThemselves(ctx context.Context, f *form, l *load.Loop, size, first int, sockets []*load.Socket) error {
	var streams []*load.Stream
	for i, socket := range sockets {
		wrap, _ := f.dialect.Self(idler(first + i))
		stream := l.Stream(socket, wrap, size, 1)
		socket.Hear(stream)
		streams = append(streams, stream)
	}
	for some := range slices.Chunk(streams, 64) { // 64 messages at a time
		if _, err := l.Run(ctx, load.Limits{Messages: len(some), Time: time.Minute}, some...); err != nil {
			return err
		}
	}
	return nil
}

func idler(i int) string { return fmt.Sprint("idle-", i) }

// openSessions opens idle sessions, spread over all servers.
func openSessions(ctx context.Context, s *site, l *load.Loop, n int) ([]*load.Socket, error) {
	return l.Open(ctx, n, func(i int) (string, load.Opening) { return s.addr(i), s.form.dialect.Session(idler(i)) })
}

// budgets are upper bounds in bytes per session; 0 means none.
type budgets struct{ all, edges, relay float64 }

// bench.remembered waits for some seconds. Then it adds rows for the memory per session: the memory
// in use now, minus the memory in use before the sessions were opened, divided by the number n of
// sessions.
func (b *bench) remembered(ctx context.Context, s *site, l *load.Loop, n int, before memory, r rows, most budgets) error {
	if err := l.Idle(ctx, b.time(5*time.Second)); err != nil {
		return err
	}
	now, err := s.memory()
	if err != nil {
		return err
	}
	add := func(what string, bytes int64, budget float64) { r.add(what, "B", float64(bytes)/float64(n), budget) }
	add("resident memory", now.servers-before.servers, most.all)
	if s.cluster != nil {
		add("of it the edges'", now.by["edge"]-before.by["edge"], most.edges)
		add("of it the relay's", now.by["relay"]-before.by["relay"], most.relay)
	}
	if s.redis != nil {
		add("resident memory of Redis", now.redis-before.redis, 0)
	}
	add("objects of the kernel, both ends", now.kernel.Slab-before.kernel.Slab, 0)
	add("buffers of the kernel, both ends", now.kernel.Buffers-before.kernel.Buffers, 0)
	return nil
}
