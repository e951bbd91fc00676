package redisbroker

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// errRedial is the error of each dial after the first, for a client that may connect only once.
var errRedial = errors.New("the connection was lost")

// subscriberClient returns a client that connects once, so that a lost connection shows as an
// error. When the connection is made, the client passes it to the function dialled. The client then
// asks the server for its identity, and passes the answer to the function opened. The identity is
// zero if the server does not tell it.
//
// The receiver sets no deadline while it waits for publications, and the kernel may take a quarter
// of an hour to notice that the other side is gone. So the connection also ends when nothing has
// come for the time that the constant silence says. A healthy server always sends something sooner:
// the relay's own probes or, while there are none, answers to pings.
func subscriberClient(opt *redis.Options, i *identifier, dialled func(patientConn), opened func(connected)) *redis.Client {
	o := *opt
	o.ReadTimeout = dialTimeout // for the handshake; after it, the constant silence applies
	o.OnConnect = func(ctx context.Context, conn *redis.Conn) error {
		if opt.OnConnect != nil {
			if err := opt.OnConnect(ctx, conn); err != nil {
				return err
			}
		}
		replacements := i.replacements.Load()
		who, err := i.read(ctx, conn)
		opened(connected{who, replacements})
		return err
	}
	return oneConnection(&o, func(c net.Conn) net.Conn {
		p := patiently(c, silence, nil)
		dialled(p)
		return p
	})
}

// publisherClient returns a client that connects once, so that all its requests go to the server
// whose identity was read. Its timeouts bound silence, not whole reads and writes. In a read, the
// time that grace returns is added to the timeout.
func publisherClient(opt *redis.Options, grace func() time.Duration) *redis.Client {
	return oneConnection(with(opt, publishTimeout), func(c net.Conn) net.Conn { return patiently(c, 0, grace) })
}

// readerClient returns a client whose timeouts bound silence, not whole reads and writes.
func readerClient(opt *redis.Options) *redis.Client {
	o := *opt
	dial := o.Dialer
	o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return patiently(conn, 0, nil), nil
	}
	return redis.NewClient(&o)
}

// oneConnection returns a client that connects once. After that connection was lost, or dialling
// failed, requests fail with errRedial and are not sent. The function wrap wraps the connection.
func oneConnection(opt *redis.Options, wrap func(net.Conn) net.Conn) *redis.Client {
	o := *opt
	dial := o.Dialer
	var dialled atomic.Bool
	o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if dialled.Swap(true) {
			return nil, errRedial
		}
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return wrap(conn), nil
	}
	return redis.NewClient(&o)
}

// line holds the client of one goroutine. Call renew when Redis could not be reached, so that the
// next request dials. The pool of the old client may fail requests without dialling, even if Redis
// is back: once as many dials have failed as the pool has places, the pool repeats its last error
// for up to a second.
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

// newLineOf returns a line that calls open to make each of its clients.
func newLineOf(open func() *redis.Client) *line { return &line{open: open, client: open()} }

// get returns the client, which may be used until renew or close.
func (l *line) get() *redis.Client {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.client
}

// renew replaces the client, unless the line is closed.
func (l *line) renew() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.client.Close()
		l.client = l.open()
	}
}

// The method named after compares the number of outages so far with the number that its last call
// was given. If they differ, it renews the client and returns true. Call it before requests: a
// connection from before an outage may be dead without having failed yet.
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

// closeWhen closes l when ctx is done, or when the returned function is called.
func (l *line) closeWhen(ctx context.Context) func() { return closeWhen(ctx, l.close) }

// closeWhen calls the function end when ctx is done, to interrupt reads and writes under way. It
// returns a function that must be called once. The returned function calls end if closeWhen has not
// called it. If closeWhen has called it, the returned function waits until that call is over.
func closeWhen(ctx context.Context, end func()) func() {
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		end()
	})
	return func() {
		if stop() {
			end()
			return
		}
		<-ended
	}
}

// closeSubscriber returns a function that closes the connection of sub. That function may be called
// while others read or write on the connection. It closes the client first, which interrupts reads
// and writes. Otherwise sub.Close might wait long for its lock, which is held during a write.
func closeSubscriber(client *redis.Client, sub *redis.PubSub) func() {
	return func() {
		client.Close()
		sub.Close()
	}
}
