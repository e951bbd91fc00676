package redisbroker

import (
	"context"
	"sync"

	"github.com/redis/go-redis/v9"
)

// line is the client of one goroutine. It is to be renewed when Redis could not be reached: once dialling has failed as often as a go-redis
// pool has places, the pool repeats the last error for up to a second instead of dialling, although Redis may be back.
type line struct {
	open func() *redis.Client

	mu      sync.Mutex // guards the following
	client  *redis.Client
	closed  bool
	outages uint64
}

func newLine(opt *redis.Options) *line {
	return newLineOf(func() *redis.Client { return redis.NewClient(opt) })
}

// newLineOf returns a line whose clients are made by open.
func newLineOf(open func() *redis.Client) *line { return &line{open: open, client: open()} }

// get returns the client, good until renew.
func (l *line) get() *redis.Client {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.client
}

// renew replaces the client.
func (l *line) renew() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.client.Close()
		l.client = l.open()
	}
}

// after renews the client, and says so, if there were other outages than the last one it is told of: a connection from before them may be dead
// without knowing.
func (l *line) after(outages uint64) bool {
	l.mu.Lock()
	known := l.outages == outages
	l.outages = outages
	l.mu.Unlock()
	if !known {
		l.renew()
	}
	return !known
}

func (l *line) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.client.Close()
}

// closeWhen closes l when ctx is done, which interrupts what is under way. The function that it returns does so too, and waits for it.
func (l *line) closeWhen(ctx context.Context) func() {
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		l.close()
	})
	return func() {
		if stop() {
			l.close()
			return
		}
		<-closed
	}
}
