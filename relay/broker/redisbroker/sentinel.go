package redisbroker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/edgerelay/edgerelay/shared/timing"
	"github.com/redis/go-redis/v9"
)

// sentinelTimeout is the time within which sentinels must answer. A dial first asks the sentinels,
// so sentinelTimeout is half of the time for a dial. sentinelsEvery is the pause between two polls
// of watchSentinels.
const (
	sentinelTimeout = dialTimeout / 2
	sentinelsEvery  = time.Second
)

// throughSentinels makes each connection that is opened with t.opt go to the master that the method
// poll finds. The connection fails if that server says that it is a replica.
func throughSentinels(t *target) {
	dial := t.opt.Dialer
	t.opt.Dialer = func(ctx context.Context, network, _ string) (net.Conn, error) {
		addr, err := t.askSentinels(ctx)
		if err != nil {
			return nil, err
		}
		return dial(ctx, network, addr)
	}
	t.opt.OnConnect = isMaster
	t.opt.Addr = t.master + " of " + strings.Join(t.addrs, ",") // for logs
}

// watchSentinels calls the given function whenever most of the sentinels begin to name another
// master. A relay must then leave the old master. The old master may live on, and take publications
// that are lost when it becomes a replica.
func (t *target) watchSentinels(ctx context.Context, switched func()) {
	for last := ""; ctx.Err() == nil; timing.Sleep(ctx, sentinelsEvery, nil) {
		addr, votes, err := t.poll(ctx)
		if err != nil || votes <= len(t.addrs)/2 {
			continue
		}
		if last != "" && addr != last {
			switched()
		}
		last = addr
	}
}

// errNoMaster says that the sentinels name no master, or name a replica. It counts as an absence,
// as if no server answered.
var errNoMaster = errors.New("no master")

// isMaster returns an error if the server says that it is a replica. The sentinels may not know yet
// that it is one.
func isMaster(ctx context.Context, conn *redis.Conn) error {
	info, err := conn.Info(ctx, "replication").Result()
	if err != nil && failureOf(err) == unreachable {
		return err
	}
	if field(info, "role") == "slave" {
		return fmt.Errorf("%w: the one that sentinels name is a replica", errNoMaster)
	}
	return nil // this is also the result if INFO is not permitted
}

// askSentinels returns the master's address, which poll finds.
func (t *target) askSentinels(ctx context.Context) (string, error) {
	addr, _, err := t.poll(ctx)
	return addr, err
}

// poll asks all sentinels for the master. It returns the address that is named most often, and how
// many sentinels name it. Once more than half of all sentinels agree, poll waits for no further
// answers.
func (t *target) poll(ctx context.Context) (best string, most int, err error) {
	ctx, cancel := context.WithTimeout(ctx, sentinelTimeout)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel() // runs before Wait, and ends the questions that are under way
	type answer struct {
		addr string
		err  error
	}
	answers := make(chan answer, len(t.addrs))
	for _, sentinel := range t.addrs {
		asking.Go(func() {
			addr, err := t.askSentinel(ctx, sentinel)
			answers <- answer{addr, err}
		})
	}
	votes := make(map[string]int)
	for range t.addrs {
		a := <-answers
		if a.err != nil {
			err = a.err
			continue
		}
		votes[a.addr]++
		if votes[a.addr] > most {
			best, most = a.addr, votes[a.addr]
		}
		if most > len(t.addrs)/2 {
			break
		}
	}
	if most == 0 {
		return "", 0, fmt.Errorf("%w: no sentinel names one: %v", errNoMaster, err)
	}
	return best, most, nil
}

func (t *target) askSentinel(ctx context.Context, sentinel string) (string, error) {
	opt := &redis.Options{Addr: sentinel, Username: t.sentinelUser, Password: t.sentinelPassword, TLSConfig: t.opt.TLSConfig}
	fixOptions(opt, t.names, t.secure)
	client := redis.NewSentinelClient(with(opt, sentinelTimeout))
	defer client.Close()
	defer context.AfterFunc(ctx, func() { client.Close() })() // interrupts a read
	addr, err := client.GetMasterAddrByName(ctx, t.master).Result()
	switch {
	case errors.Is(err, redis.Nil):
		return "", fmt.Errorf("sentinel %s knows no master %q", sentinel, t.master)
	case err != nil:
		return "", fmt.Errorf("sentinel %s: %w", sentinel, err)
	case len(addr) != 2:
		return "", fmt.Errorf("sentinel %s answers %q", sentinel, addr)
	}
	return net.JoinHostPort(addr[0], addr[1]), nil
}
