package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"github.com/edgerelay/edgerelay/edge"
	"github.com/edgerelay/edgerelay/relay"
	"github.com/edgerelay/edgerelay/relay/broker/memorybroker"
)

// inProcess runs servers in the test's process. With Memory its relays share one store, which
// outlives them as Redis would.
type inProcess struct{ memory *memorybroker.Memory }

func newInProcess(t testing.TB, relays Env) runner {
	size, err := strconv.Atoi(relays["RELAY_HISTORY_SIZE"])
	if err != nil {
		t.Fatal(err)
	}
	return inProcess{memorybroker.New(memorybroker.Config{HistorySize: size})}
}

// The type embedded is a server in the test's process.
type embedded struct {
	cancel context.CancelFunc
	abort  func()
	ended  chan struct{}
	err    error // the error of Run; set before the channel above is closed
	socket *abrupt
}

func (r inProcess) relay(t testing.TB, env Env, log *logbook) server {
	t.Helper()
	cfg, err := relay.Load(list(env))
	if err != nil {
		t.Fatal(err)
	}
	o := relay.Options{Listener: listen(t, string(cfg.Addr)), Log: logger(log)}
	if cfg.Memory() {
		o.Broker = r.memory.Broker()
	}
	s, err := relay.New(cfg, o)
	if err != nil {
		t.Fatal(err)
	}
	return run(s.Run, s.Abort, o.Listener.(*abrupt), log)
}

func (r inProcess) edge(t testing.TB, env Env, log *logbook) server {
	t.Helper()
	cfg, err := edge.Load(list(env))
	if err != nil {
		t.Fatal(err)
	}
	o := edge.Options{Listener: listen(t, string(cfg.Addr)), Log: logger(log)}
	s, err := edge.New(cfg, o)
	if err != nil {
		t.Fatal(err)
	}
	return run(s.Run, s.Abort, o.Listener.(*abrupt), log)
}

func (inProcess) host() string { return "127.0.0.1" }

func run(serve func(context.Context) error, abort func(), socket *abrupt, log *logbook) server {
	ctx, cancel := context.WithCancel(context.Background())
	s := &embedded{cancel: cancel, abort: abort, ended: make(chan struct{}), socket: socket}
	go func() {
		if s.err = serve(ctx); s.err != nil {
			fmt.Fprintln(log, s.err) // the binaries print the error too
		}
		close(s.ended)
	}()
	return s
}

func (s *embedded) terminate() { s.cancel() }

// embedded.kill breaks every connection that the server accepted for links or clients, and aborts
// the server. It does not wait for the server's end. Edge.Kill and Relay.Kill first break the
// server's connections to other servers, at the proxies.
func (s *embedded) kill() {
	s.socket.reset()
	s.abort()
}

func (s *embedded) freeze() {
	panic("a server in the test's process cannot be frozen: use another kind")
}
func (s *embedded) thaw() {}

func (s *embedded) done() <-chan struct{} { return s.ended }

func (s *embedded) exit() int {
	if s.err != nil {
		return 1
	}
	return 0
}

func logger(w *logbook) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func list(env Env) (environ []string) {
	for k, v := range env {
		environ = append(environ, k+"="+v)
	}
	return environ
}

// The type abrupt is a listener that can break all connections that it accepted.
type abrupt struct {
	net.Listener

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	broken bool
}

func listen(t testing.TB, addr string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		t.Fatalf("the harness' own port is taken: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return &abrupt{Listener: l, conns: map[net.Conn]struct{}{}}
}

// Accept implements net.Listener.
func (l *abrupt) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken {
		abort(c)
		return nil, net.ErrClosed
	}
	l.conns[c] = struct{}{}
	return &tracked{c.(*net.TCPConn), l}, nil
}

func (l *abrupt) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = true
	for c := range l.conns {
		abort(c)
	}
}

// The type tracked is a *net.TCPConn that leaves its listener's table when it is closed.
type tracked struct {
	*net.TCPConn
	listener *abrupt
}

// Close implements net.Conn.
func (c *tracked) Close() error {
	c.listener.mu.Lock()
	delete(c.listener.conns, c.TCPConn)
	c.listener.mu.Unlock()
	return c.TCPConn.Close()
}
