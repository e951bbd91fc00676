package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// dockerTime bounds each command that the function Docker runs. It is long, since the machine may
// be busy. A docker stop may also last a whole grace period.
const dockerTime = 2 * time.Minute

// Images is the prefix of image names. The script test/e2e/images/build makes the images.
const Images = "edgerelay-test/"

// containerPorts has the port inside a container for each variable that holds an address.
var containerPorts = map[string]string{"EDGE_ADDR": "8080", "EDGE_ADMIN_ADDR": "9091", "RELAY_ADDR": "9000", "RELAY_ADMIN_ADDR": "9092"}

// containerRunner starts servers as containers, by the docker command, on a network of the test's
// own. A server's Env names a loopback address for each of the server's ports, and the runner
// publishes the port there. The servers reach the test's proxies at the network's gateway.
type containerRunner struct {
	network string
	gateway string
}

// containers makes a network, and returns a runner that uses the network. A missing image or a
// missing Docker fails the test.
func containers(t testing.TB) *containerRunner {
	t.Helper()
	for _, part := range []string{"edge", "relay"} {
		if _, err := Docker("image", "inspect", "--format", "{{.Id}}", Images+part); err != nil {
			t.Fatalf("no image %s%s: run test/e2e/images/build (%v)", Images, part, err)
		}
	}
	r := &containerRunner{network: fmt.Sprintf("edgerelay-test-%d", time.Now().UnixNano())}
	MustDocker(t, "network", "create", r.network)
	t.Cleanup(func() { r.remove(t) })
	r.gateway = MustDocker(t, "network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}", r.network)
	return r
}

// containerRunner.remove deletes all containers that the runner started, and then the runner's
// network.
func (r *containerRunner) remove(t testing.TB) {
	if ids := strings.Fields(MustDocker(t, "ps", "-aq", "--filter", "label="+r.network)); len(ids) > 0 {
		MustDocker(t, append([]string{"rm", "-f", "-v"}, ids...)...)
	}
	MustDocker(t, "network", "rm", r.network)
}

// MustDocker runs a docker command as Docker does. An error fails the test.
func MustDocker(t testing.TB, args ...string) string {
	t.Helper()
	out, err := Docker(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Docker runs a docker command and returns its standard output, without space at the ends. An error
// contains the standard error.
func Docker(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), dockerTime)
	defer cancel()
	var stdout, stderr bytes.Buffer
	c := exec.CommandContext(ctx, "docker", args...)
	c.Stdout, c.Stderr = &stdout, &stderr
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("docker %s: %w: %s", strings.Join(args, " "), errors.Join(err, ctx.Err()), bytes.TrimSpace(stderr.Bytes()))
	}
	return strings.TrimSpace(stdout.String()), nil
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
	id := MustDocker(t, append(args, Images+part)...)
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
	ended  chan struct{} // closed when the container has ended and its log is complete
	status int           // the exit status; set before the channel above is closed
}

// container.terminate asks the container to stop. It ignores errors, since a container that has
// ended refuses the signal.
func (c *container) terminate()            { Docker("kill", "--signal", "TERM", c.id) }
func (c *container) kill()                 { Docker("kill", c.id); <-c.ended }
func (c *container) freeze()               { MustDocker(c.t, "pause", c.id) }
func (c *container) thaw()                 { MustDocker(c.t, "unpause", c.id) }
func (c *container) done() <-chan struct{} { return c.ended }
func (c *container) exit() int             { return c.status }

// containerRunner.host returns the address on which proxies must listen so that the servers reach
// them.
func (r *containerRunner) host() string { return r.gateway }

// The function at returns the address addr, with the given host in place of the host in addr.
func at(t testing.TB, host, addr string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort(host, port)
}
