package service

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	trimCrowd = 4 << 20         // bytes allocated that are worth a collection
	trimStack = 4 << 10         // bytes that a goroutine is taken to have had
	trimEvery = time.Second     // between two looks
	trimPause = 5 * time.Second // between two collections at least
	trimShare = 16              // it is calm when less than a 16th of the most is allocated
	trimCalm  = 3               // so often in a row: goroutines that wait for more, as an edge's readers do for 2 s, end first
)

// trim says when to collect garbage and give memory back to the operating system: once a crowd has passed. What came and went with it, stacks and buffers of handshakes, of tables
// and of messages, is else kept until the heap has doubled, or for two minutes. Under steady work, little or much, it says nothing: the collector has its own measure then.
//
// It is a plain structure, stepped by one caller.
type trim struct {
	trimmed time.Duration // when it was last said; 0: never
	total   uint64        // bytes allocated when it was last looked
	since   uint64        // of them since it was last said
	most    uint64        // between two looks since then
	calm    int           // looks in a row
}

// step is called every trimEvery with a monotonic time, and the bytes allocated since the start, stacks included. It reports whether it is time.
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

// trimMemory does as trim says until ctx is done. A collection takes 1 to 2 µs of CPU for each session that there is; other goroutines go on meanwhile.
func trimMemory(ctx context.Context) {
	samples := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/sched/goroutines-created:goroutines"}}
	read := func() uint64 {
		metrics.Read(samples)
		return samples[0].Value.Uint64() + samples[1].Value.Uint64()*trimStack
	}
	start := time.Now()
	var t trim // so that the start is a crowd, too
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
