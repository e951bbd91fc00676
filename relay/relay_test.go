package relay

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/shared/config"
)

func good(more ...string) []string {
	return append([]string{"RELAY_REDIS_URL=memory://", "LINK_KEYS=l:hidden-hidden-hidden", "RELAY_ADDR=127.0.0.1:0", "RELAY_ADMIN_ADDR=127.0.0.1:0"}, more...)
}

func TestBadValuesNameTheirVariable(t *testing.T) {
	for _, set := range []string{
		"RELAY_REDIS_URL=", "RELAY_REDIS_URL=127.0.0.1:6379", "RELAY_REDIS_URL=http://hidden@h", "RELAY_REDIS_URL=redis://", "RELAY_REDIS_URL=redis://u:hidden%zz@h",
		"RELAY_REDIS_URL=memory://here", "RELAY_REDIS_URL=memory:///here", "RELAY_REDIS_URL=memory://%zz", "RELAY_REDIS_URL=redis://u:hidden@h:x",
		"RELAY_PREFIX={a}", "RELAY_PREFIX=a b", "RELAY_PREFIX=" + strings.Repeat("p", 65),
		"RELAY_REDIS_SHARDED=x", "RELAY_REDIS_SHARDED=true",
		"RELAY_HISTORY_SIZE=0", "RELAY_HISTORY_SIZE=x", "RELAY_HISTORY_AGE=0s", "RELAY_HISTORY_AGE=120", "RELAY_HISTORY_AGE=48h",
		"RELAY_ADDR=9000", "RELAY_ADDR=", "RELAY_ADMIN_ADDR=x", "LINK_KEYS=", "LINK_KEYS=hidden", "LINK_KEYS=l:hidden", "LOG_LEVEL=x", "LOG_FORMAT=x",
	} {
		name, _, _ := strings.Cut(set, "=")
		_, err := Load(good(set))
		if err == nil {
			t.Errorf("%s was taken", set)
			continue
		}
		if line := err.Error(); !strings.HasPrefix(line, name+": ") || strings.Contains(line, "\n") || strings.Contains(line, "hid") {
			t.Errorf("%s: not one line that names the variable and no secret: %s", set, line)
		}
	}
	for _, set := range []string{"RELAY_REDIS_URL=redis://u:p@h:6379/2", "RELAY_REDIS_URL=rediss://h", "RELAY_REDIS_URL=memory:", "RELAY_PREFIX=prod:", "RELAY_PREFIX="} {
		if _, err := Load(good(set)); err != nil {
			t.Errorf("%s: %v", set, err)
		}
	}
}

// TestShardedChannelsNeedARedisCluster checks that RELAY_REDIS_SHARDED is refused unless
// RELAY_REDIS_URL is for a Redis Cluster.
func TestShardedChannelsNeedARedisCluster(t *testing.T) {
	for url, want := range map[string]bool{
		"redis+cluster://h": true, "rediss+cluster://h:1,i": true, "redis://h": false, "rediss://h": false,
		"redis+sentinel://h/m": false, "memory://": false,
	} {
		_, err := Load(good("RELAY_REDIS_SHARDED=true", "RELAY_REDIS_URL="+url))
		if (err == nil) != want || err != nil && !strings.HasPrefix(err.Error(), "RELAY_REDIS_SHARDED: ") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestOnePortForTwoIsAProblem(t *testing.T) {
	_, err := Load(good("RELAY_ADDR=:9000", "RELAY_ADMIN_ADDR=127.0.0.1:9000"))
	if err == nil || !strings.HasPrefix(err.Error(), "RELAY_ADMIN_ADDR: ") {
		t.Errorf("got %v", err)
	}
}

func TestBadRedisParameterIsAProblem(t *testing.T) {
	_, err := Load(good("RELAY_REDIS_URL=redis://u:hidden@127.0.0.1:1/0?colour=red"))
	if err == nil || !strings.HasPrefix(err.Error(), "RELAY_REDIS_URL: ") || strings.Contains(err.Error(), "hidden") {
		t.Errorf("got %v", err)
	}
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	client := http.Client{Timeout: time.Minute}
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

func TestPortsAndEnd(t *testing.T) {
	cfg, err := Load(good("FLY_MACHINE_ID=m1", "FLY_REGION=fra"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := New(cfg, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	public, admin := "http://"+r.Addr().String(), "http://"+r.AdminAddr().String()
	for _, c := range []struct {
		url    string
		status int
		has    string
	}{
		{public + "/livez", 200, "live\n"},
		{public + "/readyz", 200, "ready\n"},
		{public + "/link", 400, ""},
		{public + "/metrics", 404, ""},
		{admin + "/livez", 200, `"name": "relay"`},
		{admin + "/readyz", 200, `"broker": "memory"`},
		{admin + "/readyz", 200, `"name": "m1"`},
		{admin + "/readyz", 200, `"region": "fra"`},
		{admin + "/metrics", 200, "edgerelay_relay_"},
		{admin + "/debug/config", 200, "RELAY_HISTORY_SIZE"},
	} {
		if status, body := get(t, c.url); status != c.status || !strings.Contains(body, c.has) {
			t.Errorf("%s: %d %s, want %d %s", c.url, status, body, c.status, c.has)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if h := r.Health(); h.Ready || len(h.Causes) != 1 || h.Causes[0] != "draining" {
		t.Errorf("after the end: %+v", h)
	}
}

func TestTakenPortNamesItsVariable(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, variable := range []string{"RELAY_ADDR", "RELAY_ADMIN_ADDR"} {
		cfg, err := Load(good(variable + "=" + taken.Addr().String()))
		if err != nil {
			t.Fatal(err)
		}
		r, err := New(cfg, Options{})
		if err != nil {
			t.Fatal(err)
		}
		var problem config.Problem
		if err := r.Run(t.Context()); !errors.As(err, &problem) || problem.Variable != variable {
			t.Errorf("%s taken: %v", variable, err)
		}
	}
}

// TestRedisAwayAtStart checks that a relay starts without its Redis, is ready, and reports that it
// is degraded.
func TestRedisAwayAtStart(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	cfg, err := Load(good("RELAY_REDIS_URL=redis://" + closed.Addr().String()))
	if err != nil {
		t.Fatal(err)
	}
	r, err := New(cfg, Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	for began := time.Now(); len(r.Health().Degraded) == 0; {
		if time.Since(began) > time.Minute {
			t.Fatal("not degraded after a minute")
		}
		time.Sleep(10 * time.Millisecond) // polls: there is no event to wait for
	}
	if h := r.Health(); !h.Ready || h.Degraded[0] != "broker" {
		t.Errorf("%+v", h)
	}
	r.Abort()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	cancel()
}

// TestC3_StrayCharactersInTheRedisURLAreRefused checks that Load refuses a URL that has a control
// character, a space at either end, or quotes around it. The error must be one line that names the
// mistake, and must not show the password.
func TestC3_StrayCharactersInTheRedisURLAreRefused(t *testing.T) {
	for value, want := range map[string]string{
		"redis://u:hidden@h:6379\n": "control character", "redis://u:hidden@h:6379\r": "control character",
		"redis://u:hidden@h:6379 ": "space", " redis://u:hidden@h:6379": "space",
		`"redis://u:hidden@h:6379"`: "quote", "'redis://u:hidden@h:6379'": "quote",
		"redis+sentinel://u:hidden@h:26379/main\n": "control character", "memory:// ": "space",
	} {
		_, err := Load(good("RELAY_REDIS_URL=" + value))
		if err == nil || !strings.HasPrefix(err.Error(), "RELAY_REDIS_URL: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want a line about a %s", value, err, want)
		}
		if err != nil && (strings.Contains(err.Error(), "hidden") || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%q: the line shows a secret, or there are several: %v", value, err)
		}
	}
}
