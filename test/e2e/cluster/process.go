package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

const module = "github.com/edgerelay/edgerelay"

// The variable built holds the folder of this tree's binaries. The test's process builds them at
// most once.
var built struct {
	once sync.Once
	dir  string
	err  error
}

// processRunner starts the binaries in a folder.
type processRunner struct{ dir string }

// processes returns a runner of the binaries. The first call builds them.
func processes(t testing.TB) runner {
	t.Helper()
	built.once.Do(func() { built.dir, built.err = build() })
	if built.err != nil {
		t.Fatal(built.err)
	}
	return processRunner{built.dir}
}

// The function build compiles both binaries, with the race detector if it finds a C compiler.
func build() (dir string, err error) {
	dir, err = os.MkdirTemp("", "edgerelay-e2e-")
	if err != nil {
		return "", err
	}
	for name, pkg := range map[string]string{"edge": "edge/cmd/edge", "relay": "relay/cmd/relay"} {
		args := []string{"build", "-o", filepath.Join(dir, name)}
		if hasCompiler() {
			args = append(args, "-race")
		}
		if out, err := exec.Command("go", append(args, module+"/"+pkg)...).CombinedOutput(); err != nil {
			return "", fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
		}
	}
	return dir, nil
}

func hasCompiler() bool {
	for _, cc := range []string{os.Getenv("CC"), "gcc", "clang"} {
		if _, err := exec.LookPath(cc); cc != "" && err == nil {
			return true
		}
	}
	return false
}

// RemoveBinaries deletes the binaries that the test's process has built, and the sources of earlier
// commits. TestMain calls it at the end.
func RemoveBinaries() {
	for _, dir := range []string{built.dir, earlierLayout.dir, withoutSDK.dir} {
		if dir != "" {
			os.RemoveAll(dir)
		}
	}
}

// Command runs a binary, "edge" or "relay", to its end. It returns the exit status and what the
// binary printed.
func Command(t testing.TB, binary string, env Env, args ...string) (status int, output string) {
	t.Helper()
	processes(t)
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(built.dir, binary), args...)
	cmd.Env = environ(env)
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		t.Fatalf("%s %v has not ended after %v:\n%s", binary, args, Patience, out)
	}
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

func (r processRunner) edge(t testing.TB, env Env, log *logbook) server {
	return r.start(t, "edge", env, log)
}

func (r processRunner) relay(t testing.TB, env Env, log *logbook) server {
	return r.start(t, "relay", env, log)
}

func (r processRunner) start(t testing.TB, binary string, env Env, log *logbook) server {
	t.Helper()
	p := &process{cmd: exec.Command(filepath.Join(r.dir, binary)), ended: make(chan struct{})}
	p.cmd.Env = environ(env)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.cmd.Wait()
		close(p.ended)
	}()
	return p
}

func (r processRunner) host() string { return "127.0.0.1" }

// environ returns the whole environment of a process. From the test's own environment it takes only
// PATH, HOME and GOCOVERDIR.
func environ(env Env) []string {
	list := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "GORACE=halt_on_error=1 atexit_sleep_ms=0"}
	if dir := os.Getenv("GOCOVERDIR"); dir != "" {
		list = append(list, "GOCOVERDIR="+dir)
	}
	for k, v := range env {
		list = append(list, k+"="+v)
	}
	return list
}

// process is a server that runs as a process.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

func (p *process) terminate()            { p.cmd.Process.Signal(syscall.SIGTERM) }
func (p *process) kill()                 { p.cmd.Process.Kill(); <-p.ended }
func (p *process) freeze()               { p.cmd.Process.Signal(syscall.SIGSTOP) }
func (p *process) thaw()                 { p.cmd.Process.Signal(syscall.SIGCONT) }
func (p *process) done() <-chan struct{} { return p.ended }
func (p *process) exit() int             { return p.cmd.ProcessState.ExitCode() }
