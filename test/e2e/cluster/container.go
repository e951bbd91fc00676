package cluster

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// dockerTime bounds one docker command: long, since the machine may be busy.
const dockerTime = time.Minute

// images of test/e2e/images/build.
const imagePrefix = "edgerelay-test/"

// ports of servers inside their containers, by variable.
var containerPorts = map[string]string{"EDGE_ADDR": "8080", "EDGE_ADMIN_ADDR": "9091", "RELAY_ADDR": "9000", "RELAY_ADMIN_ADDR": "9092"}

// containerRunner starts servers as containers on a network of the test's own, driven by the docker command. Their ports are published on loopback, where the
// test expects them; they reach the test's proxies at the network's gateway.
type containerRunner struct {
	network string
	gateway string
}

// containers makes the network. The images must be there: a missing one, or a missing Docker, fails the test.
func containers(t testing.TB) *containerRunner {
	t.Helper()
	for _, part := range []string{"edge", "relay"} {
		if _, err := docker("image", "inspect", "--format", "{{.Id}}", imagePrefix+part); err != nil {
			t.Fatalf("no image %s%s: run test/e2e/images/build (%v)", imagePrefix, part, err)
		}
	}
	r := &containerRunner{network: fmt.Sprintf("edgerelay-test-%d", time.Now().UnixNano())}
	must(t, "network", "create", r.network)
	t.Cleanup(func() { r.remove(t) })
	r.gateway = must(t, "network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}", r.network)
	return r
}

// remove ends and deletes whatever is on the network, and the network.
func (r *containerRunner) remove(t testing.TB) {
	if ids := strings.Fields(must(t, "ps", "-aq", "--filter", "label="+r.network)); len(ids) > 0 {
		must(t, append([]string{"rm", "-f", "-v"}, ids...)...)
	}
	must(t, "network", "rm", r.network)
}

func must(t testing.TB, args ...string) string {
	t.Helper()
	out, err := docker(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// docker runs a docker command and returns what it printed, without space around it.
func docker(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), dockerTime)
	defer cancel()
	var errors strings.Builder
	cmd := exec.CommandContext(ctx, "docker", args...)
	cmd.Stderr = &errors
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("docker %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(errors.String()))
	}
	return strings.TrimSpace(string(out)), nil
}

func (r *containerRunner) edge(t testing.TB, env Env, log *logbook) server {
	return r.start(t, "edge", env, log)
}

func (r *containerRunner) relay(t testing.TB, env Env, log *logbook) server {
	return r.start(t, "relay", env, log)
}

func (r *containerRunner) start(t testing.TB, part string, env Env, log *logbook) server {
	t.Helper()
	args := []string{"run", "-d", "--network", r.network, "--label", r.network, "--ulimit", "nofile=20000:20000"}
	for name, value := range env {
		if inside, ok := containerPorts[name]; ok && value != "" {
			args = append(args, "-p", value+":"+inside)
			value = ":" + inside
		}
		args = append(args, "-e", name+"="+value)
	}
	id := must(t, append(args, imagePrefix+part)...)
	c := &container{t: t, id: id, ended: make(chan struct{})}
	var watching sync.WaitGroup
	watching.Go(func() {
		logs := exec.Command("docker", "logs", "-f", id)
		logs.Stdout, logs.Stderr = log, log
		logs.Run()
	})
	watching.Go(func() {
		c.status = -1
		if out, err := exec.Command("docker", "wait", id).Output(); err == nil {
			c.status, _ = strconv.Atoi(strings.TrimSpace(string(out)))
		}
	})
	go func() {
		watching.Wait()
		close(c.ended)
	}()
	return c
}

// container is a server that runs as a container.
type container struct {
	t      testing.TB
	id     string
	ended  chan struct{} // closed when its log is complete, too
	status int           // set before
}

// A container that has ended meanwhile can be sent no signal, which is no fault.
func (c *container) terminate()            { docker("kill", "--signal", "TERM", c.id) }
func (c *container) kill()                 { docker("kill", c.id); <-c.ended }
func (c *container) freeze()               { must(c.t, "pause", c.id) }
func (c *container) thaw()                 { must(c.t, "unpause", c.id) }
func (c *container) done() <-chan struct{} { return c.ended }
func (c *container) exit() int             { return c.status }

// host is where proxies listen, so that the servers reach them.
func (r *containerRunner) host() string { return r.gateway }

// at returns addr's port on another host.
func at(t testing.TB, host, addr string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort(host, port)
}
