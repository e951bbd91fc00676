package redisbroker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/redis/go-redis/v9"
)

// layout is what a node of a cluster says about it.
type layout struct {
	epoch    int64    // later after each change of owners that the cluster agreed on
	owners   []string // by slot: addresses of masters; "" for none
	replicas []string // sorted
	ids      []string // of all these nodes, sorted
}

// How often the layout is read, and how long a node has to tell it.
const (
	layoutEvery   = time.Second
	layoutAway    = 100 * time.Millisecond // while something is away; the shortest, too
	layoutTimeout = 500 * time.Millisecond
)

// follow keeps the view as the cluster is, until ctx is done; then all shards have ended.
func (c *Cluster) follow(ctx context.Context) {
	reader := &layoutReader{target: c.target, log: c.log}
	defer reader.close()
	for ctx.Err() == nil {
		l, err := reader.read(ctx)
		switch {
		case ctx.Err() != nil:
		case err == nil:
			c.adopt(ctx, l)
		case c.view == nil: // only this goroutine replaces it
			c.adopt(ctx, layout{})
		}
		c.stateMu.Lock()
		c.causeLocked("the cluster", c.unwell(ctx, err))
		c.stateMu.Unlock()
		pause := layoutEvery
		if c.isAway() {
			pause = layoutAway
		}
		if waitOr(ctx, pause, c.moved) {
			wait(ctx, layoutAway)
		}
	}
	if c.view != nil {
		for _, s := range c.view.shards {
			<-s.ended
		}
	}
}

// unwell returns why the view does not do, nil if it does. A layout that cannot be read now may still hold: masters speak for themselves.
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

// adopt makes l the view: shards begin and end, and topics move.
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

// arrange finds or makes the shard of each master, and says what it has.
func (c *Cluster) arrange(next, old *view) {
	probed := make(map[*shard]bool)
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
	for _, s := range next.shards {
		s.named.Store(next.owner[slot(c.keys.cluster())] == s)
	}
	for n := 0; len(probed) < len(next.shards); n++ {
		t := probeTopic + protocol.Topic(":"+strconv.Itoa(n))
		if s := next.owner[c.keys.slot(t)]; s != nil && !probed[s] {
			probed[s] = true
			s.topic.Store(&t)
		}
	}
}

func (c *Cluster) newShard(addr string) *shard {
	s := &shard{addr: addr, ended: make(chan struct{})}
	opt := *c.target.opt
	opt.Addr = addr
	s.Broker = newBroker(&opt, c.common, place{topic: func() protocol.Topic { return *s.topic.Load() }, named: s.named.Load, moved: c.moved})
	return s
}

func (c *Cluster) begin(ctx context.Context, s *shard) {
	ctx, s.stop = context.WithCancel(ctx)
	go func() { // awaited by end or follow
		defer close(s.ended)
		_ = s.Run(ctx, c.from(s)) // nil
	}()
}

// end stops a shard that is no more in the view; it answers what it still has.
func (c *Cluster) end(s *shard) {
	c.stateMu.Lock()
	s.gone = true
	c.causeLocked(s.addr, nil)
	c.stateMu.Unlock()
	s.stop()
	<-s.ended
}

// move replaces the view. Topics whose slot has another owner are deaf until it has confirmed them.
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
			to.Subscribe(t, token)
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

// layoutReader asks one node, and another one when that does not tell.
type layoutReader struct {
	target *target
	log    *slog.Logger
	line   *line
	addr   string
	known  []string // all nodes that were told of
	belief belief
}

// read returns the cluster's layout, from the node that told it last, or the first that does.
func (r *layoutReader) read(ctx context.Context) (l layout, err error) {
	candidates := slices.Concat([]string{r.addr}, r.known, r.target.addrs)
	var unsure *layout
	var behind []layout
	for i, addr := range candidates {
		if addr == "" || slices.Contains(candidates[:i], addr) || ctx.Err() != nil {
			continue
		}
		r.use(addr)
		one, ok, oneErr := r.ask(ctx)
		if oneErr == nil && r.belief.behind(one) {
			oneErr = errBehind
			if ok {
				behind = append(behind, one)
			}
		}
		switch {
		case oneErr != nil:
			err = fmt.Errorf("%s: %w", addr, oneErr)
			r.line.renew()
		case ok:
			r.keep(one)
			return one, nil
		case unsure == nil:
			unsure = &one
		}
	}
	if unsure != nil {
		r.belief.confirmed()
		return *unsure, nil
	}
	if r.belief.anew(behind, time.Now()) {
		r.log.Warn("redis cluster: these are other nodes than before, and none of those is left: it is taken to be made anew")
		r.keep(behind[0])
		return behind[0], nil
	}
	if err == nil {
		err = context.Cause(ctx)
	}
	return layout{}, err
}

func (r *layoutReader) keep(l layout) {
	r.belief.keep(l)
	r.known = slices.Clone(l.replicas)
	for i, owner := range l.owners {
		if owner != "" && (i == 0 || owner != l.owners[i-1]) {
			r.known = append(r.known, owner)
		}
	}
	slices.Sort(r.known)
	r.known = slices.Compact(r.known)
}

// use makes addr the node that is asked.
func (r *layoutReader) use(addr string) {
	if r.addr == addr {
		return
	}
	r.close()
	opt := *with(r.target.opt, layoutTimeout)
	opt.Addr, opt.DialTimeout = addr, layoutTimeout
	r.addr, r.line = addr, newLine(&opt)
}

func (r *layoutReader) close() {
	if r.line != nil {
		r.line.close()
	}
}

// ask asks the node. ok: it says that the cluster works.
func (r *layoutReader) ask(ctx context.Context) (l layout, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, layoutTimeout)
	defer cancel()
	pipe := r.line.get().Pipeline()
	info, owners := pipe.ClusterInfo(ctx), pipe.ClusterSlots(ctx)
	_, _ = pipe.Exec(ctx) // each command has its own error
	if err := errors.Join(info.Err(), owners.Err()); err != nil {
		return layout{}, false, err
	}
	l.owners = make([]string, slots)
	l.epoch, _ = strconv.ParseInt(field(info.Val(), "cluster_current_epoch"), 10, 64)
	for _, part := range owners.Val() {
		for i, node := range part.Nodes {
			addr := r.reach(node)
			l.ids = append(l.ids, node.ID)
			if i > 0 {
				l.replicas = append(l.replicas, addr)
				continue
			}
			for s := max(part.Start, 0); s <= part.End && s < slots; s++ {
				l.owners[s] = addr
			}
		}
	}
	slices.Sort(l.replicas)
	l.replicas = slices.Compact(l.replicas)
	slices.Sort(l.ids)
	l.ids = slices.Compact(l.ids)
	return l, field(info.Val(), "cluster_state") == "ok", nil
}

// reach returns the address of a node; one that does not know its own is where it was asked.
func (r *layoutReader) reach(node redis.ClusterNode) string {
	host, port, err := net.SplitHostPort(node.Addr)
	if err == nil && host == "" {
		host, _, _ = net.SplitHostPort(r.addr)
		return net.JoinHostPort(host, port)
	}
	return node.Addr
}
