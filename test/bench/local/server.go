// Package local runs the product's static binaries and a redis-server on loopback, for measurements.
package local

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const module = "github.com/edgerelay/edgerelay"

// Dir holds the binaries and Redis' data. Remove it in the end.
type Dir string

// Build compiles the binaries as they are shipped: edge, relay, and edgerelay, which is all in one process. It must be called in the repository.
func Build(ctx context.Context) (Dir, error) {
	dir, err := os.MkdirTemp("", "edgerelay-bench-")
	if err != nil {
		return "", err
	}
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", dir, module, module+"/edge/cmd/edge", module+"/relay/cmd/relay", module+"/test/bench/floor")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		os.RemoveAll(dir)
		return "", fmt.Errorf("run it in the repository: go build: %w\n%s", err, out)
	}
	return Dir(dir), nil
}

// Remove deletes all of it.
func (d Dir) Remove() { os.RemoveAll(string(d)) }

// Server is a process, which may be started again and again at the same address.
type Server struct {
	Addr string // host:port that it serves on

	path  string
	args  []string
	env   []string
	admin string // "": it has none
	ready string // a URL that is 200 when it is ready; "": once it listens
	cmd   *exec.Cmd
	ended chan struct{} // closed when the process has ended
}

const linkKeys = "LINK_KEYS=bench:a-key-for-loopback-only"

// Redis returns a redis-server that keeps nothing on disk; options as "--maxmemory", "10mb".
func (d Dir) Redis(options ...string) (*Server, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, fmt.Errorf("%w: apt-get install redis-server", err)
	}
	addr, port := free()
	return &Server{Addr: addr, path: path, args: append([]string{"--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", string(d)}, options...)}, nil
}

// Relay returns a relay. env is added to what it needs.
func (d Dir) Relay(redis *Server, env ...string) *Server {
	addr, _ := free()
	admin, _ := free()
	return &Server{Addr: addr, admin: admin, ready: "http://" + addr + "/readyz", path: filepath.Join(string(d), "relay"), env: append([]string{
		linkKeys, "RELAY_ADDR=" + addr, "RELAY_ADMIN_ADDR=" + admin, "RELAY_REDIS_URL=redis://" + redis.Addr, "LOG_LEVEL=error"}, env...)}
}

// Edge returns an edge. urls are relays to choose from.
func (d Dir) Edge(urls string, env ...string) *Server {
	addr, port := free()
	admin, _ := free()
	return &Server{Addr: addr, admin: admin, ready: "http://" + addr + "/readyz", path: filepath.Join(string(d), "edge"), env: append([]string{
		linkKeys, "EDGE_ADDR=" + addr, "EDGE_ADMIN_ADDR=" + admin, "EDGE_RELAY_URLS=" + urls, "EDGE_NODE_ID=edge-" + port,
		"EDGE_AUTH=open", "LOG_LEVEL=error"}, env...)}
}

// One returns the whole cluster in one process, messages in memory.
func (d Dir) One(env ...string) *Server {
	addr, _ := free()
	return &Server{Addr: addr, ready: "http://" + addr + "/readyz", path: filepath.Join(string(d), "edgerelay"), env: append([]string{
		"EDGE_ADDR=" + addr, "EDGE_AUTH=open", "EDGE_MAX_SESSIONS=50000", "LOG_LEVEL=error"}, env...)}
}

// Floor returns the program that only writes what one WebSocket sends to all others.
func (d Dir) Floor() *Server {
	addr, _ := free()
	return &Server{Addr: addr, path: filepath.Join(string(d), "floor"), args: []string{"-addr", addr}}
}

// Ports are taken below the range from which the kernel gives local ports to outgoing connections, so that a server that is started again finds its port free,
// however many clients there are.
const firstPort, lastPort = 20000, 31999

var nextPort = firstPort + os.Getpid()*97%(lastPort-firstPort) // apart from other processes that run side by side

// free returns an address of loopback that nobody listens on, and that was not returned before.
func free() (addr, port string) {
	for range lastPort - firstPort {
		if nextPort++; nextPort > lastPort {
			nextPort = firstPort
		}
		port = strconv.Itoa(nextPort)
		if l, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			l.Close()
			return "127.0.0.1:" + port, port
		}
	}
	panic("no free port on loopback")
}

// Start starts the process and returns how long it took until it was ready. When it fails the process has ended.
func (s *Server) Start(ctx context.Context) (took time.Duration, err error) {
	cmd, ended := exec.Command(s.path, s.args...), make(chan struct{})
	cmd.Env, cmd.Stderr = s.env, os.Stderr
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	s.cmd, s.ended = cmd, ended
	go func() {
		cmd.Wait()
		close(ended)
	}()
	defer func() {
		if err != nil {
			s.Kill()
			err = fmt.Errorf("%s: %w", filepath.Base(s.path), err)
		}
	}()
	for !s.answers() {
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-ended:
			return 0, fmt.Errorf("it ended before it was ready: %v", cmd.ProcessState)
		case <-time.After(time.Millisecond):
		}
		if time.Since(began) > patience {
			return 0, fmt.Errorf("it is not ready after %v", patience)
		}
	}
	return time.Since(began), nil
}

// patience is how long a process may take to be ready.
const patience = 30 * time.Second

func (s *Server) answers() bool {
	if s.ready == "" {
		c, err := net.Dial("tcp", s.Addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	}
	res, err := http.Get(s.ready)
	if err != nil {
		return false
	}
	res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// Kill ends it as kill -9 does. It may be called on one that was not started, or has ended.
func (s *Server) Kill() {
	if s != nil && s.cmd != nil {
		s.cmd.Process.Kill()
		<-s.ended
		http.DefaultClient.CloseIdleConnections()
	}
}

// Terminate sends SIGTERM.
func (s *Server) Terminate() error { return s.cmd.Process.Signal(syscall.SIGTERM) }

// Wait returns when it has ended.
func (s *Server) Wait() { <-s.ended }

// PID returns the process' id; 0 when it was not started.
func (s *Server) PID() int {
	if s.cmd == nil {
		return 0
	}
	return s.cmd.Process.Pid
}

// Metric returns the sum of the series of a name; 0 when nobody answers.
func (s *Server) Metric(ctx context.Context, name string) (sum float64) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.admin+"/metrics", nil)
	if err != nil {
		return 0
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	defer res.Body.Close()
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		series, value, _ := strings.Cut(lines.Text(), " ")
		if base, _, _ := strings.Cut(series, "{"); base == name {
			v, _ := strconv.ParseFloat(value, 64)
			sum += v
		}
	}
	return sum
}
