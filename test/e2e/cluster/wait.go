package cluster

import (
	"testing"
	"time"
)

// Patience bounds waits that have no bound of their own. A longer wait fails the test. Patience is
// long, since the machine may be busy.
const Patience = time.Minute

// longestPause is the longest pause between two checks of a condition. A shorter pause would cost
// too much, since some checks read all metrics of a server.
const longestPause = 100 * time.Millisecond

// Eventually checks cond again and again until it holds. It fails the test when cond does not hold
// within Patience.
func Eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	if took := Within(t, Patience, what, cond); took > 5*time.Second {
		t.Logf("%s: took %v", what, took.Round(time.Millisecond))
	}
}

// Within waits until cond holds and returns how long that took. It fails the test if cond does not
// hold within limit.
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
