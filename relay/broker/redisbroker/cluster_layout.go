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

	"github.com/redis/go-redis/v9"
)

// layout describes a Redis Cluster, as one of the nodes tells it.
type layout struct {
	changes  int64    // Redis' cluster_current_epoch, which counts changes of owners
	owners   []string // address of each slot's master; "" for none
	replicas []string // addresses of the replicas, sorted
	ids      []string // node ids of masters and replicas, sorted
}

// These constants say how often the layout is read, and how soon a node must tell its layout.
const (
	layoutEvery = time.Second
	// layoutAway is the pause before the next read if a part of Redis is away, or after a signal on
	// Cluster.moved.
	layoutAway    = 100 * time.Millisecond
	layoutTimeout = 500 * time.Millisecond
)

// layoutReader asks one node after the other for the layout, until a node tells a layout that
// counts.
type layoutReader struct {
	target *target
	log    *slog.Logger
	line   *line
	addr   string
	known  []string // all nodes of the last believed layout
	belief belief
}

// read returns the layout of the Redis Cluster. It asks one node after the other, beginning with
// the node that it asked last. It returns the first layout of a node that finds the Redis Cluster
// working. If there is no such node, it returns the first layout that any node told. A layout that
// is behind the believed one (see belief.behind) counts only if the Redis Cluster was made anew.
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

// The method use makes the node at addr the one to ask.
func (r *layoutReader) use(addr string) {
	if r.addr == addr {
		return
	}
	r.close()
	r.addr, r.line = addr, newLine(node(r.target.opt, addr, layoutTimeout))
}

func (r *layoutReader) close() {
	if r.line != nil {
		r.line.close()
	}
}

// ask asks the node at r.addr. The result ok says whether that node finds the Redis Cluster
// working.
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
	l.changes, _ = strconv.ParseInt(field(info.Val(), "cluster_current_epoch"), 10, 64)
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

// reach returns the address of a node. A node that does not know its own host is at the host of the
// node that was asked.
func (r *layoutReader) reach(node redis.ClusterNode) string {
	host, port, err := net.SplitHostPort(node.Addr)
	if err == nil && host == "" {
		host, _, _ = net.SplitHostPort(r.addr)
		return net.JoinHostPort(host, port)
	}
	return node.Addr
}

// belief describes the latest layout that was believed.
type belief struct {
	changes int64
	ids     []string

	// The field unconfirmed is the time since which the method anew has been told of one new Redis
	// Cluster, and of nothing else. It is zero in all other cases, for example while no node
	// answers.
	unconfirmed time.Time
}

// anewAfter is the time after which a new Redis Cluster is believed. For that long, all nodes that
// answer and find their Redis Cluster working must have told of the new one. Until then, their
// layouts count as a mistake.
const anewAfter = 3 * time.Second

// errBehind is the error for a layout that is behind the believed one. The node that told it may be
// cut off from the nodes that changed the layout.
var errBehind = errors.New("this node knows an older layout of the cluster")

// The method named behind reports whether l counts fewer changes than the believed layout. Then l
// is older, or is of another Redis Cluster.
func (b *belief) behind(l layout) bool { return l.changes < b.changes }

// The method keep makes l the believed layout.
func (b *belief) keep(l layout) { *b = belief{changes: l.changes, ids: l.ids} }

// The method named confirmed sets the field unconfirmed to zero. It is called when a node has told
// a layout that is not behind the believed one.
func (b *belief) confirmed() { b.unconfirmed = time.Time{} }

// anew reports whether the Redis Cluster was made anew, so that a new layout replaces the believed
// one. The argument named told has the layouts of all nodes that answer and find their Redis
// Cluster working. All of these layouts are behind the believed one.
//
// A node that was only cut off names nodes that are known, itself among them. Its layout is never
// believed, even if no other node answers for a long time. The layout of a Redis Cluster that was
// made anew names only unknown nodes, and counts changes from the start. It is believed once the
// nodes have agreed on all owners for the time anewAfter.
func (b *belief) anew(told []layout, now time.Time) bool {
	known := func(id string) bool { return id == "" || slices.Contains(b.ids, id) }
	for _, l := range told {
		if slices.ContainsFunc(l.ids, known) || !slices.Equal(l.owners, told[0].owners) {
			b.unconfirmed = time.Time{}
			return false
		}
	}
	switch {
	case len(told) == 0:
		b.unconfirmed = time.Time{}
		return false
	case b.unconfirmed.IsZero():
		b.unconfirmed = now
	}
	return now.Sub(b.unconfirmed) >= anewAfter
}
