package redisbroker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/redis/go-redis/v9"
)

// subscribeBatch is the number of channels in one command. At most two batches are unconfirmed, so that their confirmations stay far below
// Redis' output limit for subscribers, however many channels there are.
const subscribeBatch = 1000

// session is one connection's life as a subscriber: goroutines that end together. The writer makes Redis' view of our subscriptions
// follow what is wanted; the receiver reads confirmations, which come in the order of the commands, and publications; the top reader
// asks for the history's top of each topic confirmed.
type session struct {
	subscriber *subscriber
	keys       keys
	metrics    *metrics
	sink       func(broker.Event)
	client     *redis.Client
	pubsub     *redis.PubSub // writes only
	conn       net.Conn      // pubsub's, read by the receiver once opened is closed
	opened     chan struct{} // closed by the writer when pubsub has written: the connection is no longer being opened
	tops       *line
	began      time.Time
	deaf       time.Time                 // since when there were no subscriptions in force
	active     map[protocol.Topic]uint64 // generations on the wire; owned by the writer until run returns

	server atomic.Pointer[identity] // once connected

	inForce atomic.Bool // all that was wanted at the beginning has been confirmed; set under mu

	heard atomic.Bool // anything

	mu       sync.Mutex // guards the following; held across sink, so that a topic's events keep their order
	over     bool       // nothing is told any more
	told     bool       // something was
	expected []expectation
	awaiting map[protocol.Topic]*awaited
	asking   []protocol.Topic // confirmed, for the top reader
	flushing []uint64         // flushes whose ping is on its way, in order

	confirmed chan struct{} // to the top reader; one slot
}

// expectation is a confirmation that has to come.
type expectation struct {
	topic      protocol.Topic
	generation uint64 // 0: of an unsubscription
}

// awaited is a confirmed subscription whose top is not known yet.
type awaited struct {
	generation uint64
	top        protocol.Position // the highest received meanwhile
}

func newSession(s *subscriber, tops *line, sink func(broker.Event), deaf time.Time) *session {
	one := &session{
		subscriber: s, keys: s.keys, metrics: s.metrics, sink: sink, tops: tops, began: time.Now(), deaf: deaf,
		active: make(map[protocol.Topic]uint64), awaiting: make(map[protocol.Topic]*awaited), confirmed: make(chan struct{}, 1),
		opened: make(chan struct{}),
	}
	one.client = subscriberClient(s.opt, s.identifier, func(c net.Conn) { one.conn = c }, func(who identity) { one.server.Store(&who) })
	return one
}

// run connects and serves until the connection is lost or ctx is done, and returns why. Nothing is told after it returned.
func (s *session) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s.pubsub = s.client.Subscribe(ctx)
	s.subscriber.begin()
	defer s.subscriber.forget()
	closed := make(chan struct{})
	context.AfterFunc(ctx, func() {
		defer close(closed)
		s.client.Close() // first: it interrupts a write that holds the lock which pubsub.Close needs
		s.pubsub.Close()
	})
	var running sync.WaitGroup
	running.Go(func() { cancel(s.write(ctx)) })
	running.Go(func() { s.readTops(ctx) })
	running.Go(func() { s.watch(ctx, cancel) })
	cancel(s.receive(ctx))
	s.hush(context.Cause(ctx))
	running.Wait()
	<-closed
	return context.Cause(ctx)
}

// hush tells that what was told is no longer so, and nothing after it.
func (s *session) hush(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.told && !errors.Is(cause, context.Canceled) {
		s.metrics.lost.Inc()
		s.tellLocked(broker.Deaf{All: true})
	}
	s.over = true
}

// tellLocked gives e to the sink unless the session is over; mu must be held.
func (s *session) tellLocked(e broker.Event) {
	if !s.over {
		s.told = true
		s.sink(e)
	}
}

// inForcePing is answered behind all confirmations of what was wanted at the beginning.
const inForcePing = "in force"

// flushPing is answered behind all that was published before it.
const flushPing = "flush"

// flush asks for the answer to the next flushes.
func (s *session) flush(ctx context.Context) error {
	tokens := s.subscriber.takeFlushes()
	s.mu.Lock()
	s.flushing = append(s.flushing, tokens...)
	s.mu.Unlock()
	for range tokens {
		if err := s.pubsub.Ping(ctx, flushPing); err != nil {
			return err
		}
	}
	return nil
}

// flushedNext answers the flush that has waited longest.
func (s *session) flushedNext() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.flushing) > 0 {
		s.sink(broker.Flushed{Token: s.flushing[0], Heard: true})
		s.flushing = s.flushing[1:]
	}
}

// write sends commands and pings until something fails.
func (s *session) write(ctx context.Context) error {
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	for asked, opened := false, false; ; {
		done, err := s.follow(ctx)
		if err == nil && done && !asked {
			asked = true
			err = s.pubsub.Ping(ctx, inForcePing)
		}
		if err == nil && !opened {
			opened = true
			close(s.opened)
		}
		if err == nil {
			err = s.flush(ctx)
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.subscriber.wake:
		case <-ping.C:
			if err := s.pubsub.Ping(ctx); err != nil {
				return err
			}
		}
	}
}

// follow sends what has changed while few enough confirmations are outstanding, and reports whether that was all.
func (s *session) follow(ctx context.Context) (done bool, err error) {
	for s.unconfirmed() < subscribeBatch {
		batch := s.subscriber.changes(subscribeBatch)
		if len(batch) == 0 {
			return true, nil
		}
		if err := s.send(ctx, batch); err != nil {
			return false, err
		}
	}
	return false, nil
}

// send turns changes into at most two commands.
func (s *session) send(ctx context.Context, batch []change) error {
	var on, off []string
	var expected, expectedOff []expectation
	for _, c := range batch {
		generation, active := s.active[c.topic]
		switch {
		case c.want.generation == generation: // nothing new, or gone before it was sent
		case c.want.generation != 0:
			s.active[c.topic] = c.want.generation
			on = append(on, s.keys.channel(c.topic))
			expected = append(expected, expectation{c.topic, c.want.generation})
		case active:
			delete(s.active, c.topic)
			off = append(off, s.keys.channel(c.topic))
			expectedOff = append(expectedOff, expectation{topic: c.topic})
		}
	}
	s.expect(expected, expectedOff)
	if len(on) > 0 {
		if err := s.pubsub.Subscribe(ctx, on...); err != nil {
			return err
		}
	}
	if len(off) > 0 {
		return s.pubsub.Unsubscribe(ctx, off...)
	}
	return nil
}

// expect notes the confirmations that commands about to be written will have.
func (s *session) expect(batches ...[]expectation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, batch := range batches {
		s.expected = append(s.expected, batch...)
	}
}

func (s *session) unconfirmed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.expected)
}

// errOutOfStep ends a session whose confirmations do not match its commands.
var errOutOfStep = errors.New("redis confirmed another subscription than the one asked for")

// confirm takes the next confirmation.
func (s *session) confirm(kind pushKind, t protocol.Topic) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.expected) == 0 {
		return fmt.Errorf("%w: none was", errOutOfStep)
	}
	next := s.expected[0]
	if s.expected = s.expected[1:]; len(s.expected) == subscribeBatch-1 || len(s.expected) == 0 {
		s.subscriber.signal()
	}
	if next.topic != t || (kind == pushSubscribe) != (next.generation != 0) {
		return errOutOfStep
	}
	delete(s.awaiting, t)
	if next.generation == 0 || s.subscriber.want(t).generation != next.generation {
		return nil // a later command says what is wanted
	}
	s.awaiting[t] = &awaited{generation: next.generation}
	s.asking = append(s.asking, t)
	signal(s.confirmed)
	return nil
}
