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
	"github.com/edgerelay/edgerelay/shared/timing"
	"github.com/redis/go-redis/v9"
)

// subscriber keeps the wanted topics subscribed. It has one connection at a time.
type subscriber struct {
	opt        *redis.Options
	keys       keys
	pubsub     pubsub
	retention  retention
	probing    probing
	realm      string
	foreigners *foreigners
	identifier *identifier
	epochs     *broker.Epochs
	state      *state
	metrics    *metrics
	log        *slog.Logger

	mu      sync.Mutex // guards the following
	wanted  map[protocol.Topic]subscription
	begins  map[protocol.Topic]struct{} // wanted topics whose epochs are to be begun
	count   uint64                      // the last generation that was given
	counted int                         // subscriptions that are now in the metrics
	// The field order lists the topics whose changes the connection has not taken, the earliest
	// change first. At the beginning of a connection, order lists all topics that are wanted then.
	order []protocol.Topic
	// The field named changed has the topics that were appended to the field order after the
	// connection began, and that the connection has not taken. It is nil without a connection.
	changed map[protocol.Topic]struct{}
	flushes []uint64 // tokens of flushes that no connection has taken

	wake   chan struct{} // signal to the connection's writer; one slot
	probed chan identity // identity of the server that answers the probe
}

// subscription is the last Subscribe of a topic. Each Subscribe gets a generation of its own, and
// so does each renewal by subscriber.again. Redis' confirmation of an earlier generation does not
// count for a later one.
type subscription struct {
	token      uint64
	generation uint64 // counts from 1; 0: no subscription
}

// The type probing says on which channel the subscriber receives the probes of its own relay.
type probing struct {
	relay protocol.Instance     // instance that publishes the probes
	topic func() protocol.Topic // topic that the probes are published to now
}

func newSubscriber(opt *redis.Options, c common, p probing, i *identifier, s *state, log *slog.Logger) *subscriber {
	return &subscriber{
		opt: opt, keys: c.keys, pubsub: c.pubsub, retention: c.retention, probing: p, realm: c.realm, foreigners: c.foreigners, identifier: i, epochs: c.epochs, state: s, metrics: c.metrics, log: log,
		wanted: make(map[protocol.Topic]subscription), begins: make(map[protocol.Topic]struct{}), wake: make(chan struct{}, 1), probed: make(chan identity),
	}
}

// The method named found passes an identity to the method watch of the current connection. It is
// the identity of the server that answers the probe. If there is no connection, or if the method
// watch is busy, found does nothing.
func (s *subscriber) found(who identity) {
	select {
	case s.probed <- who:
	default:
	}
}

func (s *subscriber) subscribe(t protocol.Topic, token uint64, begin bool) {
	s.mu.Lock()
	s.count++
	s.wanted[t] = subscription{token, s.count}
	if begin {
		s.begins[t] = struct{}{}
	} else {
		delete(s.begins, t)
	}
	s.changeLocked(t)
	s.mu.Unlock()
	s.signal()
}

// The method named again makes the writer ask once more for a subscription that was refused, or
// that Redis ended. It does nothing if the topic is unwanted by now, or is wanted with another
// generation.
func (s *subscriber) again(t protocol.Topic, generation uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if want := s.wanted[t]; want.generation == generation && generation != 0 {
		s.count++
		s.wanted[t] = subscription{want.token, s.count}
		s.changeLocked(t)
	}
}

func (s *subscriber) unsubscribe(t protocol.Topic) {
	s.mu.Lock()
	delete(s.wanted, t)
	delete(s.begins, t)
	s.changeLocked(t)
	s.mu.Unlock()
	s.signal()
}

// flush asks for a Flushed event.
func (s *subscriber) flush(token uint64) {
	s.mu.Lock()
	s.flushes = append(s.flushes, token)
	s.mu.Unlock()
	s.signal()
}

// takeFlushes returns the tokens of the flushes that no connection has taken, and forgets them.
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

// end removes the subscriptions from the gauge of the metrics.
func (s *subscriber) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.countLocked(0)
}

func (s *subscriber) signal() { signal(s.wake) }

// The method named want returns the subscription of t, or zero if t is not wanted.
func (s *subscriber) want(t protocol.Topic) subscription {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wanted[t]
}

// toBegin says which of some topics are to have their epochs begun.
func (s *subscriber) toBegin(topics []protocol.Topic) []bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]bool, len(topics))
	for i, t := range topics {
		_, list[i] = s.begins[t]
	}
	return list
}

// begun makes sure that the epoch of t is not begun again, or not tried to be.
func (s *subscriber) begun(t protocol.Topic) {
	s.mu.Lock()
	delete(s.begins, t)
	s.mu.Unlock()
}

// The method named begin lists every wanted topic as changed, for a new connection. It returns the
// number of these topics.
func (s *subscriber) begin() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	// These topics are not noted in the field changed. So a topic that changes again before it is
	// taken is listed twice, which does no harm.
	s.changed = make(map[protocol.Topic]struct{})
	s.order = make([]protocol.Topic, 0, len(s.wanted))
	for t := range s.wanted {
		s.order = append(s.order, t)
	}
	if s.pubsub.sharded {
		s.keys.sortBySlot(s.order)
	}
	s.signal()
	return len(s.order)
}

// forget stops collecting changes, since the connection has ended.
func (s *subscriber) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed, s.order = nil, nil
}

// change is a topic and the subscription that it is to have. The subscription is zero if the topic
// is to have none.
type change struct {
	topic protocol.Topic
	want  subscription
}

// The method named changes removes topics from the front of the field order, and returns them with
// their subscriptions. The arguments most and size bound the number of topics and the bytes of
// their names. If the first name alone is longer than size, changes returns that topic only.
func (s *subscriber) changes(most, size int) []change {
	s.mu.Lock()
	defer s.mu.Unlock()
	most = min(most, len(s.order))
	batch := make([]change, 0, most)
	for _, t := range s.order[:most] {
		if size -= len(t); size < 0 && len(batch) > 0 {
			break
		}
		batch = append(batch, change{t, s.wanted[t]})
		delete(s.changed, t)
	}
	if s.order = s.order[len(batch):]; len(s.order) == 0 {
		s.order = nil
	}
	return batch
}

// The pause before a new connection doubles from pauseMin up to pauseMax, and a random part of up
// to half is left out. The pause ends early if Redis answers requests again. There is no pause
// after errBack. There is also none after a connection that had its subscriptions in force and
// lasted longer than the value of lived.
const (
	pauseMin = 50 * time.Millisecond
	pauseMax = 2 * time.Second
	lived    = 2 * time.Second
)

// run keeps one connection after the other until ctx is done.
func (s *subscriber) run(ctx context.Context, sink func(broker.Event)) {
	tops := newLineOf(func() *redis.Client { return readerClient(s.opt) })
	defer tops.closeWhen(ctx)()
	var pause time.Duration
	deaf := time.Now()
	for ctx.Err() == nil {
		one := newSubscriberConn(s, tops, sink, deaf)
		err := one.run(ctx)
		for _, token := range append(one.flushing, s.takeFlushes()...) {
			sink(broker.Flushed{Token: token})
		}
		if ctx.Err() != nil {
			return
		}
		switch {
		case one.inForce.Load():
			s.log.Info("subscriptions lost", "err", err, "topics", len(one.active))
			deaf = time.Now()
		case errors.Is(err, errBack): // no failure: the next connection shows what Redis does
		default:
			s.state.noteSubscriber(err)
			s.metrics.deaf.Add(time.Since(deaf).Seconds())
			deaf = time.Now()
		}
		if one.inForce.Load() && time.Since(one.began) > lived || errors.Is(err, errBack) {
			pause = 0
			continue
		}
		pause = min(max(2*pause, pauseMin), pauseMax)
		if !timing.Sleep(ctx, pause/2+rand.N(pause/2), s.state.back) {
			pause = 0
		}
	}
}
