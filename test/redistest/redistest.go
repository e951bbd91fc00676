// Package redistest runs Redis servers of a test's own, and does to them what the world does: kill, freeze, restart.
package redistest

import (
	"context"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/edgerelay/edgerelay/test/loopback"
)

// Server is a redis-server on a free loopback port, with its data in the test's temporary directory. It ends with the test. Its methods
// are for the test's goroutine and end the test if they fail.
type Server struct {
	Addr string // host:port, the same after a Restart
	URL  string // redis://host:port

	t       testing.TB
	dir     string
	first   []string // arguments before the others
	options []string
	cmd     *exec.Cmd
	client  *redis.Client
}

// Start starts a server. Options are arguments of redis-server such as "--maxmemory", "10mb". Without redis-server on the PATH the test is
// skipped, unless the environment says CI=true: then it fails.
func Start(t testing.TB, options ...string) *Server {
	t.Helper()
	return start(t, nil, append([]string{"--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"}, options...))
}

func start(t testing.TB, first, options []string) *Server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		const hint = "redis-server is not on the PATH: apt-get install redis-server"
		if os.Getenv("CI") == "true" {
			t.Fatal(hint)
		}
		t.Skip(hint)
	}
	addr := loopback.FreeAddr(t)
	s := &Server{Addr: addr, URL: "redis://" + addr, t: t, dir: t.TempDir(), first: first, options: options}
	s.client = redis.NewClient(&redis.Options{
		Addr: addr, Protocol: 2, DisableIdentity: true, DialerRetries: 1,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	t.Cleanup(func() {
		s.client.Close()
		s.end()
	})
	s.start()
	return s
}

// Client returns a client of the server, with the retries that a test wants. It is closed with the test.
func (s *Server) Client() *redis.Client { return s.client }

// Kill ends the server without warning, as SIGKILL does. What was not saved is lost.
func (s *Server) Kill() {
	s.t.Helper()
	if s.cmd == nil {
		s.t.Fatal("redistest: killed twice")
	}
	s.end()
}

// Stop ends the server as an operator does: it closes its connections. Nothing is saved.
func (s *Server) Stop() {
	s.t.Helper()
	if s.cmd == nil {
		s.t.Fatal("redistest: stopped twice")
	}
	s.signal(syscall.SIGTERM)
	_ = s.cmd.Wait() // says how it ended
	s.cmd = nil
}

// Save writes the data to disk, so that the next Restart has it.
func (s *Server) Save() {
	s.t.Helper()
	if err := s.client.Save(s.t.Context()).Err(); err != nil {
		s.t.Fatal(err)
	}
}

// Restart starts the server again after Kill, on the same address, with the data last saved; empty if none was.
func (s *Server) Restart() {
	s.t.Helper()
	if s.cmd != nil {
		s.t.Fatal("redistest: restarted without Kill")
	}
	s.start()
}

// Pause freezes the server: connections stay, nothing is answered.
func (s *Server) Pause() {
	s.t.Helper()
	s.signal(syscall.SIGSTOP)
}

// Continue ends a Pause.
func (s *Server) Continue() {
	s.t.Helper()
	s.signal(syscall.SIGCONT)
}

func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

func (s *Server) start() {
	s.t.Helper()
	host, port, _ := net.SplitHostPort(s.Addr)
	args := slices.Concat(s.first, []string{"--bind", host, "--port", port, "--dir", s.dir}, s.options)
	s.cmd = exec.Command("redis-server", args...)
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.await()
}

// await returns when the server answers as itself: the port could be another's.
func (s *Server) await() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	want := strconv.Itoa(s.cmd.Process.Pid)
	for ctx.Err() == nil {
		if s.client.InfoMap(ctx, "server").Item("Server", "process_id") == want {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	s.t.Fatalf("redistest: redis-server does not answer on %s", s.Addr)
}

// end kills the process if there is one, and waits for it.
func (s *Server) end() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill() // works on a frozen process too
	_ = s.cmd.Wait()         // says that it was killed
	s.cmd = nil
}
