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
// an error. It tells who it is connected to.
func subscriberClient(opt *redis.Options, i *identifier, connected func(identity)) *redis.Client {
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
	return oneConnection(&o, func(c net.Conn) net.Conn { return hearing{c} })
}

// publisherClient returns a client that connects once: what is said about the server goes for all that is sent to it.
func publisherClient(opt *redis.Options) *redis.Client {
	return oneConnection(opt, func(c net.Conn) net.Conn { return c })
}

// oneConnection returns a client that connects once. When that connection is lost, requests fail with errRedial, unsent.
func oneConnection(opt *redis.Options, wrap func(net.Conn) net.Conn) *redis.Client {
	o := *opt
	dial := o.Dialer
	if dial == nil {
		dial = redis.NewDialer(&o)
	}
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

// hearing is a connection whose reads end after silence. go-redis waits for publications without a deadline, and the kernel takes a
// quarter of an hour to notice that nobody is there any more; pings keep the other side talking.
type hearing struct{ net.Conn }

func (c hearing) SetReadDeadline(t time.Time) error { return c.Conn.SetReadDeadline(bounded(t)) }

func (c hearing) SetDeadline(t time.Time) error {
	if err := c.Conn.SetWriteDeadline(t); err != nil {
		return err
	}
	return c.SetReadDeadline(t)
}

func bounded(t time.Time) time.Time {
	if t.IsZero() {
		return time.Now().Add(silence)
	}
	return t
}
