package relay

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgerelay/edgerelay/test/redistest"
)

// rotated is a relay whose TLS files for Redis can be replaced while it runs.
type rotated struct {
	t             *testing.T
	server        *redistest.Server
	ca, cert, key string // paths of the relay's files
	admin         string
	lines         *logged
	seen          int // length of lines at the last call of kill
}

// rotate starts a Redis server and a relay. The server asks its clients for a certificate of the
// given authority, and the relay has such a certificate. rotate waits until the relay has reached
// the server.
func rotate(t *testing.T, a *redistest.Authority) *rotated {
	t.Helper()
	dir := t.TempDir()
	r := &rotated{
		t: t, server: redistest.StartTLS(t, redistest.TLS{Authority: a, AskClient: true}),
		ca:   filepath.Join(dir, "ca.pem"),
		cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem"),
	}
	cert, key := a.Certify("relay")
	r.put(r.ca, a.File)
	r.put(r.cert, cert)
	r.put(r.key, key)
	r.admin, r.lines = runWith(t, "RELAY_REDIS_URL="+r.server.URL,
		"RELAY_REDIS_CA="+r.ca, "RELAY_REDIS_CERT="+r.cert, "RELAY_REDIS_KEY="+r.key)
	r.await("the broker is there", func() bool {
		body := r.ready()
		return strings.Contains(body, `"broker_name"`) && strings.Contains(body, `"degraded": []`)
	})
	return r
}

// put replaces a file in one step. The new content is what the other files contain, joined in their
// order.
func (r *rotated) put(file string, others ...string) {
	r.t.Helper()
	var text bytes.Buffer
	for _, other := range others {
		part, err := os.ReadFile(other)
		if err != nil {
			r.t.Fatal(err)
		}
		text.Write(part)
	}
	r.write(file, text.Bytes())
}

func (r *rotated) write(file string, text []byte) {
	r.t.Helper()
	if err := os.WriteFile(file+".next", text, 0o600); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Rename(file+".next", file); err != nil {
		r.t.Fatal(err)
	}
}

// kill ends the server, and waits until the relay logs that Redis is away.
func (r *rotated) kill() {
	r.t.Helper()
	r.seen = len(r.lines.String())
	r.server.Kill()
	r.told("redis is away")
}

// The method named told waits until the relay has logged the given text. What the relay logged
// before the last call of kill does not count.
func (r *rotated) told(text string) {
	r.t.Helper()
	r.await(text, func() bool { return strings.Contains(r.lines.String()[r.seen:], text) })
}

// The method named says waits until the broker's cause in /readyz contains the given text.
func (r *rotated) says(text string) {
	r.t.Helper()
	r.await("readiness says "+text, func() bool {
		_, cause, found := strings.Cut(r.ready(), `"broker_cause"`)
		return found && strings.Contains(cause, text)
	})
}

func (r *rotated) ready() string {
	_, body := get(r.t, r.admin+"/readyz")
	return body
}

// await polls the given condition until it holds. If the test fails meanwhile, await shows what the
// relay has logged.
func (r *rotated) await(what string, holds func() bool) {
	r.t.Helper()
	defer func() {
		if r.t.Failed() {
			r.t.Logf("logged:\n%s", r.lines)
		}
	}()
	until(r.t, what, holds)
}

// TestRedisFilesReplaced replaces an authority. First the server gets a certificate of the next
// authority, which the relay does not know yet. Then the relay trusts both authorities. Last, the
// relay gets a certificate of the next authority, and must reach the server. Until then, /readyz
// must say why the broker is away.
func TestRedisFilesReplaced(t *testing.T) {
	t.Parallel()
	old, next := redistest.NewAuthority(t), redistest.NewAuthority(t)
	r := rotate(t, old)
	cert, key := next.Certify("relay")

	r.kill()
	r.says("connection refused")
	r.server.RestartTLS(redistest.TLS{Authority: next, AskClient: true})
	r.says("RELAY_REDIS_CA")
	r.told("redis is still away")
	r.told("RELAY_REDIS_CA")

	r.put(r.ca, old.File, next.File)
	r.await("readiness has another cause", func() bool {
		body := r.ready()
		return strings.Contains(body, "broker_cause") && !strings.Contains(body, "RELAY_REDIS_CA")
	})
	r.put(r.cert, cert)
	r.told("RELAY_REDIS_CERT: with RELAY_REDIS_KEY: ") // certificate and key do not match
	r.put(r.key, key)
	r.told("redis is back")
	r.await("readiness has no cause", func() bool {
		return !strings.Contains(r.ready(), "broker_cause")
	})
}

// TestRedisFilesBroken makes the relay's files wrong, and then right again. While they are wrong,
// the relay must log each problem once, and must reach Redis with the previous content.
func TestRedisFilesBroken(t *testing.T) {
	t.Parallel()
	old, next := redistest.NewAuthority(t), redistest.NewAuthority(t)
	r := rotate(t, old)
	for range 2 {
		begin := len(r.lines.String()) // before the changes: the relay may log them at once
		r.write(r.ca, []byte("no certificate"))
		if err := os.Remove(r.key); err != nil {
			t.Fatal(err)
		}
		r.kill()
		r.server.Restart()
		r.told("redis is back")
		text := r.lines.String()[begin:]
		for _, problem := range []string{
			"RELAY_REDIS_CA: " + r.ca + " has no certificate",
			"RELAY_REDIS_CERT: with RELAY_REDIS_KEY: open " + r.key,
		} {
			if n := strings.Count(text, problem); n != 1 {
				t.Errorf("%q was told %d times:\n%s", problem, n, text)
			}
		}
		cert, key := next.Certify("relay")
		r.put(r.ca, next.File)
		r.put(r.cert, cert)
		r.put(r.key, key)
		r.kill()
		r.server.RestartTLS(redistest.TLS{Authority: next, AskClient: true})
		r.told("redis is back")
		old, next = next, old
	}
}
