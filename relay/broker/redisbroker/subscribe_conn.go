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

// subscribeBatch is the largest number of channels in one command. Fewer than two batches are
// unconfirmed. So the confirmations that Redis has not sent yet stay far below its usual output
// limit for subscribers.
const subscribeBatch = 1000

// subscriberConn is one of the subscriber's connections. It has four goroutines, which end
// together. The writer sends commands, so that Redis' subscriptions follow the wanted topics. The
// receiver reads publications and confirmations. The confirmations come in the order of the
// commands. The top reader reads the top of each confirmed topic. The watch ends a connection that
// leads to the wrong server, or to none.
type subscriberConn struct {
	subscriber *subscriber
	keys       keys
	metrics    *metrics
	sink       func(broker.Event)
	client     *redis.Client
	pubsub     *redis.PubSub // writes only
	conn       net.Conn      // pubsub's; read by the receiver once opened is closed
	// The writer closes opened after pubsub's first write. From then on conn is set, and the
	// receiver may use it.
	opened  chan struct{}
	tops    *line
	began   time.Time
	returns uint64                    // state.returns when this connection began
	deaf    time.Time                 // time since when the subscriptions are not in force
	active  map[protocol.Topic]uint64 // generations sent; the writer's until run returns

	server atomic.Pointer[connected] // nil before the connection is open

	// inForce is set, with mu held, once all subscriptions that were wanted when the connection
	// began are confirmed.
	inForce atomic.Bool

	heard atomic.Bool // Redis has sent a push on this connection

	// mu guards the following. It is held during calls of sink, so that a topic's events keep their
	// order.
	mu          sync.Mutex
	over        bool          // no event is sent any more
	told        bool          // a Subscribed, Received or Deaf was sent
	expected    []expectation // in the order of the commands
	pendingTops map[protocol.Topic]*pendingTop
	unread      []protocol.Topic // confirmed topics, for the top reader
	flushing    []uint64         // tokens of flushes whose ping is not answered, the oldest first

	confirmed chan struct{} // to the top reader; one slot
}

// expectation is a confirmation that must come.
type expectation struct {
	topic      protocol.Topic
	generation uint64 // 0: an unsubscription
}

// connected has the identity that a connection's server told, and the number of replacements that
// the identifier knew before it read that identity.
type connected struct {
	identity
	replacements uint64
}

// pendingTop is a confirmed subscription whose top is not known yet.
type pendingTop struct {
	generation uint64
	top        protocol.Position // the highest position received meanwhile
}

func newSubscriberConn(s *subscriber, tops *line, sink func(broker.Event), deaf time.Time) *subscriberConn {
	one := &subscriberConn{
		subscriber: s, keys: s.keys, metrics: s.metrics, sink: sink, tops: tops, began: time.Now(), deaf: deaf,
		returns: s.state.returns.Load(),
		active:  make(map[protocol.Topic]uint64), pendingTops: make(map[protocol.Topic]*pendingTop), confirmed: make(chan struct{}, 1),
		opened: make(chan struct{}),
	}
	one.client = subscriberClient(s.opt, s.identifier, func(c net.Conn) { one.conn = c }, func(who connected) { one.server.Store(&who) })
	return one
}

// run connects and serves until the connection ends or ctx is done, and returns why. It sends no
// event after it has returned.
func (s *subscriberConn) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s.pubsub = s.client.Subscribe(ctx)
	s.subscriber.begin()
	defer s.subscriber.forget()
	defer closeWhen(ctx, closeSubscriber(s.client, s.pubsub))()
	var running sync.WaitGroup
	running.Go(func() { cancel(s.write(ctx)) })
	running.Go(func() { s.readTops(ctx) })
	running.Go(func() { s.watch(ctx, cancel) })
	cancel(s.receive(ctx))
	s.hush(context.Cause(ctx))
	running.Wait()
	return context.Cause(ctx)
}

// hush ends the events of the connection. If the connection has sent a Subscribed or a Received,
// hush sends a Deaf as its last event. It does not send Deaf if the connection ends because the
// Broker's Run does.
func (s *subscriberConn) hush(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inForce.Load() {
		s.subscriber.state.subscriptionsLost()
	}
	if s.told && !errors.Is(cause, context.Canceled) {
		s.metrics.lost.Inc()
		s.tellLocked(broker.Deaf{All: true})
	}
	s.over = true
}

// tellLocked gives e to the sink unless the connection is over. The caller holds mu.
func (s *subscriberConn) tellLocked(e broker.Event) {
	if !s.over {
		s.told = true
		s.sink(e)
	}
}

// inForcePing is the payload of a ping that follows the commands for all topics that were wanted
// when the connection began. The answer to the ping comes after the confirmations of those
// commands.
const inForcePing = "in force"

// flushPing is the payload of a flush's ping. The answer to the ping comes after what this server
// published to the connection before it took the ping.
const flushPing = "flush"

// flush sends a ping for each flush that no connection has taken.
func (s *subscriberConn) flush(ctx context.Context) error {
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
func (s *subscriberConn) flushedNext() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.flushing) > 0 {
		s.sink(broker.Flushed{Token: s.flushing[0], Heard: true})
		s.flushing = s.flushing[1:]
	}
}

// write sends commands and pings until one cannot be sent, or ctx is done.
func (s *subscriberConn) write(ctx context.Context) error {
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

// follow sends changes while fewer than subscribeBatch confirmations are outstanding. It reports
// whether it sent all changes.
func (s *subscriberConn) follow(ctx context.Context) (done bool, err error) {
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

// send turns the changes of batch into at most two commands, and sends these.
func (s *subscriberConn) send(ctx context.Context, batch []change) error {
	var on, off []string
	var expected, expectedOff []expectation
	for _, c := range batch {
		generation, active := s.active[c.topic]
		switch {
		case c.want.generation == generation: // sent already, or gone before it was sent
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

// expect notes the confirmations of commands that are about to be written.
func (s *subscriberConn) expect(batches ...[]expectation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, batch := range batches {
		s.expected = append(s.expected, batch...)
	}
}

func (s *subscriberConn) unconfirmed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.expected)
}

// errOutOfStep ends a connection whose confirmations do not match its commands.
var errOutOfStep = errors.New("redis confirmed another subscription than the one asked for")

// confirm takes a confirmation, which must be the next expected one.
func (s *subscriberConn) confirm(kind pushKind, t protocol.Topic) error {
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
	delete(s.pendingTops, t)
	if next.generation == 0 || s.subscriber.want(t).generation != next.generation {
		return nil // a later command says what is wanted
	}
	s.pendingTops[t] = &pendingTop{generation: next.generation}
	s.unread = append(s.unread, t)
	signal(s.confirmed)
	return nil
}
