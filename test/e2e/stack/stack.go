// Package stack runs what compose.yaml says through docker commands: the services on networks of its own, by their names, with every setting that is
// written there. What differs is said in Start. So tests hold that file to the product's promises, container by container.
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

	"github.com/edgerelay/edgerelay/test/loopback"
)

// label is on every container, network and volume of a stack; its value is the stack's name.
const label = "edgerelay.stack"

// healthy is how long a service may take until its healthcheck says so.
const healthy = time.Minute

// Stack is the services of compose.yaml, running. All of it goes when the test that started it ends, and also when the test's process dies.
type Stack struct {
	*stack
	t testing.TB
}

type stack struct {
	name    string // of this run; begins every name
	file    *compose
	root    string            // of the repository
	files   string            // the folder with copies of what is mounted
	ports   map[string]string // "service port" inside to address on loopback
	started []string          // services in the order of their start
}

// Start starts all services of compose.yaml, each when those it depends on are healthy. Other than there,
//   - images are those that test/e2e/images/build last made;
//   - every port that a test needs is published, on a free port of loopback: the admin ports and Redis besides nginx;
//   - files are mounted from a copy, so that a test can change them.
//
// Its methods are for the goroutine of a test and fail it when docker does; For gives them to another test.
func Start(t testing.TB) *Stack {
	t.Helper()
	needDocker(t)
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	file, err := readCompose(filepath.Join(root, "compose.yaml"), map[string]string{
		"NGINX_IMAGE": images + "nginx", "REDIS_IMAGE": images + "redis",
	})
	if err != nil {
		t.Fatalf("compose.yaml: %v", err)
	}
	s := &Stack{t: t, stack: &stack{
		name: fmt.Sprintf("edgerelay-stack-%d-%x", os.Getpid(), time.Now().UnixMilli()), file: file, root: root, files: t.TempDir(), ports: map[string]string{},
	}}
	s.sweepAtTheEnd()
	for n := range file.Networks {
		docker(t, "network", "create", "--label", label+"="+s.name, s.scoped(n))
	}
	for v := range file.Volumes {
		docker(t, "volume", "create", "--label", label+"="+s.name, s.scoped(v))
	}
	for _, name := range file.order() {
		for d := range file.Services[name].DependsOn {
			s.AwaitHealthy(d)
		}
		s.create(name)
		docker(t, "start", s.scoped(name))
		s.started = append(s.started, name)
	}
	t.Cleanup(s.report)
	return s
}

// For returns the stack for the goroutine of another test.
func (s *Stack) For(t testing.TB) *Stack { return &Stack{s.stack, t} }

// scoped is the name that docker knows a service, network or volume by.
func (s *stack) scoped(name string) string { return s.name + "-" + name }

// sweepAtTheEnd removes everything of this stack when the test ends. A process of its own does it, when its input ends: so also when this one is killed.
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
	sweeper.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the test
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

// order returns the services so that each comes after those it depends on.
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

// create makes a service's container, on all its networks.
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
		if h.Test[0] == "CMD-SHELL" { // docker create has no word for the other form: it stays the image's, and a test compares that
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
	docker(s.t, append(append(args, svc.image()), svc.Command...)...)
	for _, n := range networks[1:] {
		s.Connect(name, n)
	}
}

// aliases are the names by which a service is known on a network; compose gives it its own besides those written.
func (s *stack) aliases(name, network string) []string {
	return append([]string{name}, s.file.Services[name].Networks[network].Aliases...)
}

// image is what the service runs: Dockerfile.edge becomes edgerelay-test/edge.
func (svc service) image() string {
	if svc.Build != nil {
		return images + strings.TrimPrefix(svc.Build.Dockerfile, "Dockerfile.")
	}
	return svc.Image
}

// inside lists the ports of the service that tests use: what compose.yaml publishes, admin ports, and Redis.
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

// published returns the address on loopback of a service's port: the same after a replacement.
func (s *Stack) published(name, port string) string {
	key := name + " " + port
	if s.ports[key] == "" {
		s.ports[key] = loopback.FreeAddr(s.t)
	}
	return s.ports[key]
}

// source puts into a volume of the file what it is here: a volume of this stack's own, or the copy of a file.
func (s *Stack) source(volume string) string {
	s.t.Helper()
	source, rest, _ := strings.Cut(volume, ":")
	if !strings.HasPrefix(source, "./") {
		return s.scoped(source) + ":" + rest
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
	return copied + ":" + rest
}

// File returns the copy of a file that compose.yaml mounts.
func (s *stack) File(source string) string { return filepath.Join(s.files, filepath.Base(source)) }

// report prints the end of every log when the test has failed; all of it is in the test's artifact directory then.
func (s *Stack) report() {
	for _, name := range s.started {
		logs, err := exec.Command("docker", "logs", s.scoped(name)).CombinedOutput()
		if err != nil {
			continue // it was being replaced
		}
		for _, sign := range []string{"DATA RACE", "panic:", "fatal error:"} {
			if strings.Contains(string(logs), sign) {
				s.t.Errorf("%s: %s in its log", name, sign)
			}
		}
		if s.t.Failed() {
			if err := os.WriteFile(filepath.Join(s.t.ArtifactDir(), name+".log"), logs, 0o644); err != nil {
				s.t.Log(err)
			}
			lines := strings.Split(strings.TrimSpace(string(logs)), "\n")
			s.t.Logf("%s, the end of its log:\n%s", name, strings.Join(lines[max(0, len(lines)-25):], "\n"))
		}
	}
}
