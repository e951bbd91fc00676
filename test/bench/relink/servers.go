package main

import (
	"context"
	"time"

	"github.com/edgerelay/edgerelay/test/bench/local"
)

// servers are the processes of the cluster.
type servers struct {
	dir    local.Dir
	redis  *local.Server
	relays [2]*local.Server
	edges  [2]*local.Server
}

func start(ctx context.Context) (s *servers, err error) {
	s = &servers{}
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	if s.dir, err = local.Build(ctx); err != nil {
		return s, err
	}
	if s.redis, err = s.dir.Redis(); err != nil {
		return s, err
	}
	s.relays = [2]*local.Server{s.dir.Relay(s.redis), s.dir.Relay(s.redis)}
	urls := "ws://" + s.relays[0].Addr + ",ws://" + s.relays[1].Addr
	s.edges = [2]*local.Server{s.dir.Edge(urls), s.dir.Edge(urls)}
	// The edges link to the first relay, since the other comes last.
	for _, server := range []*local.Server{s.redis, s.relays[0], s.edges[0], s.edges[1], s.relays[1]} {
		if _, err := server.Start(ctx); err != nil {
			return s, err
		}
	}
	return s, nil
}

func (s *servers) stop() {
	for _, p := range []*local.Server{s.edges[0], s.edges[1], s.relays[0], s.relays[1], s.redis} {
		p.Kill()
	}
	s.dir.Remove()
}

// sent is how many publications a relay's process has sent, and how many of them from history.
type sent struct{ history, all float64 }

// sent returns what each relay that answers has sent, by process.
func (s *servers) sent(ctx context.Context) map[int]sent {
	by := map[int]sent{}
	for _, r := range s.relays {
		by[r.PID()] = sent{
			r.Metric(ctx, "edgerelay_relay_publications_from_history_total"),
			r.Metric(ctx, "edgerelay_relay_publications_sent_total"),
		}
	}
	return by
}

// since returns what was sent since an earlier look, by those who still answer.
func (s *servers) since(ctx context.Context, before map[int]sent) (d sent) {
	for process, now := range s.sent(ctx) {
		if was := before[process]; now.all >= was.all {
			d.history += now.history - was.history
			d.all += now.all - was.all
		}
	}
	return d
}

// settle waits until all is acknowledged and nobody is behind.
func (s *servers) settle(ctx context.Context) error {
	for {
		busy := 0.0
		for _, e := range s.edges {
			busy += e.Metric(ctx, "edgerelay_edge_log_messages")
		}
		if busy == 0 {
			break
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(6 * time.Second) // beyond what an edge takes for a settled link
	return ctx.Err()
}
