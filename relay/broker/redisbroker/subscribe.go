package redisbroker

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/redis/go-redis/v9"
)

// subscriber keeps the topics that are wanted subscribed, through one session after the other.
type subscriber struct {
	opt        *redis.Options
	keys       keys
	identifier *identifier
	state      *state
	metrics    *metrics
	log        *slog.Logger

	mu      sync.Mutex // guards the following
	wanted  map[protocol.Topic]subscription
	count   uint64                      // generations given
	counted int                         // of wanted, in the metrics
	changed map[protocol.Topic]struct{} // topics that the session has not looked at; nil without a session
	order   []protocol.Topic            // the same, in the order of their changes
	flushes []uint64                    // tokens of flushes that no session has taken

	wake   chan struct{} // to the session's writer; one slot
	probed chan identity // to the session: who answers the probe
}

// subscription is what the caller asked for last on a topic. Each asking is a generation of its own, and needs a confirmation of its own.
type subscription struct {
	token      uint64
	generation uint64 // from 1
}

func newSubscriber(opt *redis.Options, k keys, i *identifier, s *state, m *metrics, log *slog.Logger) *subscriber {
	return &subscriber{
		opt: opt, keys: k, identifier: i, state: s, metrics: m, log: log,
		wanted: make(map[protocol.Topic]subscription), wake: make(chan struct{}, 1), probed: make(chan identity),
	}
}

// found tells the session who answers the probe, unless there is none, or it is busy.
func (s *subscriber) found(who identity) {
	select {
	case s.probed <- who:
	default:
	}
}

func (s *subscriber) subscribe(t protocol.Topic, token uint64) {
	s.mu.Lock()
	s.count++
	s.wanted[t] = subscription{token, s.count}
	s.changeLocked(t)
	s.mu.Unlock()
	s.signal()
}

func (s *subscriber) unsubscribe(t protocol.Topic) {
	s.mu.Lock()
	delete(s.wanted, t)
	s.changeLocked(t)
	s.mu.Unlock()
	s.signal()
}

// flush asks for Flushed.
func (s *subscriber) flush(token uint64) {
	s.mu.Lock()
	s.flushes = append(s.flushes, token)
	s.mu.Unlock()
	s.signal()
}

// takeFlushes takes those that are not answered and were not taken.
func (s *subscriber) takeFlushes() []uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	tokens := s.flushes
	s.flushes = nil
	return tokens
}

func (s *subscriber) changeLocked(t protocol.Topic) {
	if _, known := s.changed[t]; !known && s.changed != nil {
		s.changed[t] = struct{}{}
		s.order = append(s.order, t)
	}
	s.countLocked(len(s.wanted))
}

func (s *subscriber) countLocked(n int) {
	s.metrics.subscriptions.Add(float64(n - s.counted))
	s.counted = n
}

// end takes what is wanted out of the metrics.
func (s *subscriber) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.countLocked(0)
}

func (s *subscriber) signal() { signal(s.wake) }

// want returns the topic's subscription, zero if there is none.
func (s *subscriber) want(t protocol.Topic) subscription {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wanted[t]
}

// begin makes everything that is wanted a change, for a new session.
func (s *subscriber) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed = make(map[protocol.Topic]struct{}, len(s.wanted))
	s.order = make([]protocol.Topic, 0, len(s.wanted))
	for t := range s.wanted {
		s.changed[t] = struct{}{}
		s.order = append(s.order, t)
	}
	s.signal()
}

// forget stops collecting changes.
func (s *subscriber) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed, s.order = nil, nil
}

// change is a topic with what is wanted of it now.
type change struct {
	topic protocol.Topic
	want  subscription
}

// changes takes up to n changes.
func (s *subscriber) changes(n int) []change {
	s.mu.Lock()
	defer s.mu.Unlock()
	n = min(n, len(s.order))
	batch := make([]change, n)
	for i, t := range s.order[:n] {
		batch[i] = change{t, s.wanted[t]}
		delete(s.changed, t)
	}
	if s.order = s.order[n:]; len(s.order) == 0 {
		s.order = nil
	}
	return batch
}

// The pause before a new session: none after one that lived for a while.
const (
	pauseMin = 50 * time.Millisecond
	pauseMax = 2 * time.Second
	lived    = 2 * time.Second
)

// run holds sessions until ctx is done.
func (s *subscriber) run(ctx context.Context, sink func(broker.Event)) {
	tops := newLineOf(func() *redis.Client { return readerClient(s.opt) })
	defer tops.closeWhen(ctx)()
	var pause time.Duration
	deaf := time.Now()
	for ctx.Err() == nil {
		one := newSession(s, tops, sink, deaf)
		err := one.run(ctx)
		for _, token := range append(one.flushing, s.takeFlushes()...) {
			sink(broker.Flushed{Token: token})
		}
		if ctx.Err() != nil {
			return
		}
		switch {
		case one.inForce.Load():
			s.log.Info("subscriptions lost", "cause", err, "topics", len(one.active))
			deaf = time.Now()
		case errors.Is(err, errBack): // not a failure: the next one says how it is
		default:
			s.state.subscriber(err)
			s.metrics.deaf.Add(time.Since(deaf).Seconds())
			deaf = time.Now()
		}
		if one.inForce.Load() && time.Since(one.began) > lived || errors.Is(err, errBack) {
			pause = 0
			continue
		}
		pause = min(max(2*pause, pauseMin), pauseMax)
		if waitOr(ctx, pause/2+rand.N(pause/2), s.state.back) {
			pause = 0
		}
	}
}

// wait returns after d or when ctx is done.
func wait(ctx context.Context, d time.Duration) { waitOr(ctx, d, nil) }

// waitOr is wait that early ends, and says whether it did.
func waitOr(ctx context.Context, d time.Duration, early <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-early:
		return true
	}
	return false
}
