package router

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/edgerelay/edgerelay/relay/broker"
)

// depth calls do() on a new goroutine. It returns how much the stacks in use have grown by the end
// of the call, in bytes.
func depth(do func()) int64 {
	// A garbage collection could shrink the stack before it is measured.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	var before, after runtime.MemStats
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.ReadMemStats(&before)
		do()
		runtime.ReadMemStats(&after)
	}()
	<-done
	return int64(after.StackInuse) - int64(before.StackInuse)
}

// maxDepth, in bytes, is far above the stack that a step needs. It is far below the stack that a
// step would need if the frames were handled recursively.
const maxDepth = 1 << 20

// TestP8_ParkedFramesTakeNoStack parks many frames of one session behind a join. Once the join is
// done, the router judges and answers these frames one after the other. The depth of the stack must
// not grow with the number of the frames, as it would by recursion.
func TestP8_ParkedFramesTakeNoStack(t *testing.T) {
	w := newWorld(t, 1)
	rl := w.relays[0]
	e := w.edge("e")
	e.linkTo(rl)
	e.channel(1, "1")
	w.settle()
	rl.broker.onPublish = func(broker.Publish) bool { return false }
	e.deaf = true
	e.join(1, "g")
	for range 50_000 {
		e.leave(1, "h")
	}
	w.settle()
	rl.broker.onPublish = nil
	rl.broker.Handle.Publish(rl.broker.published[0])
	if d := depth(w.settle); d > maxDepth {
		t.Errorf("%d bytes of stack", d)
	}
	if n := rl.router.unfinished(); n != 0 {
		t.Errorf("%d frames are unfinished", n)
	}
}

// In TestP8_FramesGivenAheadTakeNoStack, many sessions join one group. The joins are under way when
// the broker goes away. The router gives all of them ahead in one step. The depth of the stack must
// not grow with the number of the joins, as it would by recursion.
func TestP8_FramesGivenAheadTakeNoStack(t *testing.T) {
	const n = 20_000
	w := newWorld(t, 1)
	rl := w.relays[0]
	e := w.edge("e")
	e.linkTo(rl)
	for id := range uint64(n) {
		e.channel(id+1, fmt.Sprint(id))
	}
	w.settle()
	rl.broker.onPublish = func(broker.Publish) bool { return false }
	e.deaf = true
	for id := range uint64(n) {
		e.join(id+1, "g")
	}
	w.settle()
	rl.leave(false)
	if d := depth(w.settle); d > maxDepth {
		t.Errorf("%d bytes of stack", d)
	}
	if got := rl.router.directory.follower(rl.router.directory.edges[e.instance], "group:g").bound; got != n {
		t.Errorf("%d members, want %d", got, n)
	}
}
