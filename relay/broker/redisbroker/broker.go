package redisbroker

import (
	"context"
	"crypto/rand"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/redis/go-redis/v9"
)

// New returns a Broker that connects when it runs. An error names the variable that sets the URL.
func New(cfg Config) (broker.Broker, error) {
	cfg, t, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	redis.SetLogger(clientLog{cfg.Log})
	c := common{
		keys: keys(cfg.Prefix), history: history{cfg.HistorySize, cfg.HistoryAge.Milliseconds(), int64(cfg.MarkAge.Seconds())},
		metrics: newMetrics(cfg.Metrics), log: cfg.Log, candidate: rand.Text(), name: new(atomic.Pointer[string]),
	}
	if t.cluster {
		return newCluster(t, c), nil
	}
	here := place{topic: func() protocol.Topic { return probeTopic }, named: func() bool { return true }}
	if t.master != "" {
		throughSentinels(t)
		here.watch = t.watchSentinels
	}
	return newBroker(t.opt, c, here), nil
}

// common is what the Brokers on a cluster's masters have in common.
type common struct {
	keys      keys
	history   history
	metrics   *metrics
	log       *slog.Logger
	candidate string                  // what the back end is called if it has no name yet
	name      *atomic.Pointer[string] // what it is called, once known
}

// place says what a Redis has: all keys, or those of a cluster's master.
type place struct {
	topic func() protocol.Topic                      // where it can be probed
	named func() bool                                // whether it has the back end's name
	watch func(ctx context.Context, switched func()) // calls switched when it is elsewhere, until ctx is done; nil: nobody knows
	moved chan struct{}                              // told, one slot, when keys turn out to be elsewhere; nil: that is a fault
}

// Broker is a broker.Broker on one Redis. It holds five connections at most: to publish, to ask, for the tops of new subscriptions, to probe,
// and to subscribe.
type Broker struct {
	state      *state
	name       *atomic.Pointer[string]
	publisher  *publisher
	asker      *asker
	subscriber *subscriber
	prober     *prober
}

var _ broker.Broker = (*Broker)(nil)

func newBroker(opt *redis.Options, c common, p place) *Broker {
	log := c.log.With("redis", opt.Addr)
	b := &Broker{name: c.name, state: newState(log, c.metrics, p.moved)}
	i := &identifier{log: log}
	b.publisher = newPublisher(opt, c.keys, c.history, i, b.state, c.metrics)
	b.asker = newAsker(opt, c.keys, b.state, c.metrics)
	b.subscriber = newSubscriber(opt, c.keys, i, b.state, c.metrics, log)
	b.prober = &prober{
		opt: opt, keys: c.keys, place: p, identifier: i, state: b.state, metrics: c.metrics, log: log, name: c.name, candidate: c.candidate,
		instance: protocol.NewInstance(), found: b.found,
	}
	return b
}

// found is told by each probe who answers, and whether that is another than before.
func (b *Broker) found(who identity, another bool) {
	if another {
		b.publisher.changed.Store(true)
		b.state.outages.Add(1)
	}
	b.subscriber.found(who)
}

// switched has the prober find another Redis.
func (b *Broker) switched() {
	b.prober.elsewhere.Store(true)
	b.state.outages.Add(1)
	signal(b.state.trouble)
}

// Run implements broker.Broker. Redis may be absent, at the start too: Run goes on trying. It may be called once, and returns nil.
func (b *Broker) Run(ctx context.Context, sink func(broker.Event)) error {
	b.state.sink = sink
	var running sync.WaitGroup
	running.Go(func() { b.publisher.run(ctx, sink) })
	running.Go(func() { b.asker.run(ctx, sink) })
	running.Go(func() { b.subscriber.run(ctx, sink) })
	running.Go(func() { b.prober.run(ctx) })
	if watch := b.prober.place.watch; watch != nil {
		running.Go(func() { watch(ctx, b.switched) })
	}
	running.Wait()
	b.state.end()
	b.subscriber.end()
	return nil
}

// Publish implements broker.Broker.
func (b *Broker) Publish(p broker.Publish) { b.publisher.queue.put(p) }

// Subscribe implements broker.Broker.
func (b *Broker) Subscribe(t protocol.Topic, token uint64) { b.subscriber.subscribe(t, token) }

// Unsubscribe implements broker.Broker.
func (b *Broker) Unsubscribe(t protocol.Topic) { b.subscriber.unsubscribe(t) }

// ReadHistory implements broker.Broker.
func (b *Broker) ReadHistory(t protocol.Topic, after protocol.Position, token uint64) {
	b.asker.queue.put(ask{kind: askHistory, topic: t, after: after, token: token})
}

// CountSubscribers implements broker.Broker.
func (b *Broker) CountSubscribers(t protocol.Topic, token uint64) {
	b.asker.queue.put(ask{kind: askCount, topic: t, token: token})
}

// Flush implements broker.Broker.
func (b *Broker) Flush(token uint64) { b.subscriber.flush(token) }

// Name implements broker.Broker: a random id that Redis keeps under the prefix.
func (b *Broker) Name() string {
	if name := b.name.Load(); name != nil {
		return *name
	}
	return ""
}
