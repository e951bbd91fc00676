package main

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/edgerelay/edgerelay/test/bench/load"
	"github.com/edgerelay/edgerelay/test/bench/report"
)

// others are a pair of users that have no part in what is measured. One sends a message to the
// other every 5 ms, by the clock, from the first server to the last one.
type others struct {
	storm atomic.Bool // whether latencies are of the time of the storm now
	calm  []time.Duration
	busy  []time.Duration
	stop  context.CancelFunc
	ended chan error
}

const othersEvery = 5 * time.Millisecond

// startOthers opens the pair, in a loop of its own, and lets it send in a goroutine until
// others.end is called.
func startOthers(ctx context.Context, s *site) (*others, error) {
	l, err := load.NewLoop(s.form.dialect)
	if err != nil {
		return nil, err
	}
	stream, err := openPair(ctx, s, l)
	if err != nil {
		l.Close()
		return nil, err
	}
	o := &others{ended: make(chan error, 1)}
	sending, stop := context.WithCancel(ctx)
	o.stop = stop
	go func() {
		defer l.Close()
		o.ended <- o.send(ctx, sending, l, stream)
	}()
	return o, nil
}

// openPair opens a pair of users and returns the stream of messages from one to the other. The
// window holds the messages of 10 s.
func openPair(ctx context.Context, s *site, l *load.Loop) (*load.Stream, error) {
	to := load.User("other-b")
	opening, wrap := s.form.dialect.Send("other-a", to)
	sender, err := l.Open(ctx, 1, func(int) (string, load.Opening) { return s.addr(0), opening })
	if err != nil {
		return nil, err
	}
	receiver, err := l.Open(ctx, 1, func(int) (string, load.Opening) {
		return s.addr(len(s.addrs) - 1), s.form.dialect.Receive("other-b", to)
	})
	if err != nil {
		return nil, err
	}
	stream := l.Stream(sender[0], wrap, messageSize, int(10*time.Second/othersEvery))
	receiver[0].Hear(stream)
	return stream, l.Idle(ctx, settled)
}

// others.send sends rounds of 20 messages until the context sending ends. A round that has begun
// ends nevertheless, unless the context ctx ends too.
func (o *others) send(ctx, sending context.Context, l *load.Loop, stream *load.Stream) error {
	for sending.Err() == nil {
		storm := o.storm.Load()
		round, err := l.Pace(ctx, load.Pace{Messages: 20, Burst: 1, Every: othersEvery}, stream)
		if err != nil {
			return err
		}
		if storm {
			o.busy = append(o.busy, round.Latencies...)
		} else if !o.storm.Load() {
			o.calm = append(o.calm, round.Latencies...)
		}
	}
	return nil
}

// others.end waits until the pair has stopped. After that the latencies may be read. others.end may
// be called twice.
func (o *others) end() error {
	o.stop()
	err, first := <-o.ended
	if !first {
		return nil
	}
	close(o.ended)
	slices.Sort(o.calm)
	slices.Sort(o.busy)
	return err
}

// others.rows adds rows for the latencies of the pair, before the storm and during it. It may be
// called after others.end.
func (o *others) rows(r rows) {
	before := report.Percentile(o.calm, 0.5)
	r.add("others: latency p50 before", "ms", before.Seconds()*1000, 0)
	r.add("others: latency p50", "ms", report.Percentile(o.busy, 0.5).Seconds()*1000, 2*before.Seconds()*1000)
	r.add("others: latency p99 before", "ms", report.Percentile(o.calm, 0.99).Seconds()*1000, 0)
	r.add("others: latency p99", "ms", report.Percentile(o.busy, 0.99).Seconds()*1000, 0)
}
