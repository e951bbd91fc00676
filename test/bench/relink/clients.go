package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edgerelay/edgerelay/test/bench/local"
)

// clients are the sessions: members of groups, the first of each group being its speaker.
type clients struct {
	speakers []*local.Socket
	all      []*local.Socket
	readers  sync.WaitGroup
	closing  atomic.Bool
	closed   atomic.Int64 // sockets that ended under us

	mu       sync.Mutex
	round    int
	heard    []time.Duration
	want     int
	began    time.Time
	complete chan struct{}
}

// connect opens the sessions, some at once.
func connect(ctx context.Context, edges [2]*local.Server, sessions, groups int) (*clients, error) {
	c := &clients{speakers: make([]*local.Socket, groups), all: make([]*local.Socket, sessions)}
	errs, next := make([]error, 16), atomic.Int64{}
	var workers sync.WaitGroup
	for w := range errs {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < sessions && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if err := c.open(i, i%groups, edges[i/groups%2].Addr); err != nil {
					errs[w] = err
					return
				}
			}
		})
	}
	workers.Wait()
	return c, errors.Join(append(errs, ctx.Err())...)
}

func (c *clients) open(i, group int, addr string) error {
	socket, err := local.Dial(addr, fmt.Sprintf("/chat/group/g%d/u%d", group, i))
	if err != nil {
		return err
	}
	c.all[i] = socket
	if i < len(c.speakers) {
		c.speakers[i] = socket
	}
	c.readers.Go(func() {
		for {
			text, err := socket.Text()
			if err != nil {
				if !c.closing.Load() {
					c.closed.Add(1)
				}
				return
			}
			c.hear(text)
		}
	})
	return nil
}

func (c *clients) hear(text []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !bytes.HasSuffix(text, fmt.Appendf(nil, "round %d", c.round)) {
		return
	}
	c.heard = append(c.heard, time.Since(c.began))
	if len(c.heard) == c.want {
		close(c.complete)
	}
}

// result is how long it took until a message of this round was heard.
type result struct{ median, last time.Duration }

// speak has every group's speaker send one message and waits until all others have heard it. Times count from began.
func (c *clients) speak(ctx context.Context, began time.Time) (r result, err error) {
	c.mu.Lock()
	c.round++
	c.heard, c.want, c.began, c.complete = nil, len(c.all)-len(c.speakers), began, make(chan struct{})
	text := fmt.Sprintf("round %d", c.round)
	c.mu.Unlock()
	for _, conn := range c.speakers {
		if err := conn.Send(text); err != nil {
			return r, err
		}
	}
	select {
	case <-c.complete:
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.heard) < c.want {
		return r, fmt.Errorf("%d of %d messages were heard", len(c.heard), c.want)
	}
	slices.Sort(c.heard)
	return result{median: c.heard[len(c.heard)/2], last: c.heard[len(c.heard)-1]}, nil
}

func (c *clients) close() {
	c.closing.Store(true)
	for _, conn := range c.all {
		if conn != nil {
			conn.Close()
		}
	}
	c.readers.Wait()
}
