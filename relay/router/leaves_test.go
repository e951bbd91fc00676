package router

import (
	"fmt"
	"testing"

	"github.com/edgerelay/edgerelay/relay/broker"
)

// In TestP8_ManyLeaves, many sessions of one edge leave groups while many frames of the edge are
// unfinished. The edge must be sent few bytes for each leave.
func TestP8_ManyLeaves(t *testing.T) {
	const n = 1000
	w := newWorld(t, 1)
	rl := w.relays[0]
	a := w.edge("a")
	a.linkTo(rl)
	a.channel(1, "1")
	for i := range uint64(n) {
		a.channel(i+2, fmt.Sprint("u", i))
	}
	w.settle()
	for i := range uint64(n) {
		a.join(i+2, fmt.Sprint("g", i))
	}
	w.settle()
	rl.broker.onPublish = func(p broker.Publish) bool { return p.Topic != "all" }
	for i := range uint64(n) {
		a.say(1, `{"MsgBody":"x"}`)
		a.leave(i+2, fmt.Sprint("g", i))
	}
	before := a.bytes
	w.settle()
	if sent := (a.bytes - before) / n; sent > 300 {
		t.Errorf("%d bytes a leave", sent)
	}
}

// In TestACutBehindLeft, a session speaks in a group and leaves it. In round n the edge's link is
// lost at the n-th frame that the relay then sends. The edge replays the session's messages. None
// of them may be judged as a non-member's.
func TestACutBehindLeft(t *testing.T) {
	for in := 1; in < 12; in++ {
		w := newWorld(t, 2)
		a, b := pair(w, w.relays[0], w.relays[1])
		stuck := w.relays[0].broker
		stuck.onPublish = func(p broker.Publish) bool { return p.Topic != "all" }
		a.say(1, `{"MsgBody":"unfinished"}`)
		a.group(1, "g", "1")
		a.group(1, "g", "2")
		a.leave(1, "g")
		a.cutIn = in
		w.settle()
		a.cutIn, stuck.onPublish = 0, nil
		a.linkTo(w.relays[1])
		w.settle()
		a.quiet()
		a.saw(1, "user 【1】 leave group 【g】")
		b.saw(2, "group 【g】 user 【1】 send:1", "group 【g】 user 【1】 send:2", "group 【g】 user 【1】 send:user 【1】 leave group 【g】", "user 【1】 send all:unfinished")
	}
}
