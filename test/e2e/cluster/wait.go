package cluster

import (
	"testing"
	"time"
)

// Patience is how long a wait lasts before the test is given up: long, since only a failing test ever waits it out.
const Patience = 30 * time.Second

// longestPause is between two looks at a condition that does not come about soon: some look at all metrics of a server.
const longestPause = 100 * time.Millisecond

// Eventually waits until cond holds, asking again and again, and fails the test when it does not within Patience.
func Eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	if took := Within(t, Patience, what, cond); took > 5*time.Second {
		t.Logf("%s: took %v", what, took.Round(time.Millisecond))
	}
}

// Within waits until cond holds and returns how long it took; it fails the test after limit.
func Within(t testing.TB, limit time.Duration, what string, cond func() bool) time.Duration {
	t.Helper()
	begin, pause := time.Now(), 2*time.Millisecond
	for {
		if cond() {
			return time.Since(begin)
		}
		if time.Since(begin) > limit {
			t.Fatalf("waited %v in vain: %s", limit, what)
		}
		<-time.After(pause)
		pause = min(pause*3/2, longestPause)
	}
}
