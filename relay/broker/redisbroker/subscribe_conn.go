package redisbroker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/redis/go-redis/v9"
)

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
	conn       patientConn // set once the connection is open
	tops       *line
	began      time.Time
	returns    uint64 // state.returns when this connection began
	// The field deaf is the time when the connection before this one ended, or when Run began.
	// Connections that ended with errBack do not count.
	deaf time.Time

	// The writer owns the following fields until run returns.
	active map[protocol.Topic]uint64 // generation that was last sent for each topic
	probed protocol.Topic            // topic whose probe channel the connection has subscribed to
	memory []byte                    // memory of the last commands, to be reused

	// The top reader owns the following fields. They describe the server that tops are read from,
	// and are set before epochs are begun.
	identity   identity
	identified bool

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
	expected    []expectation // confirmations that must come, in the order of the commands
	expectedLen int           // bytes of the topics in the field expected
	pendingTops map[protocol.Topic]*pendingTop
	unread      []protocol.Topic // confirmed topics, for the top reader
	flushing    []uint64         // tokens of flushes whose ping is not answered, the oldest first
	elsewhere   []expectation    // subscriptions for the method askAgain to ask for again
	unheard     bool             // the channel of own probes must be subscribed again

	confirmed chan struct{} // signal to the top reader; one slot
}

// expectation is a confirmation that must come. An expectation without a topic stands for the
// answer to the ping that follows the unsubscriptions of a batch. Only sharded channels need such a
// ping.
type expectation struct {
	topic      protocol.Topic
	generation uint64 // 0: an unsubscription
	slot       int    // 0 unless channels are sharded
	last       bool   // this is the last confirmation of its command
}

// probesGeneration is the generation of the subscription to the relay's own probes.
const probesGeneration = 1

// connected has the identity that a connection's server told, and the value that
// identifier.replacements had before that identity was read.
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
		returns:     s.state.returns.Load(),
		pendingTops: make(map[protocol.Topic]*pendingTop), confirmed: make(chan struct{}, 1),
	}
	one.client = subscriberClient(s.opt, s.identifier, func(c patientConn) { one.conn = c }, func(who connected) { one.server.Store(&who) })
	return one
}

// run connects and serves until the connection ends or ctx is done, and returns why. It sends no
// event after it has returned.
func (s *subscriberConn) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	pubsub := s.client.Subscribe(ctx)
	s.active = make(map[protocol.Topic]uint64, s.subscriber.begin())
	defer s.subscriber.forget()
	defer closeWhen(ctx, closeSubscriber(s.client, pubsub))()
	var running sync.WaitGroup
	running.Go(func() { s.watch(ctx, cancel) })
	// A first ping opens the connection. From then on the receiver and the writer use the
	// connection itself: go-redis would take several allocations for each channel and each message.
	if err := pubsub.Ping(ctx); err != nil {
		cancel(err)
	} else {
		running.Go(func() { cancel(s.write(ctx)) })
		running.Go(func() { s.readTops(ctx) })
		cancel(s.receive())
	}
	s.hush(context.Cause(ctx))
	running.Wait()
	return context.Cause(ctx)
}

// hush makes sure that the connection sends no more events. If the connection has sent a
// Subscribed, Received or Deaf, hush first sends a last Deaf, for all topics. That Deaf is left out
// if the connection ends because the context of the Broker's Run is cancelled.
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

// flushedNext answers the flush that has waited longest.
func (s *subscriberConn) flushedNext() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.flushing) > 0 {
		s.sink(broker.Flushed{Token: s.flushing[0], Heard: true})
		s.flushing = s.flushing[1:]
	}
}

// errOutOfStep ends a connection whose confirmations do not match its commands.
var errOutOfStep = errors.New("redis confirmed another subscription than the one asked for")

// popLocked removes the first element of the field expected, and returns it. The field must not be
// empty. popLocked wakes the writer if nothing is expected any more, or if the writer may send
// commands again.
func (s *subscriberConn) popLocked() expectation {
	next := s.expected[0]
	full := s.fullLocked()
	s.expected, s.expectedLen = s.expected[1:], s.expectedLen-len(next.topic)
	if full && !s.fullLocked() || len(s.expected) == 0 {
		s.subscriber.signal()
	}
	return next
}

// confirm handles a confirmation for a channel. It returns an error unless this confirmation is the
// one that is expected next.
func (s *subscriberConn) confirm(kind pushKind, channel []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.expected) == 0 {
		return fmt.Errorf("%w: none was", errOutOfStep)
	}
	next := s.popLocked()
	if !s.keys.isChannel(channel, next.topic) || (kind == pushSubscribe) != (next.generation != 0) {
		return errOutOfStep
	}
	delete(s.pendingTops, next.topic)
	if next.generation == 0 || s.subscriber.want(next.topic).generation != next.generation {
		return nil // a later command brings the subscription that is wanted
	}
	s.pendingTops[next.topic] = &pendingTop{generation: next.generation}
	s.unread = append(s.unread, next.topic)
	signal(s.confirmed)
	return nil
}
