package router

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"weak"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// TestP8_ATopicThatIsLeftIsNotKeptAlive checks that entries of tails.order do not keep a dropped
// topic in memory.
func TestP8_ATopicThatIsLeftIsNotKeptAlive(t *testing.T) {
	const n = 100
	w := newWorld(t, 1)
	rl := w.relays[0]
	e := w.edge("e")
	e.linkTo(rl)
	e.channel(1, "1")
	w.settle()
	var topics []weak.Pointer[topic]
	for i := range n {
		g := fmt.Sprint("g", i)
		e.join(1, g)
		w.settle()
		topics = append(topics, weak.Make(rl.router.directory.topics[protocol.GroupTopic(g)]))
		for range i { // the last groups get more messages than a tail takes
			e.group(1, g, "x")
		}
		w.settle()
		e.leave(1, g)
		w.settle()
	}
	runtime.GC()
	alive := 0
	for _, p := range topics {
		if p.Value() != nil {
			alive++
		}
	}
	runtime.KeepAlive(w)
	if alive > 1 { // the topic of the last step may still be alive
		t.Errorf("%d of %d topics that were left are alive", alive, n)
	}
}

// TestP8_TailsAreBoundedTogether checks that all tails together keep within Config.TailBytes.
// Meanwhile topics are dropped, and single tails are full.
func TestP8_TailsAreBoundedTogether(t *testing.T) {
	const most, size = 64 << 10, 1 << 10
	w := newWorld(t, 0)
	rl := w.addRelay(Config{TailBytes: most, TailLength: 8})
	e := w.edge("e")
	e.linkTo(rl)
	for id := range uint64(40) {
		e.channel(id+1, fmt.Sprint(id+1))
	}
	w.settle()
	full := 0
	for i := range 4000 {
		e.one(uint64(1+i%40), fmt.Sprint(1+i*i%37), strings.Repeat("x", size))
		if i%100 == 0 {
			e.end(uint64(1 + i/100))
			e.channel(uint64(1000+i), fmt.Sprint(1+i%40))
		}
		w.settle()
		bytes, items := 0, 0
		for name, topic := range rl.router.directory.topics {
			if topic.recent == nil {
				continue
			}
			items += len(topic.recent.tail.items)
			for _, item := range topic.recent.tail.items {
				bytes += len(item.bytes)
				if got := rl.router.tails.order[item.index-rl.router.tails.cut].topic; got != topic {
					t.Fatalf("message %d: an item of %s has the place of one of %v", i, name, got)
				}
			}
		}
		if ts := rl.router.tails; bytes != ts.bytes || bytes > most {
			t.Fatalf("message %d: %d bytes in %d items, counted %d, at most %d", i, bytes, items, ts.bytes, most)
		}
		full = max(full, bytes)
	}
	if full < most-2*size || rl.router.tails.cut == 0 {
		t.Errorf("%d bytes at most, and %d entries cut off: nothing was tried", full, rl.router.tails.cut)
	}
}
