package gateway

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

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
	m.newer.AheadForms(link.AheadForms{Topic: 1, ID: 9, Texts: []link.Rendering{{Form: link.FormJSON, Text: []byte("ahead")}}})
	wantTexts(t, m.sdk, "6", "0", "ahead")
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

// TestTheEarliestEndHolds sets the end of a session several times. The session must go on until the
// earliest of these moments, also if pings come before it, and end then.
func TestTheEarliestEndHolds(t *testing.T) {
	inBubble(t, nil, nil, func(t *testing.T, b *bubbled) {
		replaced := false
		for n := range 20 {
			user := fmt.Sprint(n)
			c := b.confirmed(user)
			s := b.only()
			var earliest time.Duration
			for range 3 {
				b.hub.Close(link.Close{Session: s.info.ID, Code: 3010, Reason: "insufficient state", Within: link.MaxWithin})
				at := s.sdk.leave.Load().at
				if earliest != 0 && at > earliest {
					t.Fatal("a later end has taken the place of an earlier one")
				}
				if earliest != 0 && at < earliest {
					replaced = true
				}
				earliest = at
			}
			_, code := c.lives(time.Hour, time.Now())
			if late := b.server.now() - earliest; code != 3010 || late < 0 || late > 2*wheelTick {
				t.Fatalf("it ends with %d, %v behind its moment", code, late)
			}
			c.Close()
			synctest.Wait()
			time.Sleep(closeWait)
			synctest.Wait()
			b.hub.Forget(s.info.ID)
		}
		if !replaced {
			t.Error("no earlier end has taken the place of a later one")
		}
	})
}

// leavesFor returns the reason for which a session is to end within some seconds. If it is not to
// end, leavesFor returns reasonNone.
func (s *Session) leavesFor() Reason {
	if l := s.sdk.leave.Load(); l != nil {
		return l.reason
	}
	return reasonNone
}
