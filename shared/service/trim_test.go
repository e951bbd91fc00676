package service

import (
	"testing"
	"time"
)

// TestTrim: memory is given back once when a crowd has passed, not while it passes, not for a few, and not all the time.
func TestTrim(t *testing.T) {
	var trim Trim
	var total uint64
	var now time.Duration
	step := func(passing uint64) bool {
		now += time.Second
		total += passing
		return trim.Step(now, total)
	}
	expect := func(what string, passing uint64, want bool) {
		t.Helper()
		if got := step(passing); got != want {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	for range 5 {
		expect("a crowd passes", 1000, false)
	}
	if trim.Step(now+time.Millisecond, total) {
		t.Error("looked at again at once")
	}
	expect("it has passed", 10, true)
	expect("there was nobody since", 0, false)
	expect("enough again, too soon after the last", trimCrowd, false)
	expect("still too soon", 0, false)
	now += trimPause
	expect("late enough", 0, true)
	now += trimPause
	expect("a few", trimCrowd-1, false)
	expect("and nobody", 0, false)
	expect("and one more", 1, true)
}
