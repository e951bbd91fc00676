// Package e2e runs the whole product: clients, edges, relays and Redis. E2E_KIND selects how the
// servers run: inprocess (the default), process or container.
package e2e

import (
	"os"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/test/e2e/cluster"
	"github.com/edgerelay/edgerelay/test/long"
	"github.com/edgerelay/edgerelay/test/sidebyside"
)

func TestMain(m *testing.M) {
	sidebyside.Run(4)
	status := m.Run()
	cluster.RemoveBinaries()
	os.Exit(status)
}

// kind returns how servers run in this test run.
func kind(t *testing.T) cluster.Kind {
	t.Helper()
	switch k := cluster.Kind(os.Getenv("E2E_KIND")); k {
	case "", cluster.InProcess:
		return cluster.InProcess
	case cluster.Process, cluster.Container:
		return k
	default:
		t.Fatalf("E2E_KIND=%q: want %s, %s or %s", k, cluster.InProcess, cluster.Process, cluster.Container)
		return ""
	}
}

// The function promised returns how long a test waits for something that edgerelay promises within
// the time d. In a run with the long tests, the test waits for the time d. In a usual run it waits
// for the sum of d and cluster.Patience, since other work may slow the machine.
func promised(d time.Duration) time.Duration {
	if long.Wanted() {
		return d
	}
	return d + cluster.Patience
}

// onEach runs f in a parallel subtest for each back end. Only servers in the test's process can use
// Memory.
func onEach(t *testing.T, f func(t *testing.T, o cluster.Options)) {
	t.Helper()
	k := kind(t)
	backends := []cluster.Backend{cluster.Memory, cluster.Redis}
	if k != cluster.InProcess {
		backends = backends[1:]
	}
	for _, b := range backends {
		t.Run(string(b), func(t *testing.T) {
			t.Parallel()
			if b == cluster.Redis {
				cluster.NeedRedis(t)
			}
			f(t, cluster.Options{Kind: k, Backend: b})
		})
	}
}

// onBest returns options with Redis. If there is no redis-server, it returns options with Memory
// for servers in the test's process, and skips the test for other kinds of servers. In CI the test
// fails without a redis-server.
func onBest(t *testing.T) cluster.Options {
	t.Helper()
	k := kind(t)
	if k == cluster.InProcess && !cluster.HasRedis(t) {
		return cluster.Options{Kind: k, Backend: cluster.Memory}
	}
	return onRedis(t)
}

// onRedis returns options for tests that need Redis. If there is no redis-server, it skips the
// test. In CI the test fails instead.
func onRedis(t *testing.T) cluster.Options {
	t.Helper()
	cluster.NeedRedis(t)
	return cluster.Options{Kind: kind(t), Backend: cluster.Redis}
}

// onProcesses returns options for tests that need servers in processes of their own. If E2E_KIND
// selects servers in the test's process, it skips the test. If E2E_KIND selects containers, the
// test's servers are processes all the same.
func onProcesses(t *testing.T) cluster.Options {
	t.Helper()
	if kind(t) == cluster.InProcess {
		t.Skip("needs processes: E2E_KIND=process go test ./test/e2e/...")
	}
	o := onRedis(t)
	o.Kind = cluster.Process
	return o
}
