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

// promised returns how long a test waits for what is promised within the time d. In the long run
// that is d. In the usual run it is cluster.Patience more, since other work may slow the machine
// then.
func promised(d time.Duration) time.Duration {
	if long.Wanted() {
		return d
	}
	return d + cluster.Patience
}

// onEach runs f on every back end that servers of this test run's kind can use.
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

// onBest returns options with Redis. Without a redis-server, it returns options with Memory if the
// servers run in the test's process. For other kinds of servers it then skips the test. In CI the
// test fails instead.
func onBest(t *testing.T) cluster.Options {
	t.Helper()
	k := kind(t)
	if k == cluster.InProcess && !cluster.HasRedis(t) {
		return cluster.Options{Kind: k, Backend: cluster.Memory}
	}
	return onRedis(t)
}

// onRedis returns options for tests that need Redis. Without a redis-server it skips the test. In
// CI the test fails instead.
func onRedis(t *testing.T) cluster.Options {
	t.Helper()
	cluster.NeedRedis(t)
	return cluster.Options{Kind: kind(t), Backend: cluster.Redis}
}

// onProcesses returns options for tests that need servers in processes of their own. It skips such
// a test where servers run in the test's process. In a test run whose servers are containers, the
// servers of such a test are processes all the same.
func onProcesses(t *testing.T) cluster.Options {
	t.Helper()
	if kind(t) == cluster.InProcess {
		t.Skip("needs processes: E2E_KIND=process go test ./test/e2e/...")
	}
	o := onRedis(t)
	o.Kind = cluster.Process
	return o
}
