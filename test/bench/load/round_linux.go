package load

import (
	"context"
	"slices"
	"time"
)

// Limits say when a round stops sending: after a number of messages, or after a time, whichever
// comes first. The time counts from the beginning of the round, but it does not stop the round
// before a first message has reached all its receivers. When the round has stopped sending, it
// waits for the messages that are under way.
type Limits struct {
	Messages int
	Time     time.Duration
}

// Result is the outcome of a round.
type Result struct {
	Messages   int
	Deliveries int
	Took       time.Duration
	Latencies  []time.Duration // from sending to the last receiver; ascending
}

type round struct {
	left      int // messages that may still be sent
	until     time.Duration
	underWay  int
	latencies []time.Duration
}

// The constant patience bounds the time in which nothing arrives although messages are under way.
const patience = 20 * time.Second

// Run makes each stream send messages until its window is full. Whenever a message has reached all
// its receivers, its stream sends a further message. The limits say when Run stops sending.
func (l *Loop) Run(ctx context.Context, limits Limits, streams ...*Stream) (r Result, err error) {
	began, before := l.now(), l.deliveries
	all := &round{left: limits.Messages, until: began + limits.Time, latencies: make([]time.Duration, 0, min(limits.Messages, 1<<20))}
	l.round = all
	defer func() { l.round = nil }()
	for _, st := range streams {
		for range st.left {
			if err := all.say(l, st); err != nil {
				return r, err
			}
		}
	}
	if err := l.await(ctx, func() int { return all.underWay }); err != nil {
		return r, err
	}
	r = Result{Messages: len(all.latencies), Deliveries: l.deliveries - before, Took: l.now() - began, Latencies: all.latencies}
	slices.Sort(r.Latencies)
	return r, nil
}

// Loop.await handles what arrives, and returns when the function underWay returns 0. It fails if
// nothing arrives for longer than the constant patience.
func (l *Loop) await(ctx context.Context, underWay func() int) error {
	for last, at := l.deliveries, l.now(); underWay() > 0; {
		if err := l.Turn(ctx, time.Second); err != nil {
			return err
		}
		if l.deliveries != last {
			last, at = l.deliveries, l.now()
		} else if l.now()-at > patience {
			return wrong("%d messages are not with all their receivers, and nothing came for %v", underWay(), patience)
		}
	}
	return nil
}

func (r *round) say(l *Loop, st *Stream) error {
	if r.left == 0 || len(r.latencies) > 0 && l.now() > r.until {
		return nil
	}
	r.left--
	r.underWay++
	return l.say(st)
}

func (r *round) complete(l *Loop, st *Stream, slot uint64) error {
	r.underWay--
	r.latencies = append(r.latencies, l.now()-st.at[slot])
	return r.say(l, st)
}
