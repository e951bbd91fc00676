// Package stack runs the services of compose.yaml through docker commands, with the networks, the
// names and the settings in that file. The comment of Start lists what differs from the file. Tests
// check the running containers against the product's promises.
package stack

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/test/e2e/cluster"
	"github.com/edgerelay/edgerelay/test/loopback"
)

// The constant label is a label on every container, network and volume of a stack. Its value is the
// stack's name.
const label = "edgerelay.stack"

// The constant healthy is how long a service may take to become healthy.
const healthy = time.Minute

// Stack is a running copy of compose.yaml's services. All of it is removed when the test that
// started the Stack ends, and also when the test's process dies.
type Stack struct {
	*stack
	t testing.TB
}

type stack struct {
	name    string // prefix of all names in this run
	file    *compose
	root    string            // folder of the repository
	files   string            // folder of the copies of mounted files
	ports   map[string]string // by "service port": its address on loopback
	started []string          // services in the order in which they started
}

// Start starts all services of compose.yaml. A service starts when the services that it depends on
// are healthy. The stack differs from the file in these points:
//   - Images are those that test/e2e/images/build last made.
//   - Every port that a test needs is published on a free port of loopback: the ports of nginx, the
//     admin ports and the port of Redis.
//   - Files are mounted from a copy, so that a test can change them.
//   - Relays have the given rules as RELAY_CHANNELS, or the default rules if rules is empty.
//
// The methods of a Stack belong to the goroutine of one test, and fail that test when docker fails.
// The method For returns the same stack for another test.
func Start(t testing.TB, rules string) *Stack {
	t.Helper()
	needDocker(t)
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	file, err := readCompose(filepath.Join(root, "compose.yaml"), map[string]string{
		"NGINX_IMAGE": cluster.Images + "nginx", "REDIS_IMAGE": cluster.Images + redisImage(),
	})
	if err != nil {
		t.Fatalf("compose.yaml: %v", err)
	}
	if rules != "" {
		for name, svc := range file.Services {
			if strings.HasPrefix(name, "relay") {
				svc.Environment["RELAY_CHANNELS"] = rules
			}
		}
	}
	s := &Stack{t: t, stack: &stack{
		name: fmt.Sprintf("edgerelay-stack-%d-%x", os.Getpid(), time.Now().UnixMilli()), file: file, root: root, files: t.TempDir(), ports: map[string]string{},
	}}
	s.sweepAtTheEnd()
	for n := range file.Networks {
		cluster.MustDocker(t, "network", "create", "--label", label+"="+s.name, s.scoped(n))
	}
	for v := range file.Volumes {
		cluster.MustDocker(t, "volume", "create", "--label", label+"="+s.name, s.scoped(v))
	}
	for _, name := range file.order() {
		for d := range file.Services[name].DependsOn {
			s.AwaitHealthy(d)
		}
		s.create(name)
		cluster.MustDocker(t, "start", s.scoped(name))
		s.started = append(s.started, name)
	}
	t.Cleanup(s.report)
	return s
}

// For returns a Stack with the same services, for the goroutine of another test.
func (s *Stack) For(t testing.TB) *Stack { return &Stack{s.stack, t} }

// stack.scoped returns docker's name for a service, network or volume.
func (s *stack) scoped(name string) string { return s.name + "-" + name }

// sweepAtTheEnd arranges that everything of this stack is removed when the test ends. A separate
// process, the sweeper, removes everything when its standard input ends. That input also ends when
// the test's process is killed.
func (s *Stack) sweepAtTheEnd() {
	s.t.Helper()
	const script = `cat >/dev/null
for try in 1 2 3 4 5 6 7 8 9 10; do # a command of a test that was killed may still be under way
	docker ps -aq --filter label=$0 | xargs -r docker rm -fv
	docker network ls -q --filter label=$0 | xargs -r docker network rm
	docker volume ls -q --filter label=$0 | xargs -r docker volume rm
	[ -z "$(docker ps -aq --filter label=$0; docker network ls -q --filter label=$0; docker volume ls -q --filter label=$0)" ] && exit 0
	sleep 1
done >/dev/null
exit 1`
	sweeper := exec.Command("sh", "-c", script, label+"="+s.name)
	sweeper.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C must not reach the sweeper
	in, err := sweeper.StdinPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	var said strings.Builder
	sweeper.Stderr = &said
	if err := sweeper.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		in.Close()
		if err := sweeper.Wait(); err != nil {
			s.t.Errorf("the stack was not removed: %v: %s", err, said.String())
		}
	})
}

// compose.order returns the names of the services. Each service comes after the services that it
// depends on.
func (c *compose) order() (names []string) {
	var visit func(name string)
	visit = func(name string) {
		if slices.Contains(names, name) {
			return
		}
		for _, d := range slices.Sorted(maps.Keys(c.Services[name].DependsOn)) {
			visit(d)
		}
		names = append(names, name)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Services)) {
		visit(name)
	}
	return names
}

// Stack.create makes a service's container, on all its networks.
func (s *Stack) create(name string) {
	s.t.Helper()
	svc := s.file.Services[name]
	args := []string{"create", "--name", s.scoped(name), "--label", label + "=" + s.name}
	add := func(flag, value string) {
		if value != "" {
			args = append(args, flag, value)
		}
	}
	add("--hostname", svc.Hostname)
	add("--stop-signal", svc.StopSignal)
	add("--restart", svc.Restart)
	if svc.StopGracePeriod > 0 {
		add("--stop-timeout", strconv.Itoa(int(svc.StopGracePeriod/time.Second)))
	}
	if svc.ReadOnly {
		args = append(args, "--read-only")
	}
	for k, v := range svc.Environment {
		add("--env", k+"="+v)
	}
	for k, u := range svc.Ulimits {
		add("--ulimit", fmt.Sprintf("%s=%d:%d", k, u.Soft, u.Hard))
	}
	for _, c := range svc.CapDrop {
		add("--cap-drop", c)
	}
	for _, c := range svc.CapAdd {
		add("--cap-add", c)
	}
	for _, dir := range svc.Tmpfs {
		add("--tmpfs", dir)
	}
	for _, o := range svc.SecurityOpt {
		add("--security-opt", o)
	}
	for _, v := range svc.Volumes {
		add("--volume", s.source(v))
	}
	for _, port := range svc.inside() {
		add("--publish", s.published(name, port)+":"+port)
	}
	if h := svc.Healthcheck; h != nil {
		// docker create has no option for a check without a shell. Such a check is not passed to
		// docker, and the container has the check of its image. The function testContainers
		// compares the image's check with the check in the file.
		if h.Test[0] == "CMD-SHELL" {
			add("--health-cmd", h.Test[1])
		}
		add("--health-interval", h.Interval.String())
		add("--health-timeout", h.Timeout.String())
		add("--health-retries", strconv.Itoa(h.Retries))
	}
	networks := slices.Sorted(maps.Keys(svc.Networks))
	add("--network", s.scoped(networks[0]))
	for _, a := range s.aliases(name, networks[0]) {
		add("--network-alias", a)
	}
	cluster.MustDocker(s.t, append(append(args, svc.image()), svc.Command...)...)
	for _, n := range networks[1:] {
		s.Connect(name, n)
	}
}

// stack.aliases returns the names of a service on a network: the service's own name, which docker
// compose adds, and the names in the file.
func (s *stack) aliases(name, network string) []string {
	return append([]string{name}, s.file.Services[name].Networks[network].Aliases...)
}

// service.image returns the image that a service runs. For a service that compose.yaml builds from
// Dockerfile.edge, this is edgerelay-test/edge.
func (svc service) image() string {
	if svc.Build != nil {
		return cluster.Images + strings.TrimPrefix(svc.Build.Dockerfile, "Dockerfile.")
	}
	return svc.Image
}

// service.inside lists the service's ports that tests use: the ports that compose.yaml publishes,
// admin ports, and the port of Redis.
func (svc service) inside() (ports []string) {
	for _, p := range svc.Ports {
		ports = append(ports, p[strings.LastIndexByte(p, ':')+1:])
	}
	for k, v := range svc.Environment {
		if strings.HasSuffix(k, "_ADMIN_ADDR") {
			ports = append(ports, strings.TrimPrefix(v, ":"))
		}
	}
	if len(svc.Command) > 0 && svc.Command[0] == "redis-server" {
		ports = append(ports, redisPort)
	}
	return ports
}

const redisPort = "6379"

// Stack.published returns the address on loopback of a service's port. The address stays the same
// when the service is replaced.
func (s *Stack) published(name, port string) string {
	key := name + " " + port
	if s.ports[key] == "" {
		s.ports[key] = loopback.FreeAddr(s.t)
	}
	return s.ports[key]
}

// Stack.source returns a volume entry of compose.yaml with another source. The new source is a
// volume of this stack, or a copy of the file that the entry mounts. If there is no copy yet,
// Stack.source makes one.
func (s *Stack) source(volume string) string {
	s.t.Helper()
	source, remainder, _ := strings.Cut(volume, ":")
	if !strings.HasPrefix(source, "./") {
		return s.scoped(source) + ":" + remainder
	}
	copied := s.File(source)
	if _, err := os.Stat(copied); err != nil {
		text, err := os.ReadFile(filepath.Join(s.root, source))
		if err != nil {
			s.t.Fatal(err)
		}
		if err := os.WriteFile(copied, text, 0o644); err != nil {
			s.t.Fatal(err)
		}
	}
	return copied + ":" + remainder
}

// File returns the path of the copy of a file that compose.yaml mounts.
func (s *stack) File(source string) string { return filepath.Join(s.files, filepath.Base(source)) }

// Stack.report reports the logs of all services that Start started, and that have a container now.
func (s *Stack) report() {
	for _, name := range s.started {
		logs, err := exec.Command("docker", "logs", s.scoped(name)).CombinedOutput()
		if err != nil {
			continue // the container was being replaced
		}
		cluster.ReportLog(s.t, name, string(logs))
	}
}
