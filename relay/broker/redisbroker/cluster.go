package redisbroker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/redis/go-redis/v9"
)

// Cluster is a broker.Broker on a Redis Cluster. It has a Broker on each master that owns slots.
// The master that owns a topic's slot carries the topic's publications and its subscription.
type Cluster struct {
	target *target
	common
	answers  *queue[broker.Event] // answers to requests for which there was no master
	replicas *replicas
	sums     sums
	// The channel named moved gets a signal when a master says that a key is, or may be, on another
	// node. Its buffer holds one signal. After a signal, the method follow reads the layout soon.
	moved chan struct{}

	sink func(broker.Event) // set by Run, then constant

	// The lock named events is read-locked while a Received, Subscribed or Deaf of a shard is
	// passed to sink, and write-locked while topics move between shards. So no such event of a
	// shard is passed on during a move. A caller that needs both this lock and the lock named calls
	// takes this lock first.
	events sync.RWMutex

	// The lock named calls guards the fields view, early, wanted and begins. It is never held
	// during a call of sink. A caller that replaces the view holds both this lock and the lock
	// named events. So one of the two is enough to read the view.
	calls  sync.RWMutex
	view   *view                     // nil until the first attempt to read the layout has ended
	early  []func()                  // requests that came before the first view
	wanted map[protocol.Topic]uint64 // tokens of the subscriptions
	// The field begins has the topics whose first owner is to begin their epochs.
	begins map[protocol.Topic]struct{}

	// stateMu guards the following. It is held while sink is called with a State, so that these
	// events keep their order.
	stateMu sync.Mutex
	// The field named causes says why parts of the Redis Cluster are away. Its keys are the
	// addresses of masters, and the constant theCluster. The value for a master is the first cause
	// of the master's absence. The latest cause is in the state of that master's Broker.
	causes  map[string]error
	telling telling
	away    bool
}

var _ broker.Broker = (*Cluster)(nil)

// view is a layout with the shards of its masters.
type view struct {
	layout
	owner  [slots]*shard     // owner of each slot; nil if the slot has none
	shards map[string]*shard // the key is the address of the shard's master
}

// shard is the Broker on one master. When the master loses its slots, the shard ends. If the master
// gets slots again, it gets another shard.
type shard struct {
	*Broker
	addr   string
	probed atomic.Pointer[probed] // what the prober uses
	gone   bool                   // the shard left the view; guarded by Cluster.stateMu

	stop  context.CancelFunc
	ended chan struct{}
}

func newCluster(t *target, c common) *Cluster {
	return &Cluster{
		target: t, common: c, answers: newQueue(func(*broker.Event) int { return 1 }), replicas: newReplicas(t, c.keys, c.pubsub),
		sums: sums{pending: make(map[uint64]*sum)}, moved: make(chan struct{}, 1), wanted: make(map[protocol.Topic]uint64), begins: make(map[protocol.Topic]struct{}),
		causes: make(map[string]error),
	}
}

// Run implements broker.Broker. It may be called once. The only error that it returns wraps
// errForeign.
func (c *Cluster) Run(ctx context.Context, sink func(broker.Event)) error {
	defer c.target.names.Close()
	c.sink = sink
	ctx, refuse := context.WithCancelCause(ctx)
	defer refuse(nil)
	var running sync.WaitGroup
	neighbours := newNeighbours(c.anyNode, 0, c.common)
	running.Go(func() { refuseBy(refuse, neighbours.run(ctx)) })
	running.Go(func() { c.answer(ctx) })
	running.Go(func() { c.replicas.run(ctx, c.counted) })
	c.follow(ctx)
	running.Wait()
	return refusal(ctx)
}

// anyNode returns options for some node, a master if one is known. Any node will do, since a
// PUBLISH at one node reaches all nodes.
func (c *Cluster) anyNode() *redis.Options {
	opt := *c.target.opt
	opt.Addr = c.target.addrs[rand.N(len(c.target.addrs))]
	c.calls.RLock()
	defer c.calls.RUnlock()
	if c.view == nil {
		return &opt
	}
	for addr := range c.view.shards {
		opt.Addr = addr
		break
	}
	return &opt
}

// The method answer passes the events in Cluster.answers to Cluster.sink. It returns when ctx is
// done and the queue is empty.
func (c *Cluster) answer(ctx context.Context) {
	for {
		batch := c.answers.take(ctx, 1000, 1000)
		if batch == nil {
			return
		}
		for _, e := range batch {
			c.sink(e)
		}
	}
}

// errUnheard is the error of a flush at a master whose subscriber had no connection, or lost it.
var errUnheard = errors.New("nothing was heard")

// errNoOwner answers requests for which no master is known.
var errNoOwner = errors.New("no master of the cluster has this topic's slot")

// call runs f, with Cluster.calls locked, if there is a view. Otherwise it appends f to
// Cluster.early, and Cluster.move runs f as soon as there is a view.
func (c *Cluster) call(f func()) {
	c.calls.RLock()
	if c.view != nil {
		f()
		c.calls.RUnlock()
		return
	}
	c.calls.RUnlock()
	c.calls.Lock()
	defer c.calls.Unlock()
	if c.view != nil {
		f()
		return
	}
	c.early = append(c.early, f)
}

// ownerLocked returns the owner of a topic. It is nil if there is none, or no view yet.
func (c *Cluster) ownerLocked(t protocol.Topic) *shard {
	if c.view == nil {
		return nil
	}
	return c.view.owner[c.keys.slot(t)]
}

// Publish implements broker.Broker.
func (c *Cluster) Publish(p broker.Publish) {
	c.call(func() {
		if s := c.ownerLocked(p.Topic); s != nil {
			s.Publish(p)
		} else {
			c.answers.put(broker.Published{Token: p.Token, Err: errNoOwner})
		}
	})
}

// Subscribe implements broker.Broker.
func (c *Cluster) Subscribe(t protocol.Topic, token uint64, begin bool) {
	c.calls.Lock()
	defer c.calls.Unlock()
	c.wanted[t] = token
	delete(c.begins, t)
	switch s := c.ownerLocked(t); {
	case s != nil:
		s.Subscribe(t, token, begin)
	case begin:
		c.begins[t] = struct{}{}
	}
}

// Unsubscribe implements broker.Broker.
func (c *Cluster) Unsubscribe(t protocol.Topic) {
	c.calls.Lock()
	defer c.calls.Unlock()
	delete(c.wanted, t)
	delete(c.begins, t)
	if s := c.ownerLocked(t); s != nil {
		s.Unsubscribe(t)
	}
}

// ReadHistory implements broker.Broker.
func (c *Cluster) ReadHistory(t protocol.Topic, after protocol.Position, token uint64) {
	c.call(func() {
		if s := c.ownerLocked(t); s != nil {
			s.ReadHistory(t, after, token)
		} else {
			c.answers.put(broker.History{Token: token, Topic: t, Err: errNoOwner})
		}
	})
}

// Begin implements broker.Broker.
func (c *Cluster) Begin(t protocol.Topic, token uint64) {
	c.call(func() {
		if s := c.ownerLocked(t); s != nil {
			s.Begin(t, token)
		} else {
			c.answers.put(broker.Began{Token: token, Topic: t, Err: errNoOwner})
		}
	})
}

// CountSubscribers implements broker.Broker. It adds up the counts of all masters, and of the
// replicas that answer, since other programs may subscribe at any node. The subscribers of a
// sharded channel are only at the servers of the channel's slot. All servers are asked even for a
// sharded channel, since the slot may just have gone to another master.
func (c *Cluster) CountSubscribers(t protocol.Topic, token uint64) {
	c.call(func() {
		if len(c.view.shards) == 0 {
			c.answers.put(broker.Counted{Token: token, Err: errNoOwner})
			return
		}
		id := c.sums.begin(len(c.view.shards)+1, func(s *sum) broker.Event { return broker.Counted{Token: token, Count: s.count, Err: s.err} })
		for _, s := range c.view.shards {
			s.CountSubscribers(t, id)
		}
		c.replicas.count(t, id)
	})
}

// Flush implements broker.Broker. A Flushed does not cover a message that was published at another
// node than the master of the message's topic. Such a message comes over the bus between the nodes.
func (c *Cluster) Flush(token uint64) {
	c.call(func() {
		if len(c.view.shards) == 0 {
			c.answers.put(broker.Flushed{Token: token})
			return
		}
		flushed := func(s *sum) broker.Event { return broker.Flushed{Token: token, Heard: s.err == nil} }
		id := c.sums.begin(len(c.view.shards), flushed)
		for _, s := range c.view.shards {
			s.Flush(id)
		}
	})
}

// Name implements broker.Broker. The name is a random id that the Redis Cluster keeps under the
// prefix.
func (c *Cluster) Name() string { return c.name.get() }

// Cause returns the error because of which a part of the Redis Cluster is away, or nil if no part
// is away.
func (c *Cluster) Cause() error {
	c.stateMu.Lock()
	err := c.causes[theCluster]
	c.stateMu.Unlock()
	if err != nil {
		return err
	}
	c.calls.RLock()
	defer c.calls.RUnlock()
	if c.view == nil {
		return nil
	}
	for _, addr := range slices.Sorted(maps.Keys(c.view.shards)) {
		if err := c.view.shards[addr].Cause(); err != nil {
			return fmt.Errorf("%s: %w", addr, err)
		}
	}
	return nil
}

// Missing returns the permissions that relays use and that the last check of some master found
// missing.
func (c *Cluster) Missing() (list []string) {
	c.calls.RLock()
	defer c.calls.RUnlock()
	if c.view == nil {
		return nil
	}
	for _, s := range c.view.shards {
		list = append(list, s.Missing()...)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// The method named from makes the function to which the Broker of the shard s passes its events.
func (c *Cluster) from(s *shard) func(broker.Event) {
	return func(e broker.Event) {
		switch e := e.(type) {
		case broker.Counted:
			c.counted(e)
		case broker.Flushed:
			var err error
			if !e.Heard {
				err = errUnheard
			}
			c.added(c.sums.add(e.Token, 0, err))
		case broker.State:
			c.setState(s, e.Cause)
		case broker.Received:
			c.tell(s, e.Publication.Topic, e)
		case broker.Subscribed:
			c.tell(s, e.Topic, e)
		case broker.Deaf:
			if e.All {
				c.tellDeaf(s)
			} else {
				c.tell(s, e.Topic, e)
			}
		default:
			c.sink(e)
		}
	}
}

// The method named counted adds the count in e to the sum whose id is e.Token.
func (c *Cluster) counted(e broker.Counted) { c.added(c.sums.add(e.Token, e.Count, e.Err)) }

func (c *Cluster) added(whole broker.Event) {
	if whole != nil {
		c.sink(whole)
	}
}

// tell passes on an event of s about t, if s still owns t.
func (c *Cluster) tell(s *shard, t protocol.Topic, e broker.Event) {
	c.events.RLock()
	defer c.events.RUnlock()
	if c.ownerLocked(t) == s {
		c.sink(e)
	}
}

// tellDeaf is called when s has lost all its subscriptions. It passes on a Deaf for each of their
// topics.
func (c *Cluster) tellDeaf(s *shard) {
	c.events.RLock()
	defer c.events.RUnlock()
	var lost []protocol.Topic
	c.calls.RLock()
	for t := range c.wanted {
		if c.ownerLocked(t) == s {
			lost = append(lost, t)
		}
	}
	c.calls.RUnlock()
	for _, t := range lost {
		c.sink(broker.Deaf{Topic: t})
	}
}

// theCluster is the key in Cluster.causes for a fault of the layout.
const theCluster = "the cluster"

// setState notes why the master of s does not work. A nil cause says that the master works.
func (c *Cluster) setState(s *shard, cause error) {
	c.stateMu.Lock()
	defer c.stateMu.Unlock()
	if !s.gone {
		c.causeLocked(s.addr, cause)
	}
}

// causeLocked notes the cause for which a part of the Redis Cluster does not work. A nil cause says
// that the part works. The part is named by the argument who: a master's address, or theCluster.
// The Redis Cluster counts as away while any part does not work, since some topics then fail. The
// caller holds stateMu.
func (c *Cluster) causeLocked(who string, cause error) {
	if cause != nil {
		c.causes[who] = fmt.Errorf("%s: %w", who, cause)
	} else {
		delete(c.causes, who)
	}
	cause, away := c.causes[who], len(c.causes) > 0
	if away == c.away {
		if cause != nil && c.telling.due(cause) {
			c.log.Warn("redis is still away", "err", cause)
		}
		return
	}
	c.away = away
	if away {
		c.telling.begin(cause)
		c.log.Warn("redis is away", "err", cause)
	} else {
		c.log.Info("redis is back")
	}
	c.sink(broker.State{Away: away, Cause: cause})
}

func (c *Cluster) isAway() bool {
	c.stateMu.Lock()
	defer c.stateMu.Unlock()
	return c.away
}
