package cluster

import (
	"os"
	"os/exec"
	"testing"

	"github.com/edgerelay/edgerelay/test/redistest"
)

const redisHint = "redis-server is not on the PATH: apt-get install redis-server"

// HasRedis reports whether a redis-server can be started here. In CI its absence fails the test.
func HasRedis(t testing.TB) bool {
	t.Helper()
	_, err := exec.LookPath("redis-server")
	if err != nil && os.Getenv("CI") != "" {
		t.Fatal(redisHint)
	}
	return err == nil
}

// NeedRedis skips the test when there is no redis-server. In CI it fails the test.
func NeedRedis(t testing.TB) {
	t.Helper()
	if !HasRedis(t) {
		t.Skip(redisHint)
	}
}

// durable has Redis write every command to disk before it answers, so that a kill loses nothing that was acknowledged.
var durable = []string{"--appendonly", "yes", "--appendfsync", "always"}

// newRedis starts a redis-server for the test.
func newRedis(t testing.TB, absent bool) *redistest.Server {
	t.Helper()
	NeedRedis(t)
	s := redistest.Start(t, durable...)
	if absent {
		s.Kill()
	}
	return s
}
