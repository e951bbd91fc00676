package redisbroker

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// errRedial keeps go-redis from connecting again behind our back.
var errRedial = errors.New("the connection was lost")

// subscriberClient returns a client that connects once, since a lost subscription must be seen as lost, over a connection on which silence is
// an error: go-redis waits for publications without a deadline, and the kernel takes a quarter of an hour to notice that nobody is there any
// more; pings keep the other side talking. It tells the connection, and who it is connected to.
func subscriberClient(opt *redis.Options, i *identifier, dialled func(net.Conn), connected func(identity)) *redis.Client {
	o := *opt
	o.ReadTimeout = dialTimeout // of the handshake; then it is silence
	o.OnConnect = func(ctx context.Context, conn *redis.Conn) error {
		if opt.OnConnect != nil {
			if err := opt.OnConnect(ctx, conn); err != nil {
				return err
			}
		}
		who, err := i.read(ctx, conn)
		connected(who)
		return err
	}
	return oneConnection(&o, func(c net.Conn) net.Conn {
		c = patiently(c, silence, nil)
		dialled(c)
		return c
	})
}

// publisherClient returns a client that connects once: what is said about the server goes for all that is sent to it. Its timeouts are of
// silence, with grace.
func publisherClient(opt *redis.Options, grace func() time.Duration) *redis.Client {
	return oneConnection(with(opt, publishTimeout), func(c net.Conn) net.Conn { return patiently(c, 0, grace) })
}

// readerClient returns a client whose timeouts are of silence.
func readerClient(opt *redis.Options) *redis.Client {
	o := *opt
	dial := dialer(&o)
	o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return patiently(conn, 0, nil), nil
	}
	return redis.NewClient(&o)
}

// oneConnection returns a client that connects once. When that connection is lost, requests fail with errRedial, unsent.
func oneConnection(opt *redis.Options, wrap func(net.Conn) net.Conn) *redis.Client {
	o := *opt
	dial := dialer(&o)
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

// dialer returns what opt dials with.
func dialer(opt *redis.Options) func(ctx context.Context, network, addr string) (net.Conn, error) {
	if opt.Dialer != nil {
		return opt.Dialer
	}
	return redis.NewDialer(opt)
}
