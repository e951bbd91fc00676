package cluster

import (
	"testing"

	"github.com/edgerelay/edgerelay/test/redistest"
)

// HasRedis reports whether there is a redis-server here. In CI the test fails if there is none.
func HasRedis(t testing.TB) bool {
	t.Helper()
	_, there := redistest.Program(t)
	return there
}

// NeedRedis skips the test when there is no redis-server. In CI it fails the test instead.
func NeedRedis(t testing.TB) {
	t.Helper()
	redistest.Need(t)
}

// With these options, Redis hands every write to the kernel before it answers. A kill then
// loses nothing that was acknowledged. Redis does not wait for the disk, since a busy disk can
// silence Redis for seconds.
var durable = []string{"--appendonly", "yes", "--appendfsync", "no"}

// newRedis starts a redis-server for the test. If absent is set, newRedis kills the server at once,
// so that it is away until a Restart.
func newRedis(t testing.TB, absent bool) *redistest.Server {
	t.Helper()
	NeedRedis(t)
	s := redistest.Start(t, durable...)
	if absent {
		s.Kill()
	}
	return s
}
