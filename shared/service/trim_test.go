package service

import (
	"context"
	"runtime"
	"testing"
	"time"
)

// TestTrim checks that memory is given back exactly once when a crowd has passed. It must not be
// given back while the crowd passes, after little work, under steady work, or too often.
func TestTrim(t *testing.T) {
	var now time.Duration
	var total uint64
	var tr trim
	expect := func(what string, passing uint64, want bool) {
		t.Helper()
		now += trimEvery
		total += passing
		if got := tr.step(now, total); got != want {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	for range 100 {
		expect("steady work", 3<<20, false)
	}
	expect("it ends", 0, false)
	expect("it seems to have ended", 0, false)
	expect("it has ended", 0, true)
	expect("another crowd passes", trimCrowd, false)
	for range trimCalm {
		expect("calm, too soon after the last", 0, false)
	}
	expect("late enough", trimCrowd/trimShare, true)
	now += trimPause
	expect("little", trimCrowd-1, false)
	for range 2 * trimCalm {
		expect("calm, and not worth it", 0, false)
	}
	expect("a little more", 1, true)
}

// TestTrimMemory checks that a crowd's garbage is collected without further work, and that
// trimMemory ends with its context.
func TestTrimMemory(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { trimMemory(ctx); close(done) }()
	collected := make(chan struct{})
	crowd := make([]byte, 4*trimCrowd)
	runtime.AddCleanup(&crowd[0], func(int) { close(collected) }, 0)
	crowd = nil
	select {
	case <-collected:
	case <-time.After(30 * time.Second):
		t.Error("the garbage is still there")
	}
	cancel()
	<-done
}
