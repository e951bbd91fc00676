package load

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Pace says when the messages of an open loop are due. A burst of messages is due at the beginning,
// and a further burst each time that the duration Every has passed.
type Pace struct {
	Messages int           // in all bursts together
	Burst    int           // messages that are due at the same time; at least 1
	Every    time.Duration // from one burst to the next
}

// Paced is the outcome of Loop.Pace. A latency counts from when the message was due, not from when
// the message was sent.
type Paced struct {
	Result
	Late []time.Duration // from when each message was due until it was sent; ascending
}

// Behind is the error for servers that do not keep the pace.
type Behind struct {
	Messages int // number of messages that some receivers lack
	Sent     int
	Oldest   time.Duration // time since the oldest of these messages was sent
}

func (b *Behind) Error() string {
	return fmt.Sprintf("after %d messages, %d were not with all their receivers, and the oldest was sent %v ago", b.Sent, b.Messages, b.Oldest.Round(time.Millisecond))
}

// Pace sends each message of a stream when it is due, whether or not earlier messages have arrived.
// The window of the stream bounds the messages under way. A period is the time in which a whole
// window of messages becomes due.
//
// If the window is full and its oldest message was sent at least a period ago, the servers are
// behind. Pace then stops sending and returns a Behind. If the window is full but its oldest
// message was sent less than a period ago, the clients were late. Pace then waits for room in the
// window, and sends late what becomes due meanwhile.
//
// Before Pace returns a Paced or a Behind, it waits for the messages that are under way.
func (l *Loop) Pace(ctx context.Context, pace Pace, st *Stream) (r Paced, err error) {
	before := l.deliveries
	p := &pacing{Pace: pace, began: l.now(), window: len(st.left)}
	l.round = p
	defer func() { l.round = nil }()
	behind, err := l.sendPaced(ctx, p, st)
	if err != nil {
		return r, err
	}
	if err := l.await(ctx, func() int { return len(p.late) - len(p.latencies) }); err != nil {
		return r, err
	}
	if behind != nil {
		return r, behind
	}
	r = Paced{Result{Messages: len(p.latencies), Deliveries: l.deliveries - before, Took: l.now() - p.began, Latencies: p.latencies}, p.late}
	slices.Sort(r.Latencies)
	slices.Sort(r.Late)
	return r, nil
}

// sendPaced sends the messages of p. It stops early if the servers are behind.
func (l *Loop) sendPaced(ctx context.Context, p *pacing, st *Stream) (behind *Behind, err error) {
	// Turn can only wait for whole milliseconds. So epoll also watches a timer, which ends the wait
	// at the right moment.
	timer, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("timer: %w", err)
	}
	defer unix.Close(timer)
	l.hold(timer, nil)
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, timer, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(timer)}); err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	// A turn handles few sockets, so that it does not last long beyond the moment at which a
	// message becomes due.
	l.events = l.events[:32]
	defer func() { l.events = l.events[:cap(l.events)] }()
	for len(p.late) < p.Messages {
		wait, behind := p.next(l.now())
		if behind != nil {
			return behind, nil
		}
		if wait == 0 {
			if err := l.say(st); err != nil {
				return nil, err
			}
			p.said(st.at[(st.sent-1)%uint64(len(st.at))])
		} else if err := unix.TimerfdSettime(timer, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(wait))}, nil); err != nil {
			return nil, fmt.Errorf("timer: %w", err)
		}
		if err := l.Turn(ctx, wait); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// pacing is one call of Loop.Pace. Messages become complete in the order in which they were sent,
// since each receiver gets them in that order.
type pacing struct {
	Pace
	began     time.Duration
	window    int
	late      []time.Duration // lateness of each message sent, in order
	latencies []time.Duration // latency of each message that all receivers have, in order
}

// pacing.due returns the time at which message i is due.
func (p *pacing) due(i int) time.Duration { return p.began + time.Duration(i/p.Burst)*p.Every }

// pacing.next returns how long to wait until the next message is due, or 0 if the message is to be
// sent now. If the window is full, the result is how long to wait until the servers count as
// behind, or a Behind if they count as behind now.
func (p *pacing) next(now time.Duration) (wait time.Duration, behind *Behind) {
	sent, whole := len(p.late), len(p.latencies)
	if sent-whole < p.window {
		return max(0, p.due(sent)-now), nil
	}
	oldest, most := now-p.due(whole)-p.late[whole], time.Duration(p.window/p.Burst)*p.Every
	if oldest < most {
		return most - oldest, nil
	}
	return 0, &Behind{Messages: sent - whole, Sent: sent, Oldest: oldest}
}

// pacing.said records how late a message was sent. It is called for each message in order, with the
// time at which the message was sent.
func (p *pacing) said(at time.Duration) { p.late = append(p.late, at-p.due(len(p.late))) }

func (p *pacing) complete(l *Loop, _ *Stream, _ uint64) error {
	p.arrived(l.now())
	return nil
}

// pacing.arrived records the latency of a message. It is called for each message in order, with the
// time at which the last receiver got the message.
func (p *pacing) arrived(at time.Duration) {
	p.latencies = append(p.latencies, at-p.due(len(p.latencies)))
}
