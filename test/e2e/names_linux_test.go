package e2e

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/edgerelay/edgerelay/test/e2e/chat"
	"github.com/edgerelay/edgerelay/test/e2e/cluster"
	"github.com/edgerelay/edgerelay/test/nameserver"
	"github.com/edgerelay/edgerelay/test/redistest"
)

// The constant inside is the name of an environment variable. The variable is set in a process that
// runs a test in a network of its own.
const inside = "E2E_NAMESPACE"

// These are the addresses of the two nameservers that inNamespace puts into resolv.conf.
const (
	silentServer = "127.0.0.2"
	goodServer   = "127.0.0.3"
)

// inNamespace runs the test again in a second process, with a network and a resolv.conf of its own.
// In the first process inNamespace then returns nil. In the second process it returns the second
// nameserver of resolv.conf, which answers for the names that the test sets. The first nameserver
// is silent. Where there are no namespaces, inNamespace skips the test.
func inNamespace(t *testing.T) *nameserver.Server {
	t.Helper()
	if os.Getenv(inside) == "" {
		runInside(t)
		return nil
	}
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	text := "nameserver " + silentServer + "\nnameserver " + goodServer + "\n"
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, command := range [][]string{
		{"ip", "link", "set", "lo", "up"}, {"mount", "--bind", conf, "/etc/resolv.conf"},
	} {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", command, err, out)
		}
	}
	silent, err := net.ListenPacket("udp", silentServer+":53")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	return nameserver.Start(t, goodServer+":53")
}

func runInside(t *testing.T) {
	t.Helper()
	flags := []string{"--user", "--map-root-user", "--net", "--mount"}
	if os.Geteuid() == 0 {
		flags = flags[2:]
	}
	if out, err := exec.Command("unshare", append(flags, "ip", "link")...).CombinedOutput(); err != nil {
		t.Skipf("no namespaces here: %v: %s", err, out)
	}
	cmd := exec.Command("unshare", slices.Concat(flags, []string{
		"--fork", "--kill-child", os.Args[0], "-test.v", "-test.run", "^" + t.Name() + "$",
	})...)
	cmd.Env = append(os.Environ(), inside+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	} else if !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("it was not run:\n%s", out)
	}
}

// byName replaces every 127.0.0.1 in a URL by a name.
func byName(url, name string) string { return strings.ReplaceAll(url, "127.0.0.1", name) }

// TestC4_StartAndMoveWhileTheFirstNameserverIsSilent starts a relay that knows Redis by name, and
// two edges that know the relay by name. Then a second relay takes over the name at another
// address. Clients must be served before and after that. The second nameserver does not answer
// queries for AAAA.
func TestC4_StartAndMoveWhileTheFirstNameserverIsSilent(t *testing.T) {
	t.Parallel()
	o := onProcesses(t)
	names := inNamespace(t)
	if names == nil {
		return
	}
	names.Silence(nameserver.AAAA)
	names.Set("redis.test", "127.0.0.1")
	names.Set("relay.test", "127.0.0.4")
	c := cluster.New(t, o)
	url := byName(c.RedisURL(), "redis.test")
	r := c.StartRelay(cluster.Env{"RELAY_ADDR": "127.0.0.4:9000", "RELAY_REDIS_URL": url})
	e := c.LaunchEdge(cluster.Env{"EDGE_RELAY_URLS": "dns://relay.test:9000"})
	f := c.LaunchEdge(cluster.Env{"EDGE_RELAY_URLS": "ws://relay.test:9000"})
	serve := func(e, f *cluster.Edge) {
		t.Helper()
		a, b := channel(t, e, chat.Unique("a")), channel(t, f, chat.Unique("b"))
		a.Send(chat.One(b.id, "hello"))
		b.Expect(chat.Direct(a.id, "hello"))
	}
	linked := func(e *cluster.Edge) {
		t.Helper()
		cluster.Eventually(t, e.Name+" is linked to a whole relay", func() bool {
			return e.IsReady() && len(degraded(t, e)) == 0
		})
	}
	linked(e)
	linked(f)
	serve(e, f)

	// A second relay takes over the name at another address, and the first relay dies.
	names.Set("relay.test", "127.0.0.5")
	moved := c.StartRelay(cluster.Env{"RELAY_ADDR": "127.0.0.5:9000", "RELAY_REDIS_URL": url})
	r.Kill()
	cluster.Eventually(t, "both edges are linked to the moved relay", func() bool {
		return moved.Metrics().Sum("edgerelay_relay_links") == 2
	})
	serve(e, f)
}

// TestC4_SentinelsAndClustersByNameWhileTheFirstNameserverIsSilent gives relays URLs that have a
// name in place of an address. Each relay must find its Redis.
func TestC4_SentinelsAndClustersByNameWhileTheFirstNameserverIsSilent(t *testing.T) {
	t.Parallel()
	o := onProcesses(t)
	names := inNamespace(t)
	if names == nil {
		return
	}
	names.Set("redis.test", "127.0.0.1")
	c := cluster.New(t, o)
	authority := redistest.NewAuthority(t)
	secure := redistest.StartTLS(t, redistest.TLS{Authority: authority, Host: "redis.test"})
	for _, env := range []cluster.Env{
		{"RELAY_REDIS_URL": byName(secure.URL, "redis.test"), "RELAY_REDIS_CA": authority.File},
		{"RELAY_REDIS_URL": byName(redistest.StartWatched(t).URL, "redis.test")},
		{"RELAY_REDIS_URL": byName(redistest.StartCluster(t, 1).URL, "redis.test")},
	} {
		r := c.StartRelay(env)
		cluster.Eventually(t, "the relay has "+env["RELAY_REDIS_URL"], func() bool {
			return strings.Contains(r.Log(), "redis serves") && len(degraded(t, r)) == 0
		})
	}
}
