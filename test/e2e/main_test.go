// Package e2e runs the whole product: clients, edges, relays and Redis. E2E_KIND says how the servers run: inprocess (the default), process or
// container.
package e2e

import (
	"flag"
	"os"
	"testing"

	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

// sideBySide is how many tests run at once unless -parallel says otherwise: most of them wait most of the time.
const sideBySide = "4"

func TestMain(m *testing.M) {
	flag.Parse()
	said := false
	flag.Visit(func(f *flag.Flag) { said = said || f.Name == "test.parallel" })
	if !said {
		flag.Set("test.parallel", sideBySide)
	}
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
	case cluster.Process, cluster.Container:
		return k
	default:
		t.Fatalf("E2E_KIND=%q: want %s, %s or %s", k, cluster.InProcess, cluster.Process, cluster.Container)
		return ""
	}
}

// onEach runs f on every back end that this kind has.
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
