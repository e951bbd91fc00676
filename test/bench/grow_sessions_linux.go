package main

import (
	"context"
	"fmt"
	"time"

	"github.com/edgerelay/edgerelay/test/bench/growth"
	"github.com/edgerelay/edgerelay/test/bench/load"
)

const (
	noPings = "EDGE_PING=1h"

	// pingEvery is longer than the silence after which an edge makes a session idle. With a shorter
	// time, chance would decide which sessions are idle.
	pingEvery = 5 * time.Second
)

func (b *bench) sessionPoints() []int { return b.scaled(1000, 2000, 5000, 10_000, 15_000, 19_000) }

// moreSessions opens sessions that say nothing, until n sessions are open. The parameter there is
// the number of sessions that are open before the call.
func moreSessions(ctx context.Context, s *site, l *load.Loop, there, n int) error {
	_, err := l.Open(ctx, max(0, n-there), func(i int) (string, load.Opening) {
		return s.addr(there + i), s.form.dialect.Session(idler(there + i))
	})
	return err
}

// growSessions measures the cost of connects, of sessions at rest and of direct messages, while
// there are more and more sessions. All but a few of the sessions say nothing.
func growSessions(ctx context.Context, b *bench) ([]growth.Figure, error) {
	cost := growth.Figure{File: "sessions", Title: "Sessions: what one connect, and one message, costs", Grows: "sessions", Unit: "µs", Axis: "CPU of edges and relay, µs"}
	room := growth.Figure{File: "sessions-memory", Title: "Sessions: memory", Grows: "sessions", Unit: "B", Axis: "resident memory per session, bytes"}
	idleCost := growth.Figure{Grows: "sessions", Unit: "µs"}
	err := b.onCluster(ctx, 2, []string{noPings}, func(s *site, l *load.Loop) error {
		if err := l.Idle(ctx, b.time(2*time.Second)); err != nil {
			return err
		}
		empty, err := s.memory()
		if err != nil {
			return err
		}
		var streams []*load.Stream
		there := 0
		for _, n := range b.sessionPoints() {
			b.say("sessions: %d", n)
			pairing := 0
			if streams == nil {
				pairing = 2 * pairs // number of sessions that openPairs will open below
			}
			before, err := s.cluster.spent()
			if err != nil {
				return err
			}
			if err := moreSessions(ctx, s, l, there, max(n-pairing, there+10)); err != nil {
				return err
			}
			after, err := s.cluster.spent()
			if err != nil {
				return err
			}
			x := float64(n)
			cost.Add("a connect", growth.Constant, x, micros(after.since(before).servers(), max(n-pairing-there, 10)))
			there = n
			if streams == nil {
				if streams, err = openPairs(ctx, s, l); err != nil {
					return err
				}
			}
			if err := l.Idle(ctx, b.time(3*time.Second)); err != nil {
				return err
			}
			now, err := s.memory()
			if err != nil {
				return err
			}
			room.Add("memory of the edges, per session", growth.Constant, x, positive(now.by["edge"]-empty.by["edge"])/x)
			room.Add("memory of the relay, per session", growth.Constant, x, positive(now.by["relay"]-empty.by["relay"])/x)
			idle, err := s.idle(ctx, l, b.time(3*time.Second))
			if err != nil {
				return err
			}
			idleCost.Add("CPU at rest, per second, without pings", growth.Proportional, x, float64(idle.servers().Microseconds())/idle.took.Seconds())
			figures, err := medians(func() ([]float64, error) {
				m, err := s.round(ctx, l, load.Limits{Messages: 100_000, Time: b.roundTime()}, streams...)
				return []float64{micros(m.parts.servers(), m.Messages)}, err
			})
			if err != nil {
				return err
			}
			cost.Add("a direct message between two edges", growth.Constant, x, figures[0])
		}
		return nil
	})
	return []growth.Figure{cost, room, idleCost}, err
}

// growIdle measures the CPU time of a cluster at rest, while more and more sessions say nothing and
// are pinged.
func growIdle(ctx context.Context, b *bench) ([]growth.Figure, error) {
	f := growth.Figure{File: "sessions-rest", Title: fmt.Sprintf("Sessions at rest, each pinged every %v", pingEvery), Grows: "sessions", Unit: "ms", Axis: "CPU of edges and relay per second, ms"}
	err := b.onCluster(ctx, 2, []string{fmt.Sprint("EDGE_PING=", pingEvery)}, func(s *site, l *load.Loop) error {
		there := 0
		for _, n := range b.sessionPoints() {
			b.say("sessions at rest: %d", n)
			if err := moreSessions(ctx, s, l, there, n); err != nil {
				return err
			}
			there = n
			figures, err := medians(func() ([]float64, error) {
				// Each session is pinged about once meanwhile, unless the scale shortens this time.
				idle, err := s.idle(ctx, l, b.time(pingEvery))
				return []float64{idle.servers().Seconds() * 1000 / idle.took.Seconds()}, err
			})
			if err != nil {
				return err
			}
			f.Add("CPU at rest, per second, with pings", growth.Proportional, float64(n), figures[0])
		}
		return nil
	})
	return []growth.Figure{f}, err
}
