package main

import (
	"context"
	"fmt"
	"time"

	"github.com/edgerelay/edgerelay/test/bench/load"
	"github.com/edgerelay/edgerelay/test/bench/local"
	"github.com/edgerelay/edgerelay/test/bench/report"
)

// restart kills or stops the relay while many sessions are in groups. Messages are sent to some of
// the groups all the time. To each of the other groups, one message is sent when the relay goes
// away. The scenario measures how long these single messages take to reach their receivers.
func restart(ctx context.Context, b *bench, f *form) error {
	return f.with(ctx, b, func(s *site, l *load.Loop) error {
		const members, steady = 10, 10
		n := max(b.sessions(10_000), 2*members*steady)
		b.say("restart: %d sessions are being opened", n)
		o := &outages{cluster: s.cluster}
		l.Closed = func(*load.Socket, error) { o.closed++ }
		speakers, err := openGroups(ctx, s, l, n/members, members)
		if err != nil {
			return err
		}
		var streams []*load.Stream
		for i, speaker := range speakers {
			window := 1
			if i < steady {
				window = 1024 // enough for 20 s without an answer
			}
			streams = append(streams, speaker.stream(l, messageSize, window))
		}
		for _, way := range o.ways(ctx, b) {
			r := b.of("restart", f, fmt.Sprintf("%d sessions in %d groups; the relay %s", n, n/members, way.name))
			if err := o.settle(ctx, l, b.time(6*time.Second)); err != nil {
				return err
			}
			before := o.fromHistory(ctx)
			seen, err := l.Through(ctx, streams[:steady], 20*time.Millisecond, streams[steady:], way.away)
			if err != nil {
				return fmt.Errorf("the relay %s: %w", way.name, err)
			}
			r.add("all have what was said when it went, after", "ms", seen.Arrived[len(seen.Arrived)-1].Seconds()*1000, 0)
			r.add("the same, median", "ms", report.Percentile(seen.Arrived, 0.5).Seconds()*1000, 0)
			r.add("longest silence of a group that speaks every 20 ms", "ms", seen.Silence.Seconds()*1000, 0)
			r.add("messages that edges were given from history", "", since(o.fromHistory(ctx), before), 0)
			r.add("sockets closed", "", float64(o.closed), 0)
			if o.closed > 0 {
				return fmt.Errorf("%d sockets were closed when the relay %s", o.closed, way.name)
			}
		}
		return nil
	})
}

// The type outages kills and stops the relays of a cluster. It also counts the sockets that end.
type outages struct {
	cluster *cluster
	closed  int // sockets that the servers closed, or that failed
}

type way struct {
	name string
	// away is a function that kills or stops the relay, and closes the channel at that moment.
	away func(now chan<- struct{}) error
}

// outages.ways returns the ways to kill or stop a relay. They must be carried out in order, because
// each way needs the relay that the previous way leaves running. The second way starts the spare
// relay.
func (o *outages) ways(ctx context.Context, b *bench) []way {
	relay, spare := o.cluster.relay, o.cluster.spare
	restart := func(s *local.Server) error {
		_, err := s.Start(ctx)
		return err
	}
	return []way{
		{"is killed, alone, and started again at once", func(now chan<- struct{}) error {
			relay.Kill()
			close(now)
			return restart(relay)
		}},
		{"is killed, another takes over", func(now chan<- struct{}) error {
			if err := restart(spare); err != nil {
				return err
			}
			relay.Kill()
			close(now)
			return nil
		}},
		{"is stopped, and hands over to another", func(now chan<- struct{}) error {
			if err := restart(relay); err != nil {
				return err
			}
			close(now)
			return spare.Terminate()
		}},
		{"is stopped, alone, and started again when it has ended", func(now chan<- struct{}) error {
			if err := relay.Terminate(); err != nil {
				return err
			}
			relay.Wait() // until it has ended, it may still serve its edges
			close(now)
			return restart(relay)
		}},
	}
}

// fromHistory returns how many publications each relay has sent from history, by the relay's PID. A
// relay that is started again counts from 0.
func (o *outages) fromHistory(ctx context.Context) map[int]float64 {
	n := map[int]float64{}
	for _, r := range []*local.Server{o.cluster.relay, o.cluster.spare} {
		n[r.PID()] = r.Metric(ctx, "edgerelay_relay_publications_from_history_total")
	}
	return n
}

// The function since returns how many publications the relays sent from history between two calls
// of fromHistory. Its first argument is the result of the later call. Its second argument is the
// result of the earlier call. Relays that ended between the calls are left out.
func since(now, before map[int]float64) (n float64) {
	for process, sent := range now {
		n += max(0, sent-before[process])
	}
	return n
}

// outages.settle waits until the edges report that their logs are empty. Then it waits for the
// duration d, so that the edges can count their links as settled. An edge counts a link as settled
// once the link has lasted 5 s.
func (o *outages) settle(ctx context.Context, l *load.Loop, d time.Duration) error {
	for {
		busy := 0.0
		for _, e := range o.cluster.edges {
			busy += e.Metric(ctx, "edgerelay_edge_log_messages")
		}
		if busy == 0 {
			return l.Idle(ctx, d)
		}
		if err := l.Idle(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
}
