package redisbroker

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/shared/timing"
)

// follow keeps the view up to date until ctx is done. When it returns, all shards have ended.
func (c *Cluster) follow(ctx context.Context) {
	reader := &layoutReader{target: c.target, log: c.log}
	defer reader.close()
	for ctx.Err() == nil {
		l, err := reader.read(ctx)
		switch {
		case ctx.Err() != nil:
		case err == nil:
			c.adopt(ctx, l)
		case c.view == nil: // read without a lock: only this goroutine replaces the view
			c.adopt(ctx, layout{})
		}
		c.stateMu.Lock()
		c.causeLocked(theCluster, c.unwell(ctx, err))
		c.stateMu.Unlock()
		pause := layoutEvery
		if c.isAway() {
			pause = layoutAway
		}
		if !timing.Sleep(ctx, pause, c.moved) {
			timing.Sleep(ctx, layoutAway, nil)
		}
	}
	if c.view != nil {
		for _, s := range c.view.shards {
			<-s.ended
		}
	}
}

// unwell returns what is wrong with the view, or nil. It returns an error if a slot has no master.
// If no master is known and the last read of the layout failed, unwell returns err, the error of
// that read. If masters are known, a failed read is no fault, since the state of each master tells
// whether that master works.
func (c *Cluster) unwell(ctx context.Context, err error) error {
	if c.view == nil || ctx.Err() != nil {
		return nil
	}
	if len(c.view.shards) == 0 && err != nil {
		return err
	}
	for i, owner := range c.view.owners {
		if owner == "" {
			return fmt.Errorf("slot %d, and maybe others, have no master", i)
		}
	}
	return nil
}

// adopt makes l the view. If the view already has the owners and replicas of l, adopt does nothing.
// Otherwise it starts shards of new masters, moves topics, and ends shards of masters that have
// lost their slots.
func (c *Cluster) adopt(ctx context.Context, l layout) {
	if c.view != nil && slices.Equal(c.view.owners, l.owners) && slices.Equal(c.view.replicas, l.replicas) {
		return
	}
	next := &view{layout: l, shards: make(map[string]*shard)}
	old := c.view
	if old == nil {
		old = &view{}
	}
	c.arrange(next, old)
	c.earlier.restart()
	c.replicas.become(l.replicas)
	for addr, s := range next.shards {
		if old.shards[addr] == nil {
			c.log.Info("redis cluster: a master with slots", "redis", addr)
			c.begin(ctx, s)
		}
	}
	c.move(next, old)
	for addr, s := range old.shards {
		if next.shards[addr] == nil {
			c.log.Info("redis cluster: a master without slots", "redis", addr)
			c.end(s)
		}
	}
}

// arrange sets the shards of the new view, which is the argument next. A master keeps the shard
// that it has in the old view. A master that has no shard there gets a new one. arrange also sets
// what the prober of each shard uses. The prober of the master that keeps the back end's name uses
// a topic in the slot of the name's key.
func (c *Cluster) arrange(next, old *view) {
	has := make(map[*shard]bool) // shards whose field probed is set
	for i, addr := range next.owners {
		if addr == "" {
			continue
		}
		s := next.shards[addr]
		if s == nil {
			if s = old.shards[addr]; s == nil {
				s = c.newShard(addr)
			}
			next.shards[addr] = s
		}
		next.owner[i] = s
	}
	earlier := make(map[*shard]protocol.Topic)
	for n := 0; len(earlier) < len(next.shards); n++ {
		t := earlierProbeTopicIn(n)
		if s := next.owner[c.keys.slot(t)]; s != nil && earlier[s] == "" {
			earlier[s] = t
		}
	}
	probe := func(s *shard, tag string, named bool) {
		if s != nil && !has[s] {
			has[s] = true
			s.probed.Store(&probed{probeTopicIn(tag), earlier[s], named})
		}
	}
	probe(next.owner[slot(c.keys.cluster())], c.keys.clusterTag(), true)
	for n := 0; len(has) < len(next.shards); n++ {
		tag := strconv.Itoa(n)
		probe(next.owner[slot(tag)], tag, false)
	}
}

func (c *Cluster) newShard(addr string) *shard {
	s := &shard{addr: addr, ended: make(chan struct{})}
	opt := *c.target.opt
	opt.Addr = addr
	s.Broker = newBroker(&opt, c.common, role{probed: func() probed { return *s.probed.Load() }, moved: c.moved})
	return s
}

func (c *Cluster) begin(ctx context.Context, s *shard) {
	ctx, s.stop = context.WithCancel(ctx)
	go func() { // Cluster.end and Cluster.follow wait for this goroutine
		defer close(s.ended)
		_ = s.Run(ctx, c.from(s)) // an error is the relay's refusal, which Cluster.Run returns
	}()
}

// The method end stops a shard that left the view, and waits until the shard has answered its last
// requests.
func (c *Cluster) end(s *shard) {
	c.stateMu.Lock()
	s.gone = true
	c.causeLocked(s.addr, nil)
	c.stateMu.Unlock()
	s.stop()
	<-s.ended
}

// move replaces the view, and moves the topics whose slot has another owner than before. Such a
// topic is deaf until its new owner confirms the subscription. When the new view is in place, move
// also runs the requests in Cluster.early.
func (c *Cluster) move(next, old *view) {
	c.events.Lock()
	defer c.events.Unlock()
	var deaf []protocol.Topic
	c.calls.Lock()
	c.view = next
	for t, token := range c.wanted {
		at := c.keys.slot(t)
		from, to := old.owner[at], next.owner[at]
		if from == to {
			continue
		}
		if from != nil {
			from.Unsubscribe(t)
			deaf = append(deaf, t)
		}
		if to != nil {
			_, begin := c.begins[t]
			delete(c.begins, t)
			to.Subscribe(t, token, begin)
		}
	}
	for _, f := range c.early {
		f()
	}
	c.early = nil
	c.calls.Unlock()
	for _, t := range deaf {
		c.sink(broker.Deaf{Topic: t})
	}
}
