package redisbroker

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
)

// trouble is a reason why Redis is away. Redis is there when there is none.
type trouble int

const (
	noAnswer     trouble = iota // to requests
	noWrites                    // requests are answered, publications refused
	noSubscriber                // the subscriber's connection cannot be had
	troubles
)

// state knows whether Redis is there, and tells each change once: one event, one log line.
type state struct {
	log     *slog.Logger
	metrics *metrics
	sink    func(broker.Event) // set before use, then constant

	mu       sync.Mutex // guards the following; held while telling, so that changes are told in order
	causes   [troubles]error
	away     bool
	since    time.Time
	failures uint64

	moved   chan struct{} // to who knows where keys are, one slot; nil: nobody does
	trouble chan struct{} // to the prober, when requests begin to fail; one slot
	back    chan struct{} // to the subscriber, when they are answered again; one slot

	// Copies for those who must not wait.
	unanswered atomic.Pointer[error]
	unwritable atomic.Pointer[error]
	outages    atomic.Uint64 // times that requests began to fail, or another Redis was found: older connections are to be replaced
}

func newState(log *slog.Logger, m *metrics, moved chan struct{}) *state {
	return &state{log: log, metrics: m, moved: moved, trouble: make(chan struct{}, 1), back: make(chan struct{}, 1)}
}

// cannotRead returns why a read would fail now, nil if it may work.
func (s *state) cannotRead() error {
	if err := s.unanswered.Load(); err != nil {
		return *err
	}
	return nil
}

// cannotPublish returns why a publication would fail now, nil if it may work.
func (s *state) cannotPublish() error {
	if err := s.cannotRead(); err != nil {
		return err
	}
	if err := s.unwritable.Load(); err != nil {
		return *err
	}
	return nil
}

// failed notes what a failed request means for others.
func (s *state) failed(err error) {
	if s.moved != nil && redirected(err) {
		signal(s.moved)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.ok()
	switch failureOf(err) {
	case unreachable:
		s.failures++
		s.causes[noAnswer] = err
	case refusing:
		s.failures++
		s.causes[noWrites] = err
	case single:
		return
	}
	s.changedLocked()
	if was {
		s.outages.Add(1)
		signal(s.trouble)
	}
}

// doubted notes that a question was not answered in time, of which there are large ones: the probe, which is small, is to say whether Redis is
// away.
func (s *state) doubted() {
	if s.ok() {
		signal(s.trouble)
	}
}

// failuresSoFar is to be handed to answered by a probe that begins now.
func (s *state) failuresSoFar() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failures
}

// answered notes a successful probe, unless a request failed after the probe began.
func (s *state) answered(failures uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failures == failures {
		s.causes[noAnswer], s.causes[noWrites] = nil, nil
		s.changedLocked()
	}
}

// subscriber notes whether the subscriber is connected, nil, or why not.
func (s *state) subscriber(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.causes[noSubscriber] = err
	s.changedLocked()
}

// ok reports whether the requests' side is well; the subscriber looks after itself.
func (s *state) ok() bool { return s.cannotPublish() == nil }

// end forgets what was told: nothing is any more.
func (s *state) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		s.metrics.away.Dec()
	}
}

func (s *state) changedLocked() {
	if s.unanswered.Load() != nil && s.causes[noAnswer] == nil {
		signal(s.back)
	}
	store(&s.unanswered, s.causes[noAnswer])
	store(&s.unwritable, s.causes[noWrites])
	var cause error
	for _, err := range s.causes {
		if err != nil {
			cause = err
			break
		}
	}
	if away := cause != nil; away == s.away {
		return
	}
	s.away = !s.away
	if s.away {
		s.since = time.Now()
		s.metrics.away.Inc()
		s.log.Warn("redis is away", "cause", cause)
	} else {
		s.metrics.away.Dec()
		s.log.Info("redis is back", "after", time.Since(s.since).Round(time.Millisecond))
	}
	s.sink(broker.State{Away: s.away, Cause: cause})
}

// signal fills the one slot of c.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func store(p *atomic.Pointer[error], err error) {
	if err == nil {
		p.Store(nil)
	} else {
		p.Store(&err)
	}
}

// errDeaf is the cause while subscriptions that were lost are not in force again.
var errDeaf = errors.New("the subscriptions were lost")

// errUnfit marks a Redis that answers but cannot serve.
var errUnfit = errors.New("no publications can be had from this Redis")
