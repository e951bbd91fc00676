package redisbroker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// Cluster is a broker.Broker on a Redis Cluster: a Broker on each master that owns slots, and each topic at the one that owns its slot, where
// it is published and subscribed, so that what holds for one Redis holds for each topic.
type Cluster struct {
	target *target
	common
	answers  *queue[broker.Event] // to requests that no master was there for
	replicas *replicas
	sums     sums
	moved    chan struct{} // to the follower of the layout, when keys turn out to be elsewhere; one slot

	sink func(broker.Event) // set before use, then constant

	// No event about a topic is told while topics move: tellers hold it for reading, across sink, who moves them for writing. Taken before calls.
	events sync.RWMutex

	// What the caller's methods need; never held across sink. view is replaced with both held.
	calls  sync.RWMutex
	view   *view // nil until the layout was read, or could not be
	early  []func()
	wanted map[protocol.Topic]uint64 // tokens

	stateMu sync.Mutex // guards the following; held while telling, so that changes are told in order
	causes  map[string]error
	away    bool
}

var _ broker.Broker = (*Cluster)(nil)

// view says who owns which slot.
type view struct {
	layout
	owner  [slots]*shard // nil: nobody
	shards map[string]*shard
}

// shard is the Broker on one master. A master that has lost its slots is gone for good; if it gets some again it is another shard.
type shard struct {
	*Broker
	addr  string
	topic atomic.Pointer[protocol.Topic] // where it can be probed
	named atomic.Bool                    // it has the back end's name
	gone  bool                           // guarded by Cluster.stateMu

	stop  context.CancelFunc
	ended chan struct{}
}

func newCluster(t *target, c common) *Cluster {
	return &Cluster{
		target: t, common: c, answers: newQueue(func(*broker.Event) int { return 1 }), replicas: newReplicas(t, c.keys),
		sums: sums{pending: make(map[uint64]*sum)}, moved: make(chan struct{}, 1), wanted: make(map[protocol.Topic]uint64),
		causes: make(map[string]error),
	}
}

// Run implements broker.Broker. It may be called once, and returns nil.
func (c *Cluster) Run(ctx context.Context, sink func(broker.Event)) error {
	c.sink = sink
	var running sync.WaitGroup
	running.Go(func() { c.answer(ctx) })
	running.Go(func() { c.replicas.run(ctx, c.counted) })
	c.follow(ctx)
	running.Wait()
	return nil
}

// answer tells what no master was there for.
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

// errUnheard is of a master without a connection to wait for.
var errUnheard = errors.New("nothing was heard")

// errNoOwner answers requests for a topic whose slot nobody owns.
var errNoOwner = errors.New("no master of the cluster has this topic's slot")

// call runs f with calls held: for reading, once the layout is known; before, later, in the order of the calls.
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

func (c *Cluster) ownerLocked(t protocol.Topic) *shard { return c.view.owner[c.keys.slot(t)] }

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
func (c *Cluster) Subscribe(t protocol.Topic, token uint64) {
	c.calls.Lock()
	defer c.calls.Unlock()
	c.wanted[t] = token
	if c.view == nil {
		return
	}
	if s := c.ownerLocked(t); s != nil {
		s.Subscribe(t, token)
	}
}

// Unsubscribe implements broker.Broker.
func (c *Cluster) Unsubscribe(t protocol.Topic) {
	c.calls.Lock()
	defer c.calls.Unlock()
	delete(c.wanted, t)
	if c.view == nil {
		return
	}
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

// CountSubscribers implements broker.Broker: it adds up those of all masters, since others may subscribe anywhere, and of the replicas that
// answer.
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

// Flush implements broker.Broker. What somebody published at another node than the topic's master comes over the cluster's bus, and is not
// waited for.
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

// Name implements broker.Broker: a random id that the cluster keeps under the prefix.
func (c *Cluster) Name() string {
	if name := c.name.Load(); name != nil {
		return *name
	}
	return ""
}

// from returns the sink of s.
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
			c.tellDeaf(s)
		default:
			c.sink(e)
		}
	}
}

// counted adds a node's count to its sum.
func (c *Cluster) counted(e broker.Counted) { c.added(c.sums.add(e.Token, e.Count, e.Err)) }

func (c *Cluster) added(whole broker.Event) {
	if whole != nil {
		c.sink(whole)
	}
}

// tell passes on what the topic's owner says about it.
func (c *Cluster) tell(s *shard, t protocol.Topic, e broker.Event) {
	c.events.RLock()
	defer c.events.RUnlock()
	if c.ownerLocked(t) == s {
		c.sink(e)
	}
}

// tellDeaf tells that the subscriptions at s were lost.
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

// setState notes why the master s does not work, nil if it does.
func (c *Cluster) setState(s *shard, cause error) {
	c.stateMu.Lock()
	defer c.stateMu.Unlock()
	if !s.gone {
		c.causeLocked(s.addr, cause)
	}
}

// causeLocked notes why who, a master or the layout, does not work; stateMu must be held. The cluster is away while any part of it is: the
// topics there do not work.
func (c *Cluster) causeLocked(who string, cause error) {
	if cause != nil {
		c.causes[who] = fmt.Errorf("%s: %w", who, cause)
	} else {
		delete(c.causes, who)
	}
	if away := len(c.causes) > 0; away != c.away {
		c.away = away
		if away {
			c.log.Warn("redis is away", "cause", c.causes[who])
		} else {
			c.log.Info("redis is back")
		}
		c.sink(broker.State{Away: away, Cause: c.causes[who]})
	}
}

func (c *Cluster) isAway() bool {
	c.stateMu.Lock()
	defer c.stateMu.Unlock()
	return c.away
}
