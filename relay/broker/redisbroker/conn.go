package redisbroker

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// errRedial keeps go-redis from connecting again behind our back: a lost subscription must be seen as lost.
var errRedial = errors.New("the subscriber's connection was lost")

// subscriberClient returns a client that connects once, over a connection on which silence is an error.
func subscriberClient(opt *redis.Options) *redis.Client {
	o := *opt
	dial := redis.NewDialer(&o)
	var dialled atomic.Bool
	o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if dialled.Swap(true) {
			return nil, errRedial
		}
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return hearing{conn}, nil
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
