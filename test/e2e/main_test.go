// Package e2e runs the whole product: clients, edges, relays and Redis. E2E_KIND says how the servers run: inprocess (the default) or process.
package e2e

import (
	"os"
	"testing"

	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

func TestMain(m *testing.M) {
	status := m.Run()
	cluster.RemoveBinaries()
	os.Exit(status)
}

// kind is how servers run in this test run.
func kind(t *testing.T) cluster.Kind {
	t.Helper()
	switch k := cluster.Kind(os.Getenv("E2E_KIND")); k {
	case "", cluster.InProcess:
		return cluster.InProcess
	case cluster.Process:
		return k
	default:
		t.Fatalf("E2E_KIND=%q: want %s or %s", k, cluster.InProcess, cluster.Process)
		return ""
	}
}

// onEach runs f on every back end that this kind has.
func onEach(t *testing.T, f func(t *testing.T, o cluster.Options)) {
	t.Helper()
	k := kind(t)
	backends := []cluster.Backend{cluster.Memory, cluster.Redis}
	if k == cluster.Process {
		backends = backends[1:]
	}
	for _, b := range backends {
		t.Run(string(b), func(t *testing.T) {
			if b == cluster.Redis {
				cluster.NeedRedis(t)
			}
			f(t, cluster.Options{Kind: k, Backend: b})
		})
	}
}

// onBest returns the back end nearest to production that this machine has.
func onBest(t *testing.T) cluster.Options {
	t.Helper()
	k := kind(t)
	if k == cluster.InProcess && !cluster.HasRedis(t) {
		return cluster.Options{Kind: k, Backend: cluster.Memory}
	}
	return onRedis(t)
}

// onRedis is for what only Redis can show.
func onRedis(t *testing.T) cluster.Options {
	t.Helper()
	cluster.NeedRedis(t)
	return cluster.Options{Kind: kind(t), Backend: cluster.Redis}
}

// onProcesses is for what only processes can show.
func onProcesses(t *testing.T) cluster.Options {
	t.Helper()
	if kind(t) != cluster.Process {
		t.Skip("needs processes: E2E_KIND=process go test ./test/e2e/...")
	}
	return onRedis(t)
}
