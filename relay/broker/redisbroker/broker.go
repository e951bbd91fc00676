package redisbroker

import (
	"context"
	"crypto/rand"
	"sync"
	"sync/atomic"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/redis/go-redis/v9"
)

// Broker is a broker.Broker on Redis. It holds five connections at most: to publish, to ask, for the tops of new subscriptions, to probe,
// and to subscribe.
type Broker struct {
	metrics    *metrics
	state      *state
	name       atomic.Pointer[string]
	publisher  *publisher
	asker      *asker
	subscriber *subscriber
	prober     *prober
}

var _ broker.Broker = (*Broker)(nil)

// New returns a Broker that connects when it runs. An error names the variable that sets the URL.
func New(cfg Config) (*Broker, error) {
	cfg, opt, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	redis.SetLogger(clientLog{cfg.Log})
	log := cfg.Log.With("redis", opt.Addr)
	m := newMetrics(cfg.Metrics)
	k := keys(cfg.Prefix)
	h := history{cfg.HistorySize, cfg.HistoryAge.Milliseconds(), int64(cfg.MarkAge.Seconds())}
	b := &Broker{metrics: m, state: newState(log, m)}
	i := &identifier{log: log}
	b.publisher = newPublisher(opt, k, h, i, b.state, m)
	b.asker = newAsker(opt, k, b.state, m)
	b.subscriber = newSubscriber(opt, k, b.state, m, log)
	b.prober = &prober{
		opt: opt, keys: k, identifier: i, state: b.state, metrics: m, log: log, name: &b.name, candidate: rand.Text(),
		instance: protocol.NewInstance(), changed: func() { b.publisher.changed.Store(true) },
	}
	return b, nil
}

// Run implements broker.Broker. Redis may be absent, at the start too: Run goes on trying. It may be called once, and returns nil.
func (b *Broker) Run(ctx context.Context, sink func(broker.Event)) error {
	b.state.sink = sink
	var running sync.WaitGroup
	running.Go(func() { b.publisher.run(ctx, sink) })
	running.Go(func() { b.asker.run(ctx, sink) })
	running.Go(func() { b.subscriber.run(ctx, sink) })
	running.Go(func() { b.prober.run(ctx) })
	running.Wait()
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
