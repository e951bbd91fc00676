package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/edgerelay/edgerelay/test/long"
	"github.com/edgerelay/edgerelay/test/loopback"
)

// TestMain runs the tests, and then removes the binaries that the function build has made.
func TestMain(m *testing.M) {
	status := m.Run()
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
	os.Exit(status)
}

// The variable built is the result of the function build: the directory of the binaries, or why
// there are none.
var built struct {
	once sync.Once
	dir  string
	err  error
}

// The function build compiles the three binaries at its first call, and returns their directory. If
// they do not compile, it fails the test that calls it.
func build(t *testing.T) (dir string) {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "edgerelay-"); built.err != nil {
			return
		}
		version := "-X " + module + "/shared/service.version=v9.8.7"
		cmd := exec.Command("go", "build", "-o", built.dir+"/", "-ldflags", version,
			".", "./edge/cmd/edge", "./relay/cmd/relay")
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("%w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.dir
}

func command(binary string, environ []string, args ...string) *exec.Cmd {
	cmd := exec.Command(binary, args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}, environ...)
	return cmd
}

const linkKeys = "LINK_KEYS=l:0123456789abcdef"

func TestBinaries(t *testing.T) {
	dir := build(t)
	t.Run("commands", func(t *testing.T) { testCommands(t, dir) })
	t.Run("service", func(t *testing.T) { testService(t, dir) })
}

func testCommands(t *testing.T, dir string) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	edge := []string{linkKeys, "EDGE_RELAY_URLS=ws://127.0.0.1:1", "JWT_KEYS=k:0123456789abcdef"}
	relay := []string{linkKeys, "RELAY_REDIS_URL=memory://"}
	for _, c := range []struct {
		binary  string
		args    string
		environ []string
		status  int
		out     string // what standard output must contain
		err     string // what standard error must contain
	}{
		{"edge", "--help", nil, 0, "EDGE_MAX_MESSAGE", ""},
		{"edge", "--help", nil, 0, "edge token", ""},
		{"edge", "--version", nil, 0, "edge v9.8.7 go1", ""},
		{"edge", "--check", edge, 0, "valid", ""},
		{"edge", "--check", append(edge, "EDGE_PNIG=1s"), 0, "valid", "EDGE_PNIG: unknown variable, ignored; the nearest known one is EDGE_PING\n"},
		{"edge", "--check", append(edge, "EDGE_PING=x"), 78, "", `EDGE_PING: "x" is not a duration`},
		{"edge", "--chekc", edge, 64, "", `unknown argument "--chekc"`},
		{"edge", "", nil, 78, "", "JWT_KEYS: is required under EDGE_AUTH=jwt"},
		{"edge", "", []string{"EDGE_JWT_KEYS=k:0123456789abcdef"}, 78, "", "EDGE_JWT_KEYS: unknown variable, ignored; the nearest known one is JWT_KEYS\n"},
		{"edge", "", append(edge, "EDGE_ADDR="+taken.Addr().String()), 1, "", "\nEDGE_ADDR: cannot listen on " + taken.Addr().String()},
		{"edge", "", append(edge, "EDGE_ADDR=127.0.0.1:0", "EDGE_ADMIN_ADDR="+taken.Addr().String()), 1, "", "\nEDGE_ADMIN_ADDR: cannot listen"},
		{"edge", "token --sub 1 --ttl 5m", edge, 0, "eyJ", ""},
		{"edge", "token --sub 1", nil, 78, "", "JWT_KEYS: is required"},
		{"edge", "token", edge, 64, "", "--sub"},
		{"edge", "token --sub 1 --ttl -1h", edge, 64, "", "--ttl"},
		{"edge", "token --sub 1 more", edge, 64, "", `unknown argument "more"`},
		{"edge", "token --sub a】", edge, 64, "", `--sub must have no 【, 】 or " send:"`},
		{"edge", "token --sub a】", edge, 64, "", "--any-id"},
		{"edge", "token --sub a】 --any-id", edge, 0, "eyJ", ""},
		{"relay", "--help", nil, 0, "RELAY_REDIS_URL", ""},
		{"relay", "--version", nil, 0, "relay v9.8.7 go1", ""},
		{"relay", "--check", relay, 0, "valid", ""},
		{"relay", "--check", nil, 78, "", "RELAY_REDIS_URL: is required and not set"},
		{"relay", "", append(relay, "RELAY_ADDR="+taken.Addr().String()), 1, "", "\nRELAY_ADDR: cannot listen on"},
		{"relay", "healthcheck", append(relay, "RELAY_ADMIN_ADDR="+loopback.FreeAddr(t)), 1, "", "refused"},
		{"edgerelay", "--help", nil, 0, "RELAY_HISTORY_SIZE", ""},
		{"edgerelay", "--check", nil, 0, "valid", ""},
		{"edgerelay", "", []string{"EDGE_ADDR=:0"}, 78, "", "EDGE_AUTH: must be said"},
		{"edgerelay", "", []string{"EDGE_ADDR=" + taken.Addr().String()}, 1, "", "\nEDGE_ADDR: cannot listen"},
	} {
		t.Run(c.binary+" "+c.args, func(t *testing.T) {
			cmd := command(filepath.Join(dir, c.binary), c.environ, strings.Fields(c.args)...)
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			cmd.Run()
			if got := cmd.ProcessState.ExitCode(); got != c.status || !strings.Contains(stdout.String(), c.out) || !strings.Contains(stderr.String(), c.err) {
				t.Errorf("status %d, want %d\n%s%s", got, c.status, &stdout, &stderr)
			}
		})
	}
}

// TestAnIgnoredVariableIsWarnedOfOnce checks that one line says why EDGE_RELAY_URLS is ignored in
// one process, and that no line calls this variable unknown.
func TestAnIgnoredVariableIsWarnedOfOnce(t *testing.T) {
	cmd := command(filepath.Join(build(t), "edgerelay"), []string{"EDGE_RELAY_URLS=ws://127.0.0.1:1"}, "--check")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	err := cmd.Run()
	if want := "warning: EDGE_RELAY_URLS: ignored, the relay is in this process\n"; err != nil || stderr.String() != want {
		t.Errorf("%v, standard error %q, want %q", err, &stderr, want)
	}
}

// TestDocsBuild runs the go build commands of docs/deploy.md, but they write to another directory
// instead of bin/. The page also has commands that start binaries. Each of these binaries must then
// be in that directory, and must accept the option --version.
func TestDocsBuild(t *testing.T) {
	long.Only(t, "it builds binaries")
	const page = "docs/deploy.md"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	built := 0
	for line := range strings.Lines(string(text)) {
		args := strings.Fields(line)
		if len(args) < 2 || args[0] != "go" || args[1] != "build" {
			continue
		}
		for i := range args {
			args[i] = strings.Replace(args[i], "bin/", dir+"/", 1)
		}
		if !strings.Contains(strings.Join(args, " "), "-o "+dir+"/ ") {
			t.Errorf("%s: builds elsewhere than in bin/, which is git-ignored", strings.TrimSpace(line))
			continue
		}
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", strings.TrimSpace(line), err, out)
		}
		built++
	}
	started := regexp.MustCompile(`\./bin/(\w+)`).FindAllStringSubmatch(string(text), -1)
	if built == 0 || len(started) == 0 {
		t.Fatalf("%s builds %d times and starts %d binaries", page, built, len(started))
	}
	for _, s := range started {
		if out, err := exec.Command(filepath.Join(dir, s[1]), "--version").CombinedOutput(); err != nil {
			t.Errorf("%s starts bin/%s: %v\n%s", page, s[1], err, out)
		}
	}
}

// testService starts each binary and stops it. The healthcheck subcommand must succeed while the
// server runs, and must fail after that. The server must stop with exit status 0.
func testService(t *testing.T, dir string) {
	for binary, environ := range map[string][]string{
		"edge":      {linkKeys, "EDGE_RELAY_URLS=ws://127.0.0.1:1", "EDGE_AUTH=open", "EDGE_ADDR=127.0.0.1:0", "EDGE_ADMIN_ADDR=" + loopback.FreeAddr(t)},
		"relay":     {linkKeys, "RELAY_REDIS_URL=memory://", "RELAY_ADDR=127.0.0.1:0", "RELAY_ADMIN_ADDR=" + loopback.FreeAddr(t)},
		"edgerelay": {"EDGE_ADDR=" + loopback.FreeAddr(t)},
	} {
		t.Run(binary, func(t *testing.T) {
			path := filepath.Join(dir, binary)
			server := command(path, environ)
			stderr, err := server.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := server.Start(); err != nil {
				t.Fatal(err)
			}
			defer server.Process.Kill()
			lines := bufio.NewScanner(stderr)
			for lines.Scan() && !strings.Contains(lines.Text(), "edge serves") && !strings.Contains(lines.Text(), "relay serves") {
			}
			if out, err := command(path, environ, "healthcheck").CombinedOutput(); err != nil {
				t.Errorf("healthcheck: %v\n%s", err, out)
			}
			server.Process.Signal(syscall.SIGTERM)
			for lines.Scan() {
			}
			if err := server.Wait(); err != nil {
				t.Errorf("stopped: %v", err)
			}
			if err := command(path, environ, "healthcheck").Run(); err == nil {
				t.Error("healthcheck succeeds without a server")
			}
		})
	}
}
