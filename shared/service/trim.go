package service

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	trimCrowd = 4 << 20         // allocations that are worth a collection, in bytes
	trimStack = 4 << 10         // bytes of stack that are counted for each new goroutine
	trimEvery = time.Second     // time between two looks, which are calls of trim.step
	trimPause = 5 * time.Second // least time between two collections
	// trimShare defines calm looks. A look is calm if at most 1/trimShare of trim.most was
	// allocated since the previous look.
	trimShare = 16
	// trimCalm is the number of calm looks in a row that a collection needs. While these looks
	// pass, idle goroutines end. An edge's reader, for example, waits for its client for 2 s only.
	trimCalm = 3
)

// trim says when to collect garbage and give memory back to the operating system. The time for this
// is when a crowd has passed. A crowd is a burst of work, such as many clients that connect at
// once. It leaves unused stacks, and unused buffers of handshakes, of tables and of messages.
// Without trim the process keeps them until the heap has doubled, or for two minutes. Under steady
// work, little or much, trim says nothing, because the collector's own pace is right then.
//
// trim is a plain structure: one caller steps it and passes the time in.
type trim struct {
	trimmed time.Duration // when step last returned true; 0: never
	total   uint64        // bytes allocated since the start, at the last look
	since   uint64        // bytes allocated after trim.trimmed
	most    uint64        // most bytes allocated between two looks, since trim.trimmed
	calm    int           // calm looks in a row
}

// step reports whether to collect now. It must be called at intervals of trimEvery. The parameter
// now is a monotonic time. The parameter total counts the bytes allocated since the start of the
// process, stacks included.
func (t *trim) step(now time.Duration, total uint64) bool {
	passing := total - t.total
	t.total = total
	t.since += passing
	t.most = max(t.most, passing)
	t.calm++
	if passing > t.most/trimShare {
		t.calm = 0
	}
	if t.since < trimCrowd || t.calm < trimCalm || t.trimmed != 0 && now-t.trimmed < trimPause {
		return false
	}
	t.trimmed, t.since, t.most = now, 0, 0
	return true
}

// trimMemory collects garbage and gives memory back whenever trim says so, until ctx is done. A
// collection takes 1 to 2 µs of CPU time for each session. Other goroutines run meanwhile.
func trimMemory(ctx context.Context) {
	samples := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/sched/goroutines-created:goroutines"}}
	read := func() uint64 {
		metrics.Read(samples)
		return samples[0].Value.Uint64() + samples[1].Value.Uint64()*trimStack
	}
	start := time.Now()
	var t trim // its total is 0, so allocations before this line count as a crowd too
	ticker := time.NewTicker(trimEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if t.step(time.Since(start), read()) {
				debug.FreeOSMemory()
				t.total = read()
			}
		}
	}
}
