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

// Cluster is a Redis Cluster of a test's own. At the start, each master has one replica, and all
// masters have about the same number of slots. Only the test's goroutine may call the methods,
// since they end the test if they fail.
type Cluster struct {
	URL     string    // redis+cluster://host:port,…, or rediss+cluster with TLS
	Servers []*Server // the initial masters, then their replicas in the same order

	t testing.TB
}

// StartCluster starts a Cluster with n masters. The Cluster ends with the test. On a busy machine a
// master may be silent for a while. So the nodes replace a master only after a silence of ten
// minutes (steady), unless the test calls Hasten.
func StartCluster(t testing.TB, n int) *Cluster {
	t.Helper()
	return startCluster(t, nil, n)
}

// StartClusterTLS is StartCluster for servers that speak nothing but TLS, even to each other.
func StartClusterTLS(t testing.TB, how TLS, n int) *Cluster {
	t.Helper()
	return startCluster(t, &how, n)
}

func startCluster(t testing.TB, how *TLS, n int) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	var addrs, bus []string
	for range 2 * n {
		_, port, _ := net.SplitHostPort(loopback.FreeAddr(t))
		options := plain([]string{
			"--cluster-enabled", "yes", "--cluster-port", port,
			// cluster-node-timeout also bounds how long a node waits for the answer to its CLUSTER
			// MEET. So it is one second (brisk) until the Cluster is complete, and ten minutes
			// (steady) from then on.
			"--cluster-node-timeout", fmt.Sprint(brisk.Milliseconds()),
		})
		if how != nil {
			options = append(options, "--tls-cluster", "yes")
		}
		s := start(t, how, nil, options)
		c.Servers, addrs, bus = append(c.Servers, s), append(addrs, s.Addr), append(bus, port)
	}
	c.URL = how.scheme() + "+cluster://" + strings.Join(addrs, ",")
	for i, s := range c.Servers {
		c.do(s, "cluster", "set-config-epoch", i+1)
		if i < n {
			if err := s.Client().ClusterAddSlotsRange(t.Context(), i*slots/n, (i+1)*slots/n-1).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	c.await("all know all", func(s *Server) bool { return c.knowsAll(s, bus) })
	for i, s := range c.Servers[n:] {
		// While s is still meeting the master, s knows the master only by a temporary ID, and
		// refuses the master's true ID. So ClusterReplicate is repeated until it succeeds.
		master := c.Servers[i].Client().ClusterMyID(t.Context()).Val()
		c.awaitOf(s, "a replica has a master", func(s *Server) bool {
			return s.Client().ClusterReplicate(t.Context(), master).Err() == nil
		})
	}
	c.AwaitWell()
	c.replaceAfter(steady)
	return c
}

// knowsAll reports whether s knows all nodes. It tells s to meet the nodes that s does not know,
// even if s was told before. On a busy machine s may have given up before those nodes answered.
func (c *Cluster) knowsAll(s *Server, bus []string) bool {
	c.t.Helper()
	known := ""
	for line := range strings.Lines(s.Client().ClusterNodes(c.t.Context()).Val()) {
		if !strings.Contains(line, "handshake") {
			known += line
		}
	}
	all := true
	for i, other := range c.Servers {
		if strings.Contains(known, other.Addr+"@") {
			continue
		}
		all = false
		host, port, _ := net.SplitHostPort(other.Addr)
		c.do(s, "cluster", "meet", host, port, bus[i])
	}
	return all
}

// Hasten shortens the silence after which the nodes replace a master, from ten minutes (steady) to
// one second (brisk).
func (c *Cluster) Hasten() {
	c.t.Helper()
	c.replaceAfter(brisk)
	c.AwaitWell()
}

// replaceAfter sets the silence after which the nodes replace a master.
func (c *Cluster) replaceAfter(silence time.Duration) {
	c.t.Helper()
	for _, s := range c.Servers {
		c.do(s, "config", "set", "cluster-node-timeout", silence.Milliseconds())
	}
}

// AwaitWell waits for each running node in turn. It waits until the node reports that the Redis
// Cluster is in order, and that the link to its master or its replica is up. The test fails if a
// node takes longer than two minutes.
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

// Owner returns the server that owns a key's slot, according to the first running node that answers
// and knows the owner. If there is no such node, the test ends.
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

// layout returns the owners of the slots, as s reports them.
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

// Cluster.await waits, node by node, until the given function returns true for every running node.
func (c *Cluster) await(what string, holds func(*Server) bool) {
	c.t.Helper()
	for _, s := range c.Servers {
		c.awaitOf(s, what, holds)
	}
}

// Cluster.awaitOf waits until the given function returns true for the node s. If s does not run,
// Cluster.awaitOf returns at once. If the wait takes longer than two minutes, the test fails.
func (c *Cluster) awaitOf(s *Server, what string, holds func(*Server) bool) {
	c.t.Helper()
	for end := time.Now().Add(2 * time.Minute); s.cmd != nil && !holds(s); {
		if time.Now().After(end) {
			c.t.Fatalf("redistest: not in time: %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (c *Cluster) do(s *Server, args ...any) {
	c.t.Helper()
	if err := s.Client().Do(c.t.Context(), args...).Err(); err != nil {
		c.t.Fatalf("redistest: %v: %v", args, err)
	}
}
