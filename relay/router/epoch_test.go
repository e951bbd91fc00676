package router

import (
	"testing"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// In TestP2_APositionAtTheEndOfAllEpochsIsSharedByNobody, one edge tells a position whose epoch is
// just before, at or beyond protocol.MaxEpoch. Another edge must still get each message once, with
// a position whose epoch is not beyond MaxEpoch. This must hold both at the relay that was told the
// position and at another relay.
func TestP2_APositionAtTheEndOfAllEpochsIsSharedByNobody(t *testing.T) {
	for _, told := range []protocol.Position{
		{Epoch: protocol.MaxEpoch - 1, Offset: 7}, {Epoch: protocol.MaxEpoch, Offset: 7}, {Epoch: protocol.MaxEpoch + 1, Offset: 7}, {Epoch: 1<<64 - 1, Offset: 1<<64 - 1},
	} {
		w := newWorld(t, 2)
		bad := w.edge("bad")
		bad.channel(1, "m")
		bad.topics["user:n"] = &heldTopic{position: told, members: []uint64{1}}
		bad.linkTo(w.relays[0])
		w.settle()
		a, b := w.edge("a"), w.edge("b")
		a.linkTo(w.relays[0])
		b.linkTo(w.relays[1])
		a.channel(1, "1")
		b.channel(2, "n")
		w.settle()
		a.one(1, "n", "first")
		w.settle()
		b.saw(2, "user 1 send:first")
		a.one(1, "n", "second")
		w.settle()
		b.linkTo(w.relays[0])
		w.settle()
		a.one(1, "n", "third")
		w.settle()
		b.saw(2, "user 1 send:second", "user 1 send:third")
		if at := b.topics["user:n"].position; at.Epoch > protocol.MaxEpoch || at.Offset != 3 {
			t.Errorf("told %v: the others are at %v", told, at)
		}
		if len(bad.closed) > 0 {
			t.Errorf("told %v: closed with %v", told, []link.Code(bad.closed))
		}
	}
}
