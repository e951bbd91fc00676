package load

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"
)

// TestPacingSendsByTheClock calls pacing.next with made-up times, while nothing arrives. Messages
// must be sent when they are due. When the window is full, the servers must count as behind exactly
// one period after the oldest message was sent.
func TestPacingSendsByTheClock(t *testing.T) {
	const every = 10 * time.Millisecond
	p := &pacing{Pace: Pace{Messages: 100, Burst: 1, Every: every}, began: time.Second, window: 3}
	for i, step := range []struct {
		now, wait time.Duration
		sent      bool
	}{
		{now: 0, wait: 0, sent: true},
		{now: 1, wait: every - 1},
		{now: every, wait: 0, sent: true},
		{now: every + 1, wait: every - 1},
		{now: 2*every + 4, wait: 0, sent: true},  // the clients are a little late
		{now: 3 * every, wait: 0, sent: false},   // the servers are behind
		{now: 3*every - 1, wait: 1, sent: false}, // 1 ns before the servers are behind
	} {
		wait, behind := p.next(p.began + step.now)
		if full := step.now == 3*every; wait != step.wait || (behind != nil) != full {
			t.Errorf("step %d: wait %v, %v; want %v", i, wait, behind, step.wait)
		}
		if step.sent {
			p.said(p.began + step.now)
		}
	}
	if want := []time.Duration{0, 0, 4}; !slices.Equal(p.late, want) {
		t.Errorf("late by %v, want %v", p.late, want)
	}
	_, behind := p.next(p.began + 3*every)
	if want := (Behind{Messages: 3, Sent: 3, Oldest: 3 * every}); behind == nil || *behind != want {
		t.Errorf("got %+v, want %+v", behind, want)
	}
}

// TestPacingCountsFromWhenMessagesAreDue calls pacing.next for the first time when ten messages are
// already due. The servers must not count as behind, and messages that are sent now must count as
// late.
func TestPacingCountsFromWhenMessagesAreDue(t *testing.T) {
	const every = 10 * time.Millisecond
	p := &pacing{Pace: Pace{Messages: 10, Burst: 1, Every: every}, window: 4}
	now := 9 * every
	for range 4 {
		if wait, behind := p.next(now); wait != 0 || behind != nil {
			t.Fatalf("wait %v, %v; want that all which are due are sent", wait, behind)
		}
		p.said(now)
	}
	if wait, behind := p.next(now + 1); wait != 4*every-1 || behind != nil {
		t.Errorf("wait %v, %v; want that the window is full, and nobody behind", wait, behind)
	}
	p.arrived(now + 2)
	if wait, behind := p.next(now + 3); wait != 0 || behind != nil {
		t.Errorf("wait %v, %v; want that there is room", wait, behind)
	}
	if p.late[3] != 6*every || p.latencies[0] != 9*every+2 {
		t.Errorf("late by %v, latency %v; want both from when the messages were due", p.late[3], p.latencies[0])
	}
}

// TestPacingSendsABurstAtOnce calls pacing.next for bursts of three messages. The messages of a
// burst must be due at the same time. The window has room for two bursts. So the servers must count
// as behind when the oldest message is two periods old.
func TestPacingSendsABurstAtOnce(t *testing.T) {
	const every = 10 * time.Millisecond
	p := &pacing{Pace: Pace{Messages: 100, Burst: 3, Every: every}, began: time.Second, window: 6}
	for _, due := range []time.Duration{0, every} {
		for range 3 {
			if wait, behind := p.next(p.began + due); wait != 0 || behind != nil {
				t.Fatalf("wait %v, %v; want that the whole burst is due after %v", wait, behind, due)
			}
			p.said(p.began + due)
		}
	}
	if wait, behind := p.next(p.began + 2*every - 1); wait != 1 || behind != nil {
		t.Errorf("wait %v, %v; want that the window is full, and nobody behind", wait, behind)
	}
	if _, behind := p.next(p.began + 2*every); behind == nil || behind.Messages != 6 {
		t.Errorf("got %+v, want that the servers are behind with 6 messages", behind)
	}
}

// TestPaceWaitsForNothing uses a server that holds back all messages until it has ten. Loop.Pace
// must send its first ten messages although none of them has arrived yet.
func TestPaceWaitsForNothing(t *testing.T) {
	const every, held = 2 * time.Millisecond, 10
	var kept [][]byte
	l, stream := opened(t, 10_000, func(text []byte) [][]byte {
		if kept = append(kept, slices.Clone(text)); len(kept) < held {
			return nil
		}
		all := kept
		if len(kept) > held {
			all = kept[len(kept)-1:]
		}
		return all
	})
	r, err := l.Pace(t.Context(), Pace{Messages: 50, Burst: 1, Every: every}, stream)
	if err != nil || r.Messages != 50 || r.Deliveries != 50 || len(r.Late) != 50 {
		t.Fatalf("%+v, %v; want 50 messages", r, err)
	}
	if r.Took < 49*every {
		t.Errorf("it took %v; want %v and more", r.Took, 49*every)
	}
	// The server held back the first nine messages at least until the tenth message was due.
	for i := range held {
		if got, least := r.Latencies[len(r.Latencies)-1-i], time.Duration(held-1-i)*every; got < least {
			t.Errorf("the latency at place %d from the longest is %v, want %v and more", i, got, least)
		}
	}
}

func TestPaceTellsWhoIsBehind(t *testing.T) {
	for name, lose := range map[string]bool{"slow": false, "slow, and loses one": true} {
		t.Run(name, func(t *testing.T) {
			given := 0
			l, stream := opened(t, 5, func(text []byte) [][]byte {
				time.Sleep(20 * time.Millisecond) // the server needs 20 ms for each message
				if given++; lose && given == 2 {
					return nil
				}
				return [][]byte{text}
			})
			_, err := l.Pace(t.Context(), Pace{Messages: 1000, Burst: 1, Every: time.Millisecond}, stream)
			var behind *Behind
			var wrong *Wrong
			if lose && !errors.As(err, &wrong) || !lose && !errors.As(err, &behind) {
				t.Fatalf("got %v", err)
			}
			if !lose && (behind.Messages != 5 || stream.whole != stream.sent) {
				t.Errorf("%+v, %d of %d messages came; want 5, and all", behind, stream.whole, stream.sent)
			}
		})
	}
}

func TestPaceEndsWithItsContext(t *testing.T) {
	l, stream := opened(t, 5, func(text []byte) [][]byte { return [][]byte{text} })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Pace(ctx, Pace{Messages: 2, Burst: 1, Every: time.Hour}, stream); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
