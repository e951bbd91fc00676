package redisbroker

import (
	"context"
	"sync"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/redis/go-redis/v9"
)

// replicas counts subscribers at a cluster's replicas: ours are none of them, but a classic PUBLISH reaches every node, and so others may
// subscribe there. One that does not answer in time counts nothing, and is not asked again for a while.
type replicas struct {
	target *target
	keys   keys
	queue  *queue[ask]

	mu    sync.Mutex // guards the following
	lines map[string]*replicaLine
}

type replicaLine struct {
	*line
	rests time.Time // until when it is not asked; owned by run
}

const (
	replicaTimeout = 300 * time.Millisecond
	replicaRest    = 5 * time.Second
)

func newReplicas(t *target, k keys) *replicas {
	return &replicas{target: t, keys: k, queue: newQueue((*ask).weight), lines: make(map[string]*replicaLine)}
}

// count asks for the subscribers of t at all replicas. Answered by run.
func (r *replicas) count(t protocol.Topic, token uint64) {
	r.queue.put(ask{kind: askCount, topic: t, token: token})
}

// become says which replicas there are.
func (r *replicas) become(addrs []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.lines
	r.lines = make(map[string]*replicaLine)
	for _, addr := range addrs {
		if l := old[addr]; l != nil {
			r.lines[addr] = l
			delete(old, addr)
			continue
		}
		opt := *with(r.target.opt, replicaTimeout)
		opt.Addr, opt.DialTimeout = addr, replicaTimeout
		r.lines[addr] = &replicaLine{line: newLine(&opt)}
	}
	for _, l := range old {
		l.close()
	}
}

func (r *replicas) run(ctx context.Context, answer func(broker.Counted)) {
	for {
		batch := r.queue.take(ctx, asksAtOnce, asksAtOnce)
		if batch == nil {
			r.become(nil)
			return
		}
		for i, n := range r.ask(ctx, batch) {
			answer(broker.Counted{Token: batch[i].token, Count: n})
		}
	}
}

// ask asks all replicas at once.
func (r *replicas) ask(ctx context.Context, batch []ask) []int64 {
	r.mu.Lock()
	lines := make([]*replicaLine, 0, len(r.lines))
	for _, l := range r.lines {
		if time.Now().After(l.rests) {
			lines = append(lines, l)
		}
	}
	r.mu.Unlock()
	counts := make([][]int64, len(lines))
	var asking sync.WaitGroup
	for i, l := range lines {
		asking.Go(func() { counts[i] = l.count(ctx, r.keys, batch) })
	}
	asking.Wait()
	total := make([]int64, len(batch))
	for _, count := range counts {
		for i, n := range count {
			total[i] += n
		}
	}
	return total
}

func (l *replicaLine) count(ctx context.Context, k keys, batch []ask) []int64 {
	ctx, cancel := context.WithTimeout(ctx, replicaTimeout)
	defer cancel()
	pipe := l.get().Pipeline()
	cmds := make([]*redis.MapStringIntCmd, len(batch))
	for i, q := range batch {
		cmds[i] = pipe.PubSubNumSub(ctx, k.channel(q.topic))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		l.rests = time.Now().Add(replicaRest)
		l.renew()
		return nil
	}
	counts := make([]int64, len(batch))
	for i, q := range batch {
		counts[i] = cmds[i].Val()[k.channel(q.topic)]
	}
	return counts
}
