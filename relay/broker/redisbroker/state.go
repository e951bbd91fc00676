package redisbroker

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
)

// trouble is a kind of reason why Redis is away.
type trouble int

const (
	noAnswer     trouble = iota // requests are not answered
	noWrites                    // requests are answered, but publications are refused
	noSubscriber                // the subscriptions cannot be had
	troubles
)

// state keeps track of whether Redis is there. It tells each change once, by one event and one log
// line. While Redis stays away, state also logs a new cause if its kind differs from the kind of
// the last cause in the log. It logs such a cause at most once every tellEvery.
type state struct {
	log     *slog.Logger
	metrics *metrics
	sink    func(broker.Event) // set before use, then constant

	// mu guards the following. It is held during calls of sink, so that State events keep their
	// order.
	mu       sync.Mutex
	causes   [troubles]error
	newest   trouble // noAnswer or noWrites: the one that was noted last
	telling  telling
	deaf     bool // the subscriptions are not in force
	away     bool
	since    time.Time
	failures uint64

	// The channel named moved gets a signal when a node says that a key is, or may be, on another
	// node. Its buffer holds one signal. It is nil without a Redis Cluster.
	moved   chan struct{}
	trouble chan struct{} // signal to the prober to probe at once; one slot
	back    chan struct{} // tells the subscriber that Redis answers requests again; one slot
	returns atomic.Uint64 // number of signals given on the channel back

	// These can be read without waiting for mu.
	unanswered atomic.Pointer[error]
	unwritable atomic.Pointer[error]
	cause      atomic.Pointer[error] // why Redis is away
	recheck    atomic.Bool           // the next probe is to check the permissions
	missing    atomic.Pointer[[]string]
	// The channel in the field first is closed when the first probe has ended. The channel in the
	// field settled is closed when a probe has succeeded. Until then, nothing is published or read:
	// keys of the earlier layout might still have to be taken over.
	first, settled chan struct{}

	// outages counts three kinds of events: publications or probes begin to fail, a probe finds
	// Redis replaced, restarted or promoted, or the sentinels name another master. Connections that
	// were opened before the latest event are to be replaced.
	outages atomic.Uint64
}

func newState(log *slog.Logger, m *metrics, moved chan struct{}) *state {
	return &state{log: log, metrics: m, moved: moved, deaf: true, first: make(chan struct{}), settled: make(chan struct{}), trouble: make(chan struct{}, 1), back: make(chan struct{}, 1)}
}

// The method named tried notes the end of a probe. Only the goroutine of the prober calls it.
func (s *state) tried(succeeded bool) {
	if !closed(s.first) {
		close(s.first)
	}
	if succeeded && !closed(s.settled) {
		close(s.settled)
	}
}

func closed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// errUnproven answers requests after the first probe has failed, until a probe succeeds.
var errUnproven = errors.New("no probe of this Redis has succeeded yet")

// await waits until the channel c is closed, or ctx is done. The channel is state.first or
// state.settled.
func await(ctx context.Context, c chan struct{}) {
	select {
	case <-c:
	case <-ctx.Done():
	}
}

// cannotRead returns why a read would fail now. The result is nil if a read may work.
func (s *state) cannotRead() error {
	if err := s.unanswered.Load(); err != nil {
		return *err
	}
	if !closed(s.settled) {
		return errUnproven
	}
	return nil
}

// cannotPublish returns why a publication would fail now. The result is nil if a publication may
// work.
func (s *state) cannotPublish() error {
	if err := s.cannotRead(); err != nil {
		return err
	}
	if err := s.unwritable.Load(); err != nil {
		return *err
	}
	return nil
}

// The method named failed is called with the error of a request. It notes what this error shows
// about Redis.
func (s *state) failed(err error) {
	if s.moved != nil && redirected(err) {
		signal(s.moved)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.ok()
	switch failureOf(err) {
	case forbidden: // the next probe is to check the permissions
		s.recheck.Store(true)
		signal(s.trouble)
		return
	case unreachable:
		s.failures++
		s.newest, s.causes[noAnswer] = noAnswer, err
	case refusing:
		s.failures++
		s.newest, s.causes[noWrites] = noWrites, err
	case single:
		return
	}
	s.changedLocked()
	s.retellLocked()
	if was {
		s.outages.Add(1)
		signal(s.trouble)
	}
}

// suspect notes that a question failed. A failed question alone does not count as an absence, since
// a late answer may just be large. Unless Redis is known to fail already, suspect asks for a probe.
// A probe is small, and shows whether Redis is away, and what is permitted.
func (s *state) suspect() {
	s.recheck.Store(true)
	if s.ok() {
		signal(s.trouble)
	}
}

// failuresSoFar returns how many failures of the kinds unreachable and refusing were noted so far.
// A probe calls it at its beginning, and passes the result to state.answered.
func (s *state) failuresSoFar() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failures
}

// The method named answered notes a successful probe: causes of the kinds noAnswer and noWrites no
// longer apply. The argument failures is what failuresSoFar returned when the probe began. If a
// failure was counted since then, answered does nothing.
func (s *state) answered(failures uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failures == failures {
		s.causes[noAnswer], s.causes[noWrites] = nil, nil
		s.changedLocked()
	}
}

// noteSubscriber notes why the subscriptions are not in force. A nil err says that they are in
// force.
func (s *state) noteSubscriber(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.causes[noSubscriber] = err
	s.deaf = err != nil
	s.changedLocked()
	if err != nil {
		s.retellLocked()
	}
}

// subscriptionsLost notes that the subscriptions are not in force. Their loss alone is no absence.
// But an absence, whatever its cause, now lasts until the subscriptions are in force again.
func (s *state) subscriptionsLost() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deaf = true
}

// The method because returns why Redis is away. The result is nil if Redis is there.
func (s *state) because() error {
	if err := s.cause.Load(); err != nil {
		return *err
	}
	return nil
}

// ok reports whether requests and publications may work. Subscriptions do not count.
func (s *state) ok() bool { return s.cannotPublish() == nil }

// The method named lacks notes the permissions that are missing. Only the goroutine of the prober
// calls it.
func (s *state) lacks(permissions []string) {
	before := s.lacking()
	if slices.Equal(before, permissions) {
		return
	}
	s.missing.Store(&permissions)
	s.metrics.missing.Add(float64(len(permissions) - len(before)))
	if len(permissions) > 0 {
		s.log.Warn("redis does not permit what relays need, see docs/deploy.md",
			"missing", strings.Join(permissions, " "))
	} else {
		s.log.Info("redis permits what relays need")
	}
}

// lacking returns the permissions that are missing.
func (s *state) lacking() []string {
	if list := s.missing.Load(); list != nil {
		return *list
	}
	return nil
}

// end removes what this state has added to the gauges of the metrics.
func (s *state) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		s.metrics.away.Dec()
	}
	s.metrics.missing.Sub(float64(len(s.lacking())))
}

func (s *state) changedLocked() {
	if s.unanswered.Load() != nil && s.causes[noAnswer] == nil {
		s.returns.Add(1)
		signal(s.back)
	}
	store(&s.unanswered, s.causes[noAnswer])
	store(&s.unwritable, s.causes[noWrites])
	cause := s.causes[s.newest]
	if cause == nil {
		cause = s.causes[noSubscriber]
	}
	away := cause != nil || s.away && s.deaf
	store(&s.cause, cause)
	if away && cause == nil {
		store(&s.cause, errDeaf)
	}
	if away == s.away {
		return
	}
	s.away = away
	if s.away {
		s.since = time.Now()
		s.metrics.away.Inc()
		s.telling.begin(cause)
		s.log.Warn("redis is away", "err", cause)
	} else {
		s.metrics.away.Dec()
		s.log.Info("redis is back", "after", time.Since(s.since).Round(time.Millisecond))
	}
	s.sink(broker.State{Away: s.away, Cause: cause})
}

// retellLocked logs the cause of an absence that goes on, if the field telling says that it is time
// to log that cause. It may be called only after a new failure: when requests succeed again, the
// stored causes may be old.
func (s *state) retellLocked() {
	if cause := s.because(); cause != nil && s.telling.due(cause) {
		after := time.Since(s.since).Round(time.Millisecond)
		s.log.Warn("redis is still away", "err", cause, "after", after)
	}
}

func store(p *atomic.Pointer[error], err error) {
	if err == nil {
		p.Store(nil)
	} else {
		p.Store(&err)
	}
}

// errDeaf is the cause of an absence while the subscriptions are not in force and no other cause is
// known.
var errDeaf = errors.New("the subscriptions were lost")

// errUnfit marks the error of a Redis that answers but cannot serve.
var errUnfit = errors.New("no publications can be had from this Redis")
