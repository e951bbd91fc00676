package redistest

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/test/loopback"
	"github.com/redis/go-redis/v9"
)

// slots is the number of slots of a Redis Cluster.
const slots = 16384

// Cluster is a Redis Cluster of a test's own: masters with equal shares of the slots, and one replica for each. Its methods are as Server's.
type Cluster struct {
	URL     string    // redis+cluster://host:port,…
	Servers []*Server // the masters at first, then their replicas in the same order

	t testing.TB
}

// StartCluster starts one with n masters, in which a dead master is replaced in one or two seconds. Its end is the test's.
func StartCluster(t testing.TB, n int) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	var addrs, bus []string
	for range 2 * n {
		_, port, _ := net.SplitHostPort(loopback.FreeAddr(t))
		s := Start(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-port", port)
		c.Servers, addrs, bus = append(c.Servers, s), append(addrs, s.Addr), append(bus, port)
	}
	c.URL = "redis+cluster://" + strings.Join(addrs, ",")
	for i, s := range c.Servers {
		c.do(s, "cluster", "set-config-epoch", i+1)
		if i < n {
			if err := s.Client().ClusterAddSlotsRange(t.Context(), i*slots/n, (i+1)*slots/n-1).Err(); err != nil {
				t.Fatal(err)
			}
		}
		if i > 0 {
			host, port, _ := net.SplitHostPort(addrs[i])
			c.do(c.Servers[0], "cluster", "meet", host, port, bus[i])
		}
	}
	c.await("all know all", func(s *Server) bool {
		return strings.Contains(s.Client().ClusterInfo(t.Context()).Val(), fmt.Sprintf("cluster_known_nodes:%d\r", 2*n))
	})
	for i, s := range c.Servers[n:] {
		c.do(s, "cluster", "replicate", c.Servers[i].Client().ClusterMyID(t.Context()).Val())
	}
	c.AwaitWell()
	return c
}

// AwaitWell waits until every node finds the cluster well, and every replica has its master's data.
func (c *Cluster) AwaitWell() {
	c.t.Helper()
	c.await("the cluster is well", func(s *Server) bool {
		ctx := c.t.Context()
		replication := s.Client().Info(ctx, "replication").Val()
		synced := strings.Contains(replication, "master_link_status:up") ||
			strings.Contains(replication, "role:master") && strings.Contains(replication, "connected_slaves:1")
		parts := layout(ctx, s)
		for _, part := range parts {
			synced = synced && len(part.Nodes) == 2
		}
		return synced && len(parts) > 0 && strings.Contains(s.Client().ClusterInfo(ctx).Val(), "cluster_state:ok")
	})
}

// Owner returns the server that owns a key's slot, as any node that runs says.
func (c *Cluster) Owner(key string) *Server {
	c.t.Helper()
	for _, asked := range c.Servers {
		if asked.cmd == nil {
			continue
		}
		ctx, cancel := context.WithTimeout(c.t.Context(), time.Second)
		slot, err := asked.Client().ClusterKeySlot(ctx, key).Result()
		parts := layout(ctx, asked)
		cancel()
		if err != nil {
			continue
		}
		for _, part := range parts {
			if int(slot) >= part.Start && int(slot) <= part.End {
				return c.at(part.Nodes[0])
			}
		}
	}
	c.t.Fatalf("redistest: no node knows who owns %s", key)
	return nil
}

// layout returns who owns which slots, as s says.
func layout(ctx context.Context, s *Server) []redis.ClusterSlot {
	//lint:ignore SA1019 CLUSTER SHARDS needs Redis 7
	return s.Client().ClusterSlots(ctx).Val()
}

func (c *Cluster) at(node redis.ClusterNode) *Server {
	for _, s := range c.Servers {
		if s.Addr == node.Addr {
			return s
		}
	}
	c.t.Fatalf("redistest: %s is none of the cluster", node.Addr)
	return nil
}

// await waits until every node that runs holds.
func (c *Cluster) await(what string, holds func(*Server) bool) {
	c.t.Helper()
	end := time.Now().Add(30 * time.Second)
	for _, s := range c.Servers {
		for s.cmd != nil && !holds(s) {
			if time.Now().After(end) {
				c.t.Fatalf("redistest: not in time: %s", what)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

func (c *Cluster) do(s *Server, args ...any) {
	c.t.Helper()
	if err := s.Client().Do(c.t.Context(), args...).Err(); err != nil {
		c.t.Fatalf("redistest: %v: %v", args, err)
	}
}
