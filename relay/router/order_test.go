package router

import (
	"errors"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// In TestB1_WhoJoinsAndLeavesHoldsNobody, a user joins and leaves a group many times. Then the user
// joins once more, and speaks in the group. Another user speaks there after that. All of this must
// be published before the relay hears the first notice.
func TestB1_WhoJoinsAndLeavesHoldsNobody(t *testing.T) {
	const pairs = 100
	w := newWorld(t, 1)
	rl := w.relays[0]
	a, b := pair(w, rl, rl)
	a.channel(3, "3")
	w.settle()
	rl.broker.published = nil
	rl.broker.slow = true
	var answers, notices []string
	notice := func(text string) {
		answers = append(answers, text)
		notices = append(notices, "group 【g】 user 【3】 send:"+text)
	}
	for range pairs {
		a.join(3, "g")
		notice(protocol.JoinText("3", "g"))
		a.leave(3, "g")
		notice(protocol.LeaveText("3", "g"))
	}
	a.join(3, "g")
	notice(protocol.JoinText("3", "g"))
	a.group(3, "g", "one word")
	a.group(1, "g", "behind it")
	w.settle()
	if n := len(rl.broker.published); n != 2*pairs+3 {
		t.Errorf("%d were published before the first was heard, want %d", n, 2*pairs+3)
	}
	rl.broker.slow = false
	w.settle()
	a.saw(3, append(answers, "group 【g】 user 【1】 send:behind it")...)
	b.saw(2, append(notices, "group 【g】 user 【3】 send:one word", "group 【g】 user 【1】 send:behind it")...)
	a.quiet()
}

// In TestAParkedFrameHoldsOnlyItsLane, the notice of a join is not published. Some later frames of
// the same session are parked behind the join. One of the parked frames is a message to a group. A
// message of another session to that group must wait behind the parked one. Messages to other
// topics must go on.
func TestAParkedFrameHoldsOnlyItsLane(t *testing.T) {
	w := newWorld(t, 1)
	rl := w.relays[0]
	a, b := pair(w, rl, rl)
	a.channel(3, "3")
	a.channel(4, "4")
	a.join(4, "i")
	w.settle()
	clear(a.received)
	// The notice of the join of h is not published for now.
	rl.broker.onPublish = func(p broker.Publish) bool { return p.Topic != "group:h" }
	a.join(3, "h")
	a.group(3, "h", "in its lane")
	a.join(3, "i")
	a.group(3, "i", "parked")
	a.group(4, "i", "behind it")
	a.group(3, "g", "not a member")
	a.one(3, "2", "goes on")
	a.one(4, "2", "too")
	a.group(1, "g", "free")
	w.settle()
	b.saw(2, "user 3 send:goes on", "user 4 send:too", "group 【g】 user 【1】 send:free")
	a.saw(3)
	for token := range rl.router.requests.publishes {
		rl.broker.held = append(rl.broker.held, broker.Published{Token: token, Err: errors.New("lost")})
	}
	rl.broker.onPublish = nil
	w.settle()
	w.wait(time.Second)
	b.saw(2)
	a.saw(3, protocol.JoinText("3", "h"), protocol.JoinText("3", "i"),
		protocol.NotInText("3", "g"), "group 【i】 user 【4】 send:behind it")
	a.saw(4, "group 【i】 user 【3】 send:"+protocol.JoinText("3", "i"), "group 【i】 user 【3】 send:parked")
	a.quiet()
}
