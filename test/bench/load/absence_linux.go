package load

import (
	"context"
	"slices"
	"time"
)

// Absence is the result of Loop.Through. It says how messages came through while a part of the
// servers was away.
type Absence struct {
	// Silence is the longest silence of a steady stream. A silence begins when Through is called,
	// or when a message of the stream has reached all its receivers. It ends when the next message
	// of the stream has reached all its receivers.
	Silence time.Duration

	// Arrived has one duration for each message of the burst: from the beginning of the burst until
	// all receivers had the message. The durations are in ascending order.
	Arrived []time.Duration
}

// absence is the state of a call of Loop.Through. It records when messages have reached all their
// receivers.
type absence struct {
	heard   map[*Stream]time.Duration // by steady stream: when a message last reached all receivers
	silence time.Duration
	burst   map[*Stream]bool
	from    time.Duration
	arrived []time.Duration
}

func (o *absence) complete(l *Loop, st *Stream, _ uint64) error {
	now := l.now()
	if last, steady := o.heard[st]; steady {
		o.silence, o.heard[st] = max(o.silence, now-last), now
	} else if o.burst[st] {
		o.arrived = append(o.arrived, now-o.from)
	}
	return nil
}

// Through calls the function away in a goroutine of its own. Meanwhile each steady stream sends
// messages, about one per interval, except while its window is full. The function away must close
// the channel that it gets. At that moment the burst begins: each stream of the list burst sends
// one message.
//
// Through returns when away has returned and all messages have reached all their receivers. Through
// fails if away fails or a message is lost. It also fails if away and the burst are not done after
// a minute.
func (l *Loop) Through(ctx context.Context, steady []*Stream, every time.Duration, burst []*Stream, away func(now chan<- struct{}) error) (Absence, error) {
	o := &absence{heard: map[*Stream]time.Duration{}, burst: map[*Stream]bool{}}
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
			return Absence{}, wrong("%d of %d messages are not with all their receivers after a minute", len(burst)-len(o.arrived), len(burst))
		}
		select {
		case err := <-ended:
			if err != nil {
				return Absence{}, err
			}
			ended = nil
		case <-now:
			now, o.from = nil, l.now()
			for _, st := range burst {
				o.burst[st] = true
				if err := l.say(st); err != nil {
					return Absence{}, err
				}
			}
		default:
			done = ended == nil && now == nil && len(o.arrived) == len(burst)
		}
		for _, st := range steady {
			if st.left[st.sent%uint64(len(st.left))] > 0 {
				continue // the window of the stream is full
			}
			if err := l.say(st); err != nil {
				return Absence{}, err
			}
		}
		if err := l.Idle(ctx, every); err != nil {
			return Absence{}, err
		}
	}
	err := l.await(ctx, func() (n int) {
		for _, st := range steady {
			n += int(st.sent - st.whole)
		}
		return n
	})
	slices.Sort(o.arrived)
	return Absence{o.silence, o.arrived}, err
}
