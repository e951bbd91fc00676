package redisbroker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/redis/go-redis/v9"
)

// New returns a Broker that connects when it runs. An error says what is wrong with cfg. If the
// URL, the prefix or Sharded is wrong, the error names the variable that sets the wrong value.
func New(cfg Config) (broker.Broker, error) {
	cfg, t, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	redis.SetLogger(clientLog{cfg.Log})
	c := common{
		keys: keys(cfg.Prefix), pubsub: pubsubOf(cfg), realm: keys(cfg.Prefix).realm(t.opt.DB, cfg.Sharded), retention: retention{cfg.HistorySize, cfg.HistoryAge.Milliseconds(), cfg.MarkAge.Milliseconds(), cfg.Retention},
		metrics: newMetrics(cfg.Metrics), log: cfg.Log, candidate: rand.Text(), name: new(backEndName), epochs: new(broker.Epochs), earlier: newEarlier(),
	}
	c.foreigners = &foreigners{
		metrics: c.metrics, log: c.log, own: statement{Database: stated(t.opt.DB, cfg.Sharded), Prefix: cfg.Prefix},
	}
	if t.cluster {
		return newCluster(t, c), nil
	}
	single := role{
		probed: func() probed { return probed{topic: probeTopic, earlier: probeTopic, named: true} }, end: t.names.Close,
	}
	if t.master != "" {
		throughSentinels(t)
		single.watch = t.watchSentinels
	}
	b := newBroker(t.opt, c, single)
	b.neighbours = newNeighbours(func() *redis.Options { return t.opt }, t.opt.DB, c)
	return b, nil
}

// The type named common is what the Brokers on the masters of a Redis Cluster share. The Broker on
// a single Redis has a value of this type, too.
type common struct {
	keys       keys
	pubsub     pubsub
	realm      string
	retention  retention
	epochs     *broker.Epochs
	metrics    *metrics
	foreigners *foreigners
	log        *slog.Logger
	candidate  string // name to give the back end if it has none
	name       *backEndName
	earlier    *earlier
}

// backEndName is the back end's name, once it is known.
type backEndName struct{ atomic.Pointer[string] }

// get returns the name, or "" while the name is unknown.
func (n *backEndName) get() string {
	if name := n.Load(); name != nil {
		return *name
	}
	return ""
}

// role tells a Broker how its Redis is used: alone, or as one master of a Redis Cluster.
type role struct {
	probed func() probed // returns what the prober is to use
	// The function watch runs until ctx is done. It calls the function switched each time that most
	// of the sentinels begin to name another master. The field is nil if there are no sentinels.
	watch func(ctx context.Context, switched func())
	end   func() // called when Run ends; nil on a master of a Redis Cluster
	// The channel named moved gets a signal when Redis says that a key is, or may be, on another
	// node. Its buffer holds one signal. The field is nil for a single Redis, where such a reply is
	// a fault.
	moved chan struct{}
}

// The type named probed is what a prober uses on its Redis.
type probed struct {
	topic   protocol.Topic // topic that the prober publishes to
	earlier protocol.Topic // topic that probers of the earlier layout published to
	// This field says whether this Redis keeps the back end's name. On a Redis Cluster, one master
	// keeps the name. The probes of that master go to a topic in the slot of the name's key.
	named bool
}

// Broker is a broker.Broker on one Redis. It keeps up to six connections: one to publish, one to
// read histories, begin epochs and count subscribers, one to read the tops of new subscriptions,
// one to probe, one to subscribe, and one to hear the relays of other clusters. Further connections
// are open only briefly.
type Broker struct {
	state      *state
	name       *backEndName
	publisher  *publisher
	asker      *asker
	subscriber *subscriber
	prober     *prober
	neighbours *neighbours // nil on a master of a Redis Cluster: Cluster has its own
}

var _ broker.Broker = (*Broker)(nil)

func newBroker(opt *redis.Options, c common, p role) *Broker {
	log := c.log.With("redis", opt.Addr)
	b := &Broker{name: c.name, state: newState(log, c.metrics, p.moved)}
	i := &identifier{log: log}
	b.publisher = newPublisher(opt, c, i, b.state)
	b.asker = newAsker(opt, c, i, b.state)
	instance := protocol.NewInstance()
	probing := probing{instance, func() protocol.Topic { return p.probed().topic }}
	b.subscriber = newSubscriber(opt, c, probing, i, b.state, log)
	b.prober = &prober{
		opt: opt, keys: c.keys, pubsub: c.pubsub, realm: c.realm, retention: c.retention, role: p, earlier: c.earlier, identifier: i, epochs: c.epochs, state: b.state, metrics: c.metrics, log: log, name: c.name, candidate: c.candidate,
		instance: instance, found: b.found,
	}
	c.earlier.enter(b.prober)
	return b
}

// The method named found gets the identity of the server that answered a probe, and passes it on to
// the subscriber. The argument seen says how that identity compares to the identity that the probe
// before found. Unless the two identities are equal, the method also tells the publisher to read
// the identity again. If the server was replaced, restarted or promoted, the connections for
// requests are replaced before their next use.
func (b *Broker) found(who identity, seen sighting) {
	if seen != same {
		b.publisher.changed.Store(true)
	}
	if seen == another {
		b.state.outages.Add(1)
	}
	b.subscriber.found(who)
}

// switched is called when the sentinels begin to name another master. It asks for a probe. For that
// probe the prober connects anew. The connections for requests are also replaced, before their next
// use.
func (b *Broker) switched() {
	b.prober.elsewhere.Store(true)
	b.state.outages.Add(1)
	signal(b.state.trouble)
}

// Run implements broker.Broker. While Redis is absent, Run keeps trying to reach it, also at the
// start. Run may be called only once. The only error that it returns wraps errForeign.
func (b *Broker) Run(ctx context.Context, sink func(broker.Event)) error {
	b.state.sink = sink
	defer b.prober.earlier.leave(b.prober)
	ctx, refuse := context.WithCancelCause(ctx)
	defer refuse(nil)
	var running sync.WaitGroup
	if b.neighbours != nil {
		running.Go(func() { refuseBy(refuse, b.neighbours.run(ctx)) })
	}
	running.Go(func() { b.publisher.run(ctx, sink) })
	running.Go(func() { b.asker.run(ctx, sink) })
	running.Go(func() { b.subscriber.run(ctx, sink) })
	running.Go(func() { b.prober.run(ctx) })
	if watch := b.prober.role.watch; watch != nil {
		running.Go(func() { watch(ctx, b.switched) })
	}
	running.Wait()
	b.state.end()
	b.subscriber.end()
	if end := b.prober.role.end; end != nil {
		end()
	}
	return refusal(ctx)
}

// refuseBy ends a Broker because of err. It does nothing if err is nil.
func refuseBy(refuse context.CancelCauseFunc, err error) {
	if err != nil {
		refuse(err)
	}
}

// refusal returns the error that was passed to refuseBy. It returns nil if the Broker was not
// refused.
func refusal(ctx context.Context) error {
	if cause := context.Cause(ctx); errors.Is(cause, errForeign) {
		return cause
	}
	return nil
}

// Publish implements broker.Broker.
func (b *Broker) Publish(p broker.Publish) { b.publisher.queue.put(p) }

// Subscribe implements broker.Broker.
func (b *Broker) Subscribe(t protocol.Topic, token uint64, begin bool) {
	b.subscriber.subscribe(t, token, begin)
}

// Unsubscribe implements broker.Broker.
func (b *Broker) Unsubscribe(t protocol.Topic) { b.subscriber.unsubscribe(t) }

// ReadHistory implements broker.Broker.
func (b *Broker) ReadHistory(t protocol.Topic, after protocol.Position, token uint64) {
	b.asker.queue.put(ask{kind: askHistory, topic: t, after: after, token: token})
}

// Begin implements broker.Broker.
func (b *Broker) Begin(t protocol.Topic, token uint64) {
	b.asker.queue.put(ask{kind: askBegin, topic: t, token: token})
}

// CountSubscribers implements broker.Broker.
func (b *Broker) CountSubscribers(t protocol.Topic, token uint64) {
	b.asker.queue.put(ask{kind: askCount, topic: t, token: token})
}

// Flush implements broker.Broker.
func (b *Broker) Flush(token uint64) { b.subscriber.flush(token) }

// Name implements broker.Broker. The name is a random id that Redis keeps under the prefix.
func (b *Broker) Name() string { return b.name.get() }

// Cause returns the error because of which Redis is away, or nil if Redis is there.
func (b *Broker) Cause() error { return b.state.because() }

// Missing returns the permissions that relays use and that the last check found missing.
func (b *Broker) Missing() []string { return b.state.lacking() }

// clientLog writes go-redis' own messages to the log. It writes them at debug level, since the
// absences and returns of Redis are logged by the types state and Cluster.
type clientLog struct{ log *slog.Logger }

func (l clientLog) Printf(ctx context.Context, format string, v ...any) {
	if l.log.Enabled(ctx, slog.LevelDebug) {
		l.log.DebugContext(ctx, "redis client", "detail", fmt.Sprintf(format, v...))
	}
}
