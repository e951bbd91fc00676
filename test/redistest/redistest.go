// Package redistest runs Redis servers of a test's own. It can kill, freeze and restart them, as
// happens to servers in production.
package redistest

import (
	"context"
	"net"
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

// Server is a redis-server on a free loopback port. Its data is in the test's temporary directory,
// and it ends with the test. Only the test's goroutine may call the methods other than Client,
// since they end the test if they fail.
type Server struct {
	Addr string // host:port, the same after a Restart
	URL  string // redis://host:port, or rediss://host:port with TLS

	t        testing.TB
	program  string
	dir      string
	first    []string // arguments that come before all others
	identity []string // arguments for the port and TLS
	options  []string
	cmd      *exec.Cmd
	client   *redis.Client
}

// Start starts a server. The options are further arguments of redis-server, such as "--maxmemory",
// "10mb". Without a redis-server the test is skipped or fails, as Need says.
func Start(t testing.TB, options ...string) *Server {
	t.Helper()
	return start(t, nil, nil, plain(options))
}

// The function plain puts the usual options before the test's own options. With the usual options
// alone, the server saves its data only if Save is called.
func plain(options []string) []string {
	return append([]string{"--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"}, options...)
}

func start(t testing.TB, how *TLS, first, options []string) *Server {
	t.Helper()
	program := Need(t)
	addr := loopback.FreeAddr(t)
	s := &Server{
		Addr: addr, URL: how.scheme() + "://" + addr, t: t, program: program, dir: t.TempDir(),
		first: first, options: options,
	}
	s.identify(how)
	t.Cleanup(func() {
		s.client.Close()
		s.end()
	})
	s.start()
	return s
}

// Server.identify sets the arguments for the port and for TLS, and makes a client that fits them. A
// nil TLS is for a server that speaks no TLS.
func (s *Server) identify(how *TLS) {
	s.t.Helper()
	host, port, _ := net.SplitHostPort(s.Addr)
	s.identity = how.arguments(host, port)
	s.client = redis.NewClient(&redis.Options{
		Addr: s.Addr, Protocol: 2, DisableIdentity: true, DialerRetries: 1, TLSConfig: how.client(s.t),
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}

// Client returns a client of the server. When the client needs a connection, it dials once, while
// go-redis by default dials up to five times. The client is closed at the end of the test, and by
// RestartTLS.
func (s *Server) Client() *redis.Client { return s.client }

// Kill ends the server without warning, as SIGKILL does. Data that the server has not written to a
// file is lost. The server writes files when Save is called, or as its options say.
func (s *Server) Kill() {
	s.t.Helper()
	if s.cmd == nil {
		s.t.Fatal("redistest: killed twice")
	}
	s.end()
}

// Stop ends the server with SIGTERM, as an operator does. The server closes its connections. It
// saves nothing, unless the test has given it options to save.
func (s *Server) Stop() {
	s.t.Helper()
	if s.cmd == nil {
		s.t.Fatal("redistest: stopped twice")
	}
	s.signal(syscall.SIGTERM)
	_ = s.cmd.Wait() // the error only says how the process ended
	s.cmd = nil
}

// Save writes the data to disk, so that the next Restart has it.
func (s *Server) Save() {
	s.t.Helper()
	if err := s.client.Save(s.t.Context()).Err(); err != nil {
		s.t.Fatal(err)
	}
}

// Restart starts the server again after Kill or Stop, at the same address and with the data in its
// files. Without files it starts empty.
func (s *Server) Restart() {
	s.t.Helper()
	if s.cmd != nil {
		s.t.Fatal("redistest: restarted without Kill")
	}
	s.start()
}

// Pause freezes the server. Connections stay open, but nothing is answered.
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
	host, _, _ := net.SplitHostPort(s.Addr)
	args := slices.Concat(s.first, []string{"--bind", host, "--dir", s.dir}, s.identity, s.options)
	s.cmd = exec.Command(s.program, args...)
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.await()
}

// Server.await waits until the server answers with the process id of s.cmd. Another process could
// have taken the port.
func (s *Server) await() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	want := strconv.Itoa(s.cmd.Process.Pid)
	for ctx.Err() == nil {
		if s.client.InfoMap(ctx, "server").Item("Server", "process_id") == want {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	s.t.Fatalf("redistest: %s does not answer on %s", s.program, s.Addr)
}

// Server.end kills the process, if there is one, and waits for its end.
func (s *Server) end() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill() // this ends even a frozen process
	_ = s.cmd.Wait()         // the error only says that the process was killed
	s.cmd = nil
}
