package simulation

import (
	"flag"
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

var (
	seeds   = flag.Uint64("seeds", 500, "the last schedule to run")
	first   = flag.Uint64("first", 1, "the first schedule to run")
	seed    = flag.Uint64("seed", 0, "the one schedule to run")
	tracing = flag.Bool("show", false, "with -seed: print all that happens")
	alike   = flag.Bool("alike", false, "shorten a failing schedule only to such that fail alike")
)

// TestSimulation runs schedules with clients of the chat, several at a time. If a schedule fails,
// the test shortens the schedule and prints what happens in the short one.
//
// The test logs a digest of the bytes that links carry, and of the times at which they come. No
// edge has clients of SDKs in this test. So a change of the code leaves the digest as it is, unless
// the change affects the links of edges without these clients.
func TestSimulation(t *testing.T) { simulate(t, plan) }

// TestSimulationWithSDKs does what TestSimulation does, with clients of the chat and of SDKs.
func TestSimulationWithSDKs(t *testing.T) { simulate(t, planSDK) }

func simulate(t *testing.T, plan func(seed uint64) schedule) {
	if *seed != 0 {
		one(t, plan, *seed, *tracing)
		return
	}
	var next, digest atomic.Uint64
	next.Store(*first - 1)
	t.Cleanup(func() { t.Logf("digest of all bytes that links carried: %x", digest.Load()) })
	var mu sync.Mutex
	counts := map[string]int{}
	t.Cleanup(func() {
		t.Logf("clients of SDKs: %v", counts)
		// A relay may always reply that not all was recovered. So a run shows nothing if nearly all
		// replies say that.
		recovered := counts["resume: recovered publications"] + counts["resume: by connect: recovered publications"]
		if runs := int(*seeds - *first + 1); counts["came"] > 0 && runs >= 100 && !t.Failed() && recovered < 10*runs {
			t.Errorf("in %d runs only %d resumes have recovered publications", runs, recovered)
		}
	})
	for range runtime.GOMAXPROCS(0) {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			for n := next.Add(1); n <= *seeds; n = next.Add(1) {
				r, kept := one(t, plan, n, false)
				digest.Add(r.digest)
				mu.Lock()
				for what, times := range r.counts {
					counts[what] += times
				}
				mu.Unlock()
				if !kept {
					next.Store(*seeds) // one failure is enough to look at
				}
			}
		})
	}
}

// name returns the name of the test that t belongs to.
func name(t *testing.T) string { return strings.SplitN(t.Name(), "/", 2)[0] }

// one runs the schedule of seed n, and reports whether all promises were kept. If a promise was
// broken, it also shortens the schedule, and fails the test.
func one(t *testing.T, plan func(seed uint64) schedule, n uint64, tracing bool) (r result, kept bool) {
	s := plan(n)
	r = run(t, s, tracing)
	if tracing {
		t.Logf("%+v, %d events\n%s", s.config, r.events, strings.Join(r.lines, "\n"))
	}
	if r.failure == "" {
		return r, true
	}
	less := shrink(t, s, r.failure)
	short := run(t, less, true)
	t.Errorf("seed %d fails: %s\n\nIt fails with %d of its %d actions too: %s\n%+v\n%s\n\nThe whole run: go test ./test/simulation -run '^%s$' -seed %d -show",
		n, r.failure, len(less.actions), len(s.actions), short.failure, s.config, strings.Join(short.lines, "\n"), name(t), n)
	return r, false
}

// TestTheSameSeedIsTheSameRun checks that a run is determined by its seed, so that a failure can be
// repeated.
func TestTheSameSeedIsTheSameRun(t *testing.T) {
	for n := uint64(1); n <= 20; n++ {
		for _, plan := range []func(uint64) schedule{plan, planSDK} {
			a, b := run(t, plan(n), false), run(t, plan(n), false)
			if a.digest != b.digest || a.events != b.events || a.failure != b.failure {
				t.Errorf("seed %d: %d events with digest %x, then %d with %x", n, a.events, a.digest, b.events, b.digest)
			}
		}
	}
}

// TestAFailureIsShortened checks that shorten leaves out the actions that a failure does not need,
// and that the remaining schedule still fails.
func TestAFailureIsShortened(t *testing.T) {
	s := plan(1)
	needed := []int{17, 90}
	count := 0
	for _, at := range needed {
		s.actions[at].do = func(w *world) {
			if count++; count == len(needed) {
				w.fail("both were done")
			}
		}
	}
	shortest := func(s schedule) bool { count = 0; return run(t, s, false).failure != "" }
	if less := shorten(s, shortest); len(less.actions) != len(needed) || !shortest(less) {
		t.Errorf("%d actions are left, want %d", len(less.actions), len(needed))
	}
}

// shrinkRuns bounds the runs that go into shortening one failure.
const shrinkRuns = 400

func shrink(t *testing.T, s schedule, failure string) schedule {
	return shorten(s, func(s schedule) bool {
		short := run(t, s, false).failure
		return short != "" && (!*alike || outline(short) == outline(failure))
	})
}

var particular = regexp.MustCompile(`"(\\.|[^"\\])*"|[a-z]*[0-9][-a-z0-9/]*|user:\S*|group:\S*|news:\S*|\ball\b`)

// outline returns what failures have in common that break a promise in the same way.
func outline(failure string) string { return particular.ReplaceAllString(failure, "") }

// shorten removes actions from a schedule, such that the schedule still fails. It first tries to
// remove halves of the schedule, then quarters, and so on down to single actions. It makes at most
// shrinkRuns runs.
func shorten(s schedule, fails func(schedule) bool) schedule {
	runs := 0
	for size := max(1, len(s.actions)/2); size >= 1; size /= 2 {
		for at := 0; at < len(s.actions) && runs < shrinkRuns; {
			less := s
			less.actions = slices.Concat(s.actions[:at], s.actions[min(at+size, len(s.actions)):])
			runs++
			if fails(less) {
				s = less
				continue
			}
			at += size
		}
	}
	return s
}

// String describes a config.
func (c config) String() string {
	return fmt.Sprintf("redis loses: %v, history of %d for %v, log %d, link buffer %d, tail %d, connection %d bytes, digests every %v, topic rate %d, jobs in steps of %d, SDKs %v, skew %v, rules %q",
		c.lossy, c.history, c.age, c.logSize, c.buffer, c.tail, c.window, c.digestEach, c.topicRate, c.pieces, c.sdk, c.skew, c.rules)
}
