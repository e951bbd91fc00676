package service

import (
	"runtime/debug"
	"time"
)

const (
	trimCrowd = 512             // so many that passed are worth a collection
	trimEvery = time.Second     // between two looks
	trimPause = 5 * time.Second // between two collections at least
)

// Trim says when to collect garbage and give memory back to the operating system: once a crowd has passed. What came and went with it, stacks and buffers of handshakes and
// of messages, is else kept until the heap has doubled, or for two minutes. A collection costs 1 to 2 µs of CPU for each session that there is.
//
// It is a plain structure, stepped by one caller.
type Trim struct {
	looked  time.Duration
	trimmed time.Duration
	total   uint64 // that had passed when it was looked at
	waiting uint64 // that have passed since the last collection
}

// Step is called now and then with a monotonic time, and how many have passed since the start. It reports whether Free should be called: a crowd has
// passed, and no more are just passing that would be worth waiting for.
func (t *Trim) Step(now time.Duration, total uint64) bool {
	if now-t.looked < trimEvery {
		return false
	}
	passing := total - t.total
	t.looked, t.total = now, total
	t.waiting += passing
	if t.waiting < trimCrowd || passing > t.waiting/16 || t.trimmed != 0 && now-t.trimmed < trimPause {
		return false
	}
	t.waiting, t.trimmed = 0, now
	return true
}

// Free collects garbage and gives free memory back. It blocks meanwhile, some 0.1 s with 50,000 sessions; other goroutines go on.
func Free() { debug.FreeOSMemory() }
