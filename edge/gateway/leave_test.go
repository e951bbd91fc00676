package gateway

import (
	"testing"

	"github.com/edgerelay/edgerelay/shared/link"
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

// TestALateMemberThatLeavesGetsNoPositions sets the end of a late member's session, and then tells
// its link of a loss. The member must get no publication after the loss, although its link still
// serves it.
func TestALateMemberThatLeavesGetsNoPositions(t *testing.T) {
	m := newMoving(t, pos(1, 5))
	give(m.older, 6, 7, 8, 9)
	late := m.bound(m.newer, pos(1, 5))
	give(m.newer, 6)
	late.sdk.leave.Store(&leave{})
	m.newer.Gap(link.Gap{Topic: 1, Position: pos(1, 7), Lost: 1})
	give(m.newer, 8)
	giveAt(m.newer, protocol.Position{}, 0)
	give(m.newer, 9, 10)
	wantTexts(t, late, "6", "0")
	m.wantLate(0)
	wantTexts(t, m.sdk, "6", "7", "8", "9", "0", "10")
}
