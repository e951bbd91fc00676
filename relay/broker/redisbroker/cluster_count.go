package redisbroker

import (
	"context"
	"sync"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/redis/go-redis/v9"
)

// The type replicas is the part of a Cluster that counts subscribers at replicas. Relays subscribe
// to no topics at replicas, but other programs may. These programs hear what is published: a
// PUBLISH at any node reaches all nodes, and an SPUBLISH at a master reaches that master's
// replicas. A replica that fails to answer in time adds nothing to the count. It is not asked again
// before the duration replicaIdle has passed.
type replicas struct {
	target *target
	keys   keys
	pubsub pubsub
	queue  *queue[ask]

	mu    sync.Mutex // guards the following
	lines map[string]*replicaLine
}

type replicaLine struct {
	*line
	idleUntil time.Time // time before which nobody asks the replica; owned by replicas.run
}

const (
	replicaTimeout = 300 * time.Millisecond
	replicaIdle    = 5 * time.Second
)

func newReplicas(t *target, k keys, p pubsub) *replicas {
	return &replicas{target: t, keys: k, pubsub: p, queue: newQueue((*ask).weight), lines: make(map[string]*replicaLine)}
}

// count asks the replicas how many subscribers t has. It does not wait. The method run passes the
// count on as a Counted with this token.
func (r *replicas) count(t protocol.Topic, token uint64) {
	r.queue.put(ask{kind: askCount, topic: t, token: token})
}

// The method become sets the addresses of the replicas. It closes the lines to all other addresses.
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
		r.lines[addr] = &replicaLine{line: newLine(node(r.target.opt, addr, replicaTimeout))}
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

// ask asks the replicas in parallel, and adds up their counts. It leaves out a replica whose
// idleUntil has not passed yet.
func (r *replicas) ask(ctx context.Context, batch []ask) []int64 {
	r.mu.Lock()
	lines := make([]*replicaLine, 0, len(r.lines))
	for _, l := range r.lines {
		if time.Now().After(l.idleUntil) {
			lines = append(lines, l)
		}
	}
	r.mu.Unlock()
	counts := make([][]int64, len(lines))
	var asking sync.WaitGroup
	for i, l := range lines {
		asking.Go(func() { counts[i] = l.count(ctx, r.keys, r.pubsub, batch) })
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

func (l *replicaLine) count(ctx context.Context, k keys, p pubsub, batch []ask) []int64 {
	ctx, cancel := context.WithTimeout(ctx, replicaTimeout)
	defer cancel()
	pipe := l.get().Pipeline()
	cmds := make([]*redis.MapStringIntCmd, len(batch))
	for i, q := range batch {
		cmds[i] = redis.NewMapStringIntCmd(ctx, "pubsub", p.count, k.channel(q.topic))
		_ = pipe.Process(ctx, cmds[i]) // the command is only queued
	}
	if _, err := pipe.Exec(ctx); err != nil {
		l.idleUntil = time.Now().Add(replicaIdle)
		l.renew()
		return nil
	}
	counts := make([]int64, len(batch))
	for i, q := range batch {
		counts[i] = cmds[i].Val()[k.channel(q.topic)]
	}
	return counts
}

// The type named sums holds unanswered requests that were divided into parts. Each part went to one
// master, or to all replicas together.
type sums struct {
	mu      sync.Mutex // guards the following
	last    uint64
	pending map[uint64]*sum
}

// sum is an unanswered request that was divided into parts. It adds up the answers to the parts.
type sum struct {
	left  int // answers that have not come yet
	count int64
	err   error                   // the last error
	whole func(*sum) broker.Event // makes the answer to the request
}

// begin returns an id for a request that has n parts. Once all parts are answered, the given
// function makes the answer to the request.
func (s *sums) begin(n int, whole func(*sum) broker.Event) (id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	s.pending[s.last] = &sum{left: n, whole: whole}
	return s.last
}

// add handles the answer to one part of a request. If it is the answer to the last part, add
// returns the answer to the whole request. Otherwise it returns nil.
func (s *sums) add(id uint64, count int64, err error) broker.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.pending[id]
	one.left--
	one.count += count
	if err != nil {
		one.err = err
	}
	if one.left > 0 {
		return nil
	}
	delete(s.pending, id)
	return one.whole(one)
}
