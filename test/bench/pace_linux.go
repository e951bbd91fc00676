package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/edgerelay/edgerelay/test/bench/load"
	"github.com/edgerelay/edgerelay/test/bench/report"
	"github.com/edgerelay/edgerelay/test/bench/usage"
)

// The type paced is one case of the scenario pace.
type paced struct {
	rate  int // messages a second
	burst int // messages that are due at the same time
}

var paces = []paced{{20, 1}, {60, 1}, {80, 4}}

func paceCase(members int, p paced) string {
	if p.burst == 1 {
		return fmt.Sprintf("%d members, %d messages a second", members, p.rate)
	}
	return fmt.Sprintf("%d members, %d messages a second, %d at once", members, p.rate, p.burst)
}

// The function pace measures messages to one group. They are sent by the clock, whether or not
// earlier messages have arrived. If the servers fall behind a rate, the function adds a note in
// place of rows.
func pace(ctx context.Context, b *bench, f *form) error {
	return f.with(ctx, b, func(s *site, l *load.Loop) error {
		n := b.sessions(1000)
		speaker, err := openGroup(ctx, s, l, load.Group("g"), n)
		if err != nil {
			return err
		}
		for _, p := range paces {
			r := b.of("pace", f, paceCase(n, p))
			var behind *load.Behind
			if err := r.pace(ctx, s, l, speaker, p); errors.As(err, &behind) {
				b.note("%s did not keep the pace of %s, so it has no figures there: %v.", f.name, r.what, behind)
				b.say("%s", b.notes[len(b.notes)-1])
			} else if err != nil {
				return err
			}
		}
		return nil
	})
}

// rows.pace sends messages for some seconds, at the rate and in the bursts of p. A shorter round
// comes first and warms the servers up. Then rows.pace adds rows for the CPU time of one delivery
// and for latencies.
func (r rows) pace(ctx context.Context, s *site, l *load.Loop, sp speaker, p paced) error {
	stream := sp.stream(l, messageSize, p.rate) // the window holds the messages of one second
	during := func(d time.Duration) load.Pace {
		return load.Pace{
			Messages: max(1, int(d.Seconds()*float64(p.rate))),
			Burst:    p.burst,
			Every:    time.Second * time.Duration(p.burst) / time.Duration(p.rate),
		}
	}
	whole := r.b.time(10 * time.Second)
	if _, err := l.Pace(ctx, during(whole/4), stream); err != nil {
		return err
	}
	var done load.Paced
	before := usage.Busy()
	t, err := s.during(func() (err error) {
		done, err = l.Pace(ctx, during(whole), stream)
		return err
	})
	if err != nil {
		return err
	}
	busy := usage.Busy().Since(before).Self * float64(runtime.NumCPU())
	r.cpu("delivery", t, done.Deliveries, 0)
	r.latency(done.Latencies, 0, 0.5, 0.99)
	if late := report.Percentile(done.Late, 0.99); late > lateClients || busy > busyClients {
		r.b.note("%s, %s: the clients were late themselves. 1 %% of the messages were sent more than %v late, and the clients used %s of a core; so latencies are partly theirs, and messages came in bunches.",
			r.server, r.what, late.Round(10*time.Microsecond), percent(busy))
	}
	return nil
}

// If one of these bounds is exceeded, rows.pace adds a note that the clients were late themselves.
const (
	lateClients = time.Millisecond // 99 % of the messages must be sent at most this late
	busyClients = 0.8              // share of one core; all clients run in one thread
)
