package edge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/shared/config"
	"github.com/edgerelay/edgerelay/shared/httpguard"
)

func newEdge(t *testing.T, more ...string) *Edge {
	t.Helper()
	cfg, err := Load(append([]string{
		"EDGE_RELAY_URLS=ws://127.0.0.1:1", "LINK_KEYS=l:hidden-hidden-hidden", "EDGE_AUTH=open", "EDGE_ADDR=127.0.0.1:0", "EDGE_ADMIN_ADDR=127.0.0.1:0", "EDGE_DRAIN=1s",
	}, more...))
	if err != nil {
		t.Fatal(err)
	}
	unreachable := func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no network") }
	e, err := New(cfg, Options{NetDial: unreachable})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Listen(); err != nil {
		t.Fatal(err)
	}
	return e
}

// run runs e until the test ends or the returned function is called. That function waits for the
// end of Run, and returns Run's error.
func run(t *testing.T, e *Edge) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	done := false
	var err error
	stop = func() error {
		if !done {
			cancel()
			err, done = <-ended, true
		}
		return err
	}
	t.Cleanup(func() { stop() })
	return stop
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	client := http.Client{Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	r, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

func TestPorts(t *testing.T) {
	e := newEdge(t, "EDGE_NODE_ID=n1", "FLY_REGION=fra")
	stop := run(t, e)
	public, admin := "http://"+e.Addr().String(), "http://"+e.AdminAddr().String()
	for _, c := range []struct {
		url    string
		status int
		has    string
	}{
		{public + "/livez", 200, "live\n"},
		{public + "/readyz", 503, "unready\n"},
		{public + "/chat/channel/1", 426, "upgrade"},
		{public + "/chat/channel/a%2F%2Fb", 426, "upgrade"}, // not redirected to a cleaner path
		{public + "/chat/channel/%2E%2E", 426, "upgrade"},
		{public + "/", 404, ""},
		{public + "/metrics", 404, ""},
		{public + "/debug/pprof/", 404, ""},
		{admin + "/livez", 200, `"live": true`},
		{admin + "/readyz", 503, `"never linked"`},
		{admin + "/metrics", 200, "edgerelay_edge_link_up 0"},
		{admin + "/debug/config", 200, `"EDGE_NODE_ID"`},
	} {
		if status, body := get(t, c.url); status != c.status || !strings.Contains(body, c.has) {
			t.Errorf("%s: %d %s, want %d %s", c.url, status, body, c.status, c.has)
		}
	}
	if _, body := get(t, admin+"/debug/config"); strings.Contains(body, "hidden") {
		t.Error("the configuration page shows a secret")
	}
	_, body := get(t, admin+"/readyz")
	var health httpguard.Health
	if err := json.Unmarshal([]byte(body), &health); err != nil || health.Detail["node"] != "n1" || health.Detail["region"] != "fra" || health.Degraded[0] != "relay" {
		t.Errorf("%s %v", body, err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestDrainingIsUnready(t *testing.T) {
	e := newEdge(t)
	e.draining.Store(true)
	if h := e.Health(); h.Ready || !strings.Contains(fmt.Sprint(h.Causes), "draining") {
		t.Errorf("%+v", h)
	}
	e.listener.Close()
	e.admin.Close()
}

func TestTakenPortNamesItsVariable(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, c := range []struct{ variable, free string }{{"EDGE_ADDR", "EDGE_ADMIN_ADDR"}, {"EDGE_ADMIN_ADDR", "EDGE_ADDR"}} {
		cfg, err := Load(good(c.variable+"="+taken.Addr().String(), c.free+"=127.0.0.1:0"))
		if err != nil {
			t.Fatal(err)
		}
		e, err := New(cfg, Options{})
		if err != nil {
			t.Fatal(err)
		}
		var problem config.Problem
		if err := e.Run(t.Context()); !errors.As(err, &problem) || problem.Variable != c.variable {
			t.Errorf("%s taken: %v", c.variable, err)
		}
	}
}

func TestAbort(t *testing.T) {
	e := newEdge(t, "EDGE_DRAIN=1h")
	ended := make(chan error, 1)
	go func() { ended <- e.Run(t.Context()) }()
	e.Abort()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestLogHasNoSecret(t *testing.T) {
	var text bytes.Buffer
	cfg, err := Load(good("EDGE_ADDR=127.0.0.1:0", "EDGE_ADMIN_ADDR=127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	slog.New(slog.NewJSONHandler(&text, nil)).Info("configuration", "cfg", fmt.Sprintf("%+v %v", cfg, config.Settings(cfg)), "keys", cfg.Tokens.JWTKeys)
	if strings.Contains(text.String(), "hidden") {
		t.Error(text.String())
	}
}
