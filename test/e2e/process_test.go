package e2e

import (
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/edgerelay/edgerelay/test/e2e/chat"
	"github.com/edgerelay/edgerelay/test/e2e/cluster"
	"github.com/edgerelay/edgerelay/test/loopback"
)

func TestASecondSignalEndsAtOnceWithStatus1(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onProcesses(t))
	r := c.StartRelay(nil)
	e := c.StartEdge(cluster.Env{"EDGE_DRAIN": "1h"}, r)
	a := channel(t, e, chat.Unique("a"))
	e.Terminate()
	cluster.Eventually(t, "the edge drains", func() bool { status, _ := e.Ready(); return status == http.StatusServiceUnavailable })
	// The edge drains, so the first signal has reached it. The second signal must end the edge.
	// Eventually may send further signals, which do no harm.
	cluster.Eventually(t, "the edge ends", func() bool {
		e.Terminate()
		return e.HasExited()
	})
	if status := e.Exited(); status != 1 {
		t.Errorf("exit status %d, want 1", status)
	}
	if code := a.Ended(); code != -1 && code != websocket.StatusServiceRestart {
		t.Errorf("the client's close code is %d", code)
	}
}

// edgeEnv returns an environment that suffices for an edge to start, with free addresses.
func edgeEnv(t *testing.T) cluster.Env {
	return cluster.Env{"EDGE_ADDR": loopback.FreeAddr(t), "EDGE_ADMIN_ADDR": loopback.FreeAddr(t), "EDGE_RELAY_URLS": "ws://127.0.0.1:1", "EDGE_AUTH": "open", "LINK_KEYS": cluster.Key}
}

// relayEnv returns an environment that suffices for a relay to start, with free addresses.
func relayEnv(t *testing.T) cluster.Env {
	return cluster.Env{"RELAY_ADDR": loopback.FreeAddr(t), "RELAY_ADMIN_ADDR": loopback.FreeAddr(t), "RELAY_REDIS_URL": "memory://", "LINK_KEYS": cluster.Key}
}

// TestBadStartsSayWhyInOneLinePerProblem starts servers that cannot run. After a lasting fault,
// such as a bad variable, the exit status is 78. After a passing fault, such as a taken port, it is
// 1.
func TestBadStartsSayWhyInOneLinePerProblem(t *testing.T) {
	t.Parallel()
	onProcesses(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, c := range []struct {
		name, binary string
		set          cluster.Env
		unset        []string
		status       int
		problems     []string // variables; exactly one line of output must name each
	}{
		{"a taken port", "edge", cluster.Env{"EDGE_ADDR": taken.Addr().String()}, nil, 1, []string{"EDGE_ADDR"}},
		{"a taken admin port", "edge", cluster.Env{"EDGE_ADMIN_ADDR": taken.Addr().String()}, nil, 1, []string{"EDGE_ADMIN_ADDR"}},
		{"a relay's taken port", "relay", cluster.Env{"RELAY_ADDR": taken.Addr().String()}, nil, 1, []string{"RELAY_ADDR"}},
		{"nothing set", "edge", nil, []string{"EDGE_RELAY_URLS", "EDGE_AUTH", "LINK_KEYS"}, 78, []string{"EDGE_RELAY_URLS", "JWT_KEYS", "LINK_KEYS"}},
		{"nothing set for a relay", "relay", nil, []string{"RELAY_REDIS_URL", "LINK_KEYS"}, 78, []string{"RELAY_REDIS_URL", "LINK_KEYS"}},
		{"several bad values", "edge", cluster.Env{"EDGE_PING": "soon", "EDGE_MAX_MESSAGE": "2MiB", "EDGE_AUTH": "maybe", "EDGE_RELAY_URLS": "http://x"}, nil, 78,
			[]string{"EDGE_PING", "EDGE_MAX_MESSAGE", "EDGE_AUTH", "EDGE_RELAY_URLS"}},
		{"sharded channels without a Redis Cluster", "relay", cluster.Env{"RELAY_REDIS_SHARDED": "true"}, nil, 78, []string{"RELAY_REDIS_SHARDED"}},
		{"a Redis URL of another kind", "relay", cluster.Env{"RELAY_REDIS_URL": "http://127.0.0.1"}, nil, 78, []string{"RELAY_REDIS_URL"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := relayEnv(t)
			if c.binary == "edge" {
				env = edgeEnv(t)
			}
			for k, v := range c.set {
				env[k] = v
			}
			for _, k := range c.unset {
				delete(env, k)
			}
			status, out := cluster.Command(t, c.binary, env)
			if status != c.status {
				t.Errorf("exit status %d, want %d", status, c.status)
			}
			for _, name := range c.problems {
				found := 0
				for line := range strings.Lines(out) {
					if strings.Contains(line, name) {
						found++
					}
				}
				if found != 1 {
					t.Errorf("%d lines name %s, want one", found, name)
				}
			}
			if t.Failed() {
				t.Log(out)
			}
		})
	}
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onProcesses(t))
	for binary, env := range map[string]cluster.Env{"edge": edgeEnv(t), "relay": relayEnv(t)} {
		for _, run := range []struct {
			args   []string
			status int
			says   []string
		}{
			{[]string{"--help"}, 0, []string{"LINK_KEYS", "LOG_LEVEL", strings.ToUpper(binary) + "_ADDR"}},
			{[]string{"--check"}, 0, nil},
			{[]string{"--version"}, 0, nil},
			{[]string{"--no-such-flag"}, 64, nil},
		} {
			t.Run(binary+" "+run.args[0], func(t *testing.T) {
				status, out := cluster.Command(t, binary, env, run.args...)
				if status != run.status {
					t.Errorf("exit status %d, want %d: %s", status, run.status, out)
				}
				for _, s := range run.says {
					if !strings.Contains(out, s) {
						t.Errorf("it does not say %s:\n%s", s, out)
					}
				}
				if strings.Contains(out, cluster.Key) {
					t.Errorf("it prints a secret:\n%s", out)
				}
			})
		}
	}
	t.Run("an unknown variable is a warning that names the nearest", func(t *testing.T) {
		env := edgeEnv(t)
		env["EDGE_MAX_MESAGE"] = "1KiB"
		status, out := cluster.Command(t, "edge", env, "--check")
		if status != 0 || !strings.Contains(out, "EDGE_MAX_MESAGE") || !strings.Contains(out, "EDGE_MAX_MESSAGE") {
			t.Errorf("exit status %d: %s", status, out)
		}
	})
	t.Run("healthcheck", func(t *testing.T) {
		r := c.StartRelay(nil)
		e := c.StartEdge(nil, r)
		for _, s := range []struct {
			binary string
			env    cluster.Env
			want   int
		}{
			{"edge", cluster.Env{"EDGE_ADDR": e.Addr(), "EDGE_ADMIN_ADDR": e.Admin()}, 0},
			{"relay", cluster.Env{"RELAY_ADMIN_ADDR": r.Admin()}, 0},
			{"edge", edgeEnv(t), 1},
			{"relay", relayEnv(t), 1},
		} {
			env := edgeEnv(t)
			if s.binary == "relay" {
				env = relayEnv(t)
			}
			for k, v := range s.env {
				env[k] = v
			}
			if status, out := cluster.Command(t, s.binary, env, "healthcheck"); status != s.want {
				t.Errorf("%s healthcheck: exit status %d, want %d: %s", s.binary, status, s.want, out)
			}
		}
	})
}
