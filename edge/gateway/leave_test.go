package gateway

import (
	"testing"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// TestWhoLeavesGetsNoPositions sets the end of a session that may lack messages. The session must
// get no publication with a position any more: the SDK would name that position when it comes back,
// and would be told that it has missed nothing. What has no position must still come.
func TestWhoLeavesGetsNoPositions(t *testing.T) {
	m := newMoving(t, pos(1, 5))
	give(m.newer, 6)
	m.sdk.sdk.leave.Store(&leave{})
	give(m.newer, 7)
	giveAt(m.newer, protocol.Position{}, 0)
	wantTexts(t, m.sdk, "6", "0")
	wantTexts(t, m.chat, "6", "7", "0")
}
