package stack

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

// Of returns the names of services that begin with the given prefix and are longer than it. They
// are in the order in which Start starts the services.
func (s *stack) Of(prefix string) (names []string) {
	for _, n := range s.file.order() {
		if len(n) > len(prefix) && n[:len(prefix)] == prefix {
			names = append(names, n)
		}
	}
	return names
}

// URL returns the ws:// URL of a path at nginx. The path must begin with a slash.
func (s *Stack) URL(path string) string { return "ws://" + s.published("nginx", "80") + path }

// RedisURL returns the URL of the stack's Redis, on a port of loopback.
func (s *Stack) RedisURL() string { return "redis://" + s.published("redis", redisPort) }

// Admin returns the address of an edge's or a relay's admin port.
func (s *Stack) Admin(name string) string {
	s.t.Helper()
	return s.published(name, s.file.Services[name].inside()[0])
}

// Metrics scrapes an edge or a relay.
func (s *Stack) Metrics(name string) cluster.Metrics {
	s.t.Helper()
	m, err := cluster.Scrape(s.Admin(name))
	if err != nil {
		s.t.Fatal(err)
	}
	return m
}

// Ready returns the answer of an edge or a relay at /readyz. The status is 0 when nobody answers.
func (s *Stack) Ready(name string) (status int, body string) {
	s.t.Helper()
	client := http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get("http://" + s.Admin(name) + "/readyz")
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(b)
}

// Inspect returns what docker reports of a service's container.
func (s *Stack) Inspect(name string) container {
	s.t.Helper()
	return inspect(s.t, s.scoped(name))
}

// AwaitHealthy waits until docker reports that a service is healthy.
func (s *Stack) AwaitHealthy(name string) {
	s.t.Helper()
	cluster.Within(s.t, healthy, name+" is healthy", func() bool {
		c := s.Inspect(name)
		if !c.State.Running {
			s.t.Fatalf("%s is %s, exit status %d", name, c.State.Status, c.State.ExitCode)
		}
		return c.State.Health != nil && c.State.Health.Status == "healthy"
	})
}

// Stop stops a service as docker stop does, with the service's own signal and grace period. It
// returns the exit status.
func (s *Stack) Stop(name string) int {
	s.t.Helper()
	cluster.MustDocker(s.t, "stop", s.scoped(name))
	return s.Inspect(name).State.ExitCode
}

// Replace removes a stopped service's container, starts a new one, and waits until the service is
// healthy.
func (s *Stack) Replace(name string) {
	s.t.Helper()
	cluster.MustDocker(s.t, "rm", "-f", "-v", s.scoped(name))
	s.create(name)
	cluster.MustDocker(s.t, "start", s.scoped(name))
	s.AwaitHealthy(name)
}

// Kill sends a service a signal, such as KILL or HUP.
func (s *Stack) Kill(name, signal string) {
	s.t.Helper()
	cluster.MustDocker(s.t, "kill", "--signal", signal, s.scoped(name))
}

// Restart starts the container of a service that was stopped or killed.
func (s *Stack) Restart(name string) {
	s.t.Helper()
	cluster.MustDocker(s.t, "start", s.scoped(name))
}

// Pause freezes a service; Unpause lets it go on.
func (s *Stack) Pause(name string) { s.t.Helper(); cluster.MustDocker(s.t, "pause", s.scoped(name)) }
func (s *Stack) Unpause(name string) {
	s.t.Helper()
	cluster.MustDocker(s.t, "unpause", s.scoped(name))
}

// Disconnect takes a service off a network. The service loses its address there, and connections
// over that network hang.
func (s *Stack) Disconnect(name, network string) {
	s.t.Helper()
	cluster.MustDocker(s.t, "network", "disconnect", s.scoped(network), s.scoped(name))
}

// Connect puts a service onto a network, under its names there.
func (s *Stack) Connect(name, network string) {
	s.t.Helper()
	args := []string{"network", "connect"}
	for _, a := range s.aliases(name, network) {
		args = append(args, "--alias", a)
	}
	cluster.MustDocker(s.t, append(args, s.scoped(network), s.scoped(name))...)
}

// Gateway returns the address of this machine on a network of the stack.
func (s *Stack) Gateway(network string) string {
	s.t.Helper()
	return cluster.MustDocker(s.t, "network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}", s.scoped(network))
}

// Stack.well reports whether an edge or a relay is ready and lists nothing as degraded.
func (s *Stack) well(name string) bool {
	s.t.Helper()
	status, body := s.Ready(name)
	var health struct{ Degraded []string }
	return status == http.StatusOK && json.Unmarshal([]byte(body), &health) == nil && len(health.Degraded) == 0
}

// Stack.links counts the links of all relays except the relays with the given names. A relay that
// does not answer counts as a relay without links.
func (s *Stack) links(without ...string) (n int) {
	s.t.Helper()
	for _, r := range s.Of("relay") {
		if slices.Contains(without, r) {
			continue
		}
		if m, err := cluster.Scrape(s.Admin(r)); err == nil {
			n += int(m.Sum("edgerelay_relay_links"))
		}
	}
	return n
}
