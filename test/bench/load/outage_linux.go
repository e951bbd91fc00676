package load

import (
	"context"
	"slices"
	"time"
)

// Outage is what was seen while something was away.
type Outage struct {
	Silence time.Duration   // the longest time in which a steady stream had no message with all its receivers
	Arrived []time.Duration // of the burst: from the moment that it is counted from until all receivers had it, sorted
}

// outage listens while something is away.
type outage struct {
	heard   map[*Stream]time.Duration // steady streams, and when a message was last complete
	silence time.Duration
	burst   map[*Stream]bool
	from    time.Duration
	arrived []time.Duration
}

func (o *outage) complete(l *Loop, st *Stream, _ uint64) error {
	now := l.now()
	if last, steady := o.heard[st]; steady {
		o.silence, o.heard[st] = max(o.silence, now-last), now
	} else if o.burst[st] {
		o.arrived = append(o.arrived, now-o.from)
	}
	return nil
}

// Through has the steady streams send every so often while away is carried out, in a goroutine of its own. When away closes the channel that it is given, each
// stream of the burst sends one message, and time counts. It returns when away has, and every message is with its receivers; it fails when one is lost.
func (l *Loop) Through(ctx context.Context, steady []*Stream, every time.Duration, burst []*Stream, away func(now chan<- struct{}) error) (Outage, error) {
	o := &outage{heard: map[*Stream]time.Duration{}, burst: map[*Stream]bool{}}
	l.round = o
	defer func() { l.round = nil }()
	for _, st := range steady {
		o.heard[st] = l.now()
	}
	now, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- away(now) }()
	late := l.now() + time.Minute
	for done := false; !done; {
		if l.now() > late {
			return Outage{}, wrong("%d of %d messages are not with all their receivers after a minute", len(burst)-len(o.arrived), len(burst))
		}
		select {
		case err := <-ended:
			if err != nil {
				return Outage{}, err
			}
			ended = nil
		case <-now:
			now, o.from = nil, l.now()
			for _, st := range burst {
				o.burst[st] = true
				if err := l.say(st); err != nil {
					return Outage{}, err
				}
			}
		default:
			done = ended == nil && now == nil && len(o.arrived) == len(burst)
		}
		for _, st := range steady {
			if st.left[st.sent%uint64(len(st.left))] > 0 {
				continue // too many are under way
			}
			if err := l.say(st); err != nil {
				return Outage{}, err
			}
		}
		if err := l.Idle(ctx, every); err != nil {
			return Outage{}, err
		}
	}
	err := l.await(ctx, func() (n int) {
		for _, st := range steady {
			n += int(st.sent - st.whole)
		}
		return n
	})
	slices.Sort(o.arrived)
	return Outage{o.silence, o.arrived}, err
}
