package relay

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/test/redistest"
)

// TestRedisTLSFiles checks that Load refuses wrong files for TLS to Redis. Load must also refuse
// wrong combinations of the variables that name these files. The error must name the variable.
func TestRedisTLSFiles(t *testing.T) {
	a := redistest.NewAuthority(t)
	cert, key := a.Certify("relay")
	_, otherKey := a.Certify("other")
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	ca, missing := "RELAY_REDIS_CA="+a.File, filepath.Join(t.TempDir(), "missing")
	for _, c := range []struct {
		url  string
		set  []string
		want []string // parts of the error; nil: no error
	}{
		{"rediss://h", []string{ca}, nil},
		{"rediss+sentinel://h/m", []string{ca}, nil},
		{"rediss+cluster://h", []string{ca, "RELAY_REDIS_CERT=" + cert, "RELAY_REDIS_KEY=" + key}, nil},
		{"rediss://h", []string{"RELAY_REDIS_CERT=" + cert, "RELAY_REDIS_KEY=" + key}, nil},
		{"redis://h", []string{ca}, []string{"RELAY_REDIS_CA: ", "rediss"}},
		{"memory://", []string{ca}, []string{"RELAY_REDIS_CA: ", "rediss"}},
		{"rediss://h", []string{"RELAY_REDIS_CA=" + missing}, []string{"RELAY_REDIS_CA: ", missing}},
		{"rediss://h", []string{"RELAY_REDIS_CA=" + empty}, []string{"RELAY_REDIS_CA: ", "no certificate"}},
		{"rediss://h", []string{"RELAY_REDIS_CERT=" + cert}, []string{"RELAY_REDIS_KEY: ", "is needed"}},
		{"rediss://h", []string{"RELAY_REDIS_KEY=" + key}, []string{"RELAY_REDIS_CERT: ", "is needed"}},
		{"rediss://h", []string{"RELAY_REDIS_CERT=" + cert, "RELAY_REDIS_KEY=" + otherKey},
			[]string{"RELAY_REDIS_CERT: ", "does not match"}},
	} {
		_, err := Load(good(append(c.set, "RELAY_REDIS_URL="+c.url)...))
		if c.want == nil && err != nil {
			t.Errorf("%s %v: %v", c.url, c.set, err)
		}
		for _, part := range c.want {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%s %v: %v, want one with %q", c.url, c.set, err, part)
			}
		}
	}
}

func TestRedisWithoutVerificationIsAWarning(t *testing.T) {
	cfg, err := Load(good("RELAY_REDIS_URL=rediss://h?skip_verify=true"))
	if err != nil {
		t.Fatal(err)
	}
	if lines := cfg.Warnings(); len(lines) != 1 || !strings.Contains(lines[0], "RELAY_REDIS_CA") {
		t.Errorf("warnings %q", lines)
	}
}

// TestRedisTLSEndToEnd runs two relays that trust one authority. The first must reach its Redis.
// The second must not reach its Redis, which has a certificate for another host. The second relay
// must log what to do.
func TestRedisTLSEndToEnd(t *testing.T) {
	a := redistest.NewAuthority(t)
	right := redistest.StartTLS(t, redistest.TLS{Authority: a, AskClient: true})
	wrong := redistest.StartTLS(t, redistest.TLS{Authority: a, Host: "redis.example"})
	cert, key := a.Certify("relay")
	files := []string{"RELAY_REDIS_CA=" + a.File, "RELAY_REDIS_CERT=" + cert, "RELAY_REDIS_KEY=" + key}

	admin, _ := runWith(t, append(files, "RELAY_REDIS_URL="+right.URL)...)
	until(t, "there is a broker", func() bool {
		_, body := get(t, admin+"/readyz")
		return strings.Contains(body, `"broker_name"`) && strings.Contains(body, `"degraded": []`)
	})
	admin, lines := runWith(t, append(files, "RELAY_REDIS_URL="+wrong.URL)...)
	until(t, "the broker is away", func() bool {
		_, body := get(t, admin+"/readyz")
		return !strings.Contains(body, `"degraded": []`)
	})
	until(t, "a line says what to do", func() bool {
		return strings.Contains(lines.String(), "name the server in RELAY_REDIS_URL as its certificate does")
	})
}

// runWith runs a relay until the test ends. It returns the URL of the relay's admin port, and the
// relay's log.
func runWith(t *testing.T, set ...string) (admin string, lines *logged) {
	t.Helper()
	cfg, err := Load(good(set...))
	if err != nil {
		t.Fatal(err)
	}
	lines = &logged{}
	r, err := New(cfg, Options{Log: slog.New(slog.NewTextHandler(lines, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := r.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return "http://" + r.AdminAddr().String(), lines
}

// The function named until polls the given condition until it holds. If that takes more than 20 s,
// the test fails.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// logged is an io.Writer that keeps what was written to it.
type logged struct {
	mu   sync.Mutex // guards the following
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
