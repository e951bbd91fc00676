package router

import (
	"fmt"
	"strings"
	"testing"
)

// TestP7_HistoryIsReadAsFastAsItIsTaken checks that an edge with much to catch up costs at most six
// pages of history for each topic, on average. The edge's link takes little at a time. Pages must
// not be read again each time that the link has room.
func TestP7_HistoryIsReadAsFastAsItIsTaken(t *testing.T) {
	const topics = 300
	w := newWorld(t, 0)
	rl := w.addRelay(Config{Outgoing: 64 << 10, TailLength: 1})
	e, o := w.edge("e"), w.edge("o")
	e.linkTo(rl)
	o.linkTo(rl)
	o.channel(1, "o")
	for id := uint64(1); id <= topics; id++ {
		e.channel(id, fmt.Sprint("u", id))
	}
	w.settle()
	e.cut()
	w.settle()
	for id := 1; id <= topics; id++ {
		for range 2 {
			o.one(1, fmt.Sprint("u", id), strings.Repeat("x", 5000))
		}
	}
	w.settle()
	rl.broker.histories = 0
	e.linkTo(rl)
	last := 0
	e.conn.queued = func() int { return e.bytes - last }
	for e.bytes > last || last == 0 {
		last = e.bytes
		rl.inputs = append(rl.inputs, Writable{e.conn})
		w.settle()
	}
	got := 0
	for id := uint64(1); id <= topics; id++ {
		got += len(e.received[id])
	}
	if got != 2*topics {
		t.Errorf("%d of %d messages came", got, 2*topics)
	}
	if n := rl.broker.histories; n > 6*topics {
		t.Errorf("%d pages were read for %d topics", n, topics)
	}
}
