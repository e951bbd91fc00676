// Package local runs the product's static binaries, a redis-server and other servers on loopback,
// to measure them.
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

	"github.com/edgerelay/edgerelay/test/loopback"
)

const module = "github.com/edgerelay/edgerelay"

// Dir is the path of a folder with the binaries, and with files that the servers need. The caller
// must Remove it.
type Dir string

// Build compiles the binaries as they are shipped: edge, relay, and edgerelay, which is the whole
// cluster in one process. It also compiles floor. The working directory must be in the repository.
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

// Remove deletes the folder.
func (d Dir) Remove() { os.RemoveAll(string(d)) }

// Server is a process that may be started again and again at the same address.
type Server struct {
	Addr string // host:port of its service

	path  string
	args  []string
	env   []string
	admin string // address of its admin port; "": none
	ready string // URL that answers 200 when ready; "": a server that listens is ready
	cmd   *exec.Cmd
	ended chan struct{} // closed when the process has ended
}

const linkKeys = "LINK_KEYS=" + LinkKey

// LinkKey is the value of LINK_KEYS of all servers.
const LinkKey = "bench:a-key-for-loopback-only"

// Redis returns a redis-server that keeps nothing on disk. The options are arguments of
// redis-server, such as "--maxmemory", "10mb".
func (d Dir) Redis(options ...string) (*Server, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, fmt.Errorf("%w: apt-get install redis-server", err)
	}
	addr, port := free()
	return &Server{Addr: addr, path: path, args: append([]string{"--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", string(d)}, options...)}, nil
}

// Relay returns a relay. The settings in env are added to the environment that the relay needs.
func (d Dir) Relay(redis *Server, env ...string) *Server {
	addr, _ := free()
	admin, _ := free()
	return &Server{Addr: addr, admin: admin, ready: "http://" + addr + "/readyz", path: filepath.Join(string(d), "relay"), env: append([]string{
		linkKeys, "RELAY_ADDR=" + addr, "RELAY_ADMIN_ADDR=" + admin, "RELAY_REDIS_URL=redis://" + redis.Addr, "LOG_LEVEL=error"}, env...)}
}

// Edge returns an edge. The parameter urls is a list of the URLs of its relays, separated by
// commas. The settings in env are added to the environment that the edge needs.
func (d Dir) Edge(urls string, env ...string) *Server {
	addr, port := free()
	admin, _ := free()
	return &Server{Addr: addr, admin: admin, ready: "http://" + addr + "/readyz", path: filepath.Join(string(d), "edge"), env: append([]string{
		linkKeys, "EDGE_ADDR=" + addr, "EDGE_ADMIN_ADDR=" + admin, "EDGE_RELAY_URLS=" + urls, "EDGE_NODE_ID=edge-" + port,
		"EDGE_AUTH=open", "LOG_LEVEL=error"}, env...)}
}

// One returns a server that is the whole cluster in one process, with messages in memory.
func (d Dir) One(env ...string) *Server {
	addr, _ := free()
	return &Server{Addr: addr, ready: "http://" + addr + "/readyz", path: filepath.Join(string(d), "edgerelay"), env: append([]string{
		"EDGE_ADDR=" + addr, "EDGE_AUTH=open", "EDGE_MAX_SESSIONS=50000", "LOG_LEVEL=error"}, env...)}
}

// Floor returns the program of test/bench/floor.
func (d Dir) Floor() *Server {
	addr, _ := free()
	return &Server{Addr: addr, path: filepath.Join(string(d), "floor"), args: []string{"-addr", addr}}
}

// The function free returns an address of loopback for a server, and its port.
func free() (addr, port string) {
	addr, err := loopback.Free()
	if err != nil {
		panic(err)
	}
	_, port, _ = net.SplitHostPort(addr)
	return addr, port
}

// Start starts the process and returns how long it took until it was ready. If Start fails, the
// process has ended.
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

// The constant patience is the longest time that a process may take to be ready.
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

// Kill ends the process as kill -9 does. It has no effect on a process that was not started or has
// ended.
func (s *Server) Kill() {
	if s != nil && s.cmd != nil {
		s.cmd.Process.Kill()
		<-s.ended
		http.DefaultClient.CloseIdleConnections()
	}
}

// Terminate sends SIGTERM.
func (s *Server) Terminate() error { return s.cmd.Process.Signal(syscall.SIGTERM) }

// Wait returns when the process has ended.
func (s *Server) Wait() { <-s.ended }

// PID returns the process' ID, or 0 if it was not started.
func (s *Server) PID() int {
	if s.cmd == nil {
		return 0
	}
	return s.cmd.Process.Pid
}

// Metric returns the sum of all series of the metric with the given name, or 0 if the server does
// not answer.
func (s *Server) Metric(ctx context.Context, name string) float64 {
	return s.sum(ctx, func(series string) bool {
		base, _, _ := strings.Cut(series, "{")
		return base == name
	})
}

// Bucket reads a histogram without labels, and returns how many of its observations were at most as
// large as the bound le. The histogram must have a bucket with this bound. Bucket returns 0 if the
// server does not answer.
func (s *Server) Bucket(ctx context.Context, name, le string) float64 {
	return s.sum(ctx, func(series string) bool { return series == fmt.Sprintf("%s_bucket{le=%q}", name, le) })
}

// Server.sum adds up the values of those series for which the given function returns true.
func (s *Server) sum(ctx context.Context, counts func(series string) bool) (sum float64) {
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
		if counts(series) {
			v, _ := strconv.ParseFloat(value, 64)
			sum += v
		}
	}
	return sum
}
