package router

import (
	"fmt"
	"testing"

	"github.com/edgerelay/edgerelay/relay/broker/brokertest"
	"github.com/edgerelay/edgerelay/shared/link"
)

// goFurther publishes messages to topic x, of which client 999 is a member. Then it links the edge
// to another relay, which has not heard the last five messages, and which becomes s.rl. An edge b
// of that relay has a client whose Bind of x has the given range.
func (s *resumes) goFurther(messages int, of string) {
	s.stay()
	there := s.addSpeaking(Config{}, showing()...)
	b := s.edge("b")
	b.linkTo(there)
	b.tellClient(link.Client{ID: 1, Confirmed: true, User: "b"})
	b.say(1, "bind 1 x k"+of)
	s.publish("x", messages-5)
	there.broker.slow = true
	s.publish("x", 5)
	s.e.linkTo(there)
	s.settle()
	s.rl = there
}

// TestP11_AnEdgeThatIsFurtherInABegunEpoch links an edge to a relay that knows the epoch of a
// topic, and has not heard its first publications. A client that resumes there must wait for them.
func TestP11_AnEdgeThatIsFurtherInABegunEpoch(t *testing.T) {
	s := resuming(t, Config{}, 1)
	s.goFurther(5, " most=5")
	s.say(1, "bind 1 x k most=100 since=A-2")
	s.settle()
	s.saw(1)
	s.rl.broker.slow = false
	s.settle()
	s.saw(1, missedTo("A-5", 3, 5))
	s.finish()
}

// TestP11_AnEdgeIsFurtherThoughItsMembersLeft resumes at an edge that is further than its relay.
// The members who have taken it so far have left. The clients must wait until the relay has heard
// what the edge had, since the edge is not sent that again.
func TestP11_AnEdgeIsFurtherThoughItsMembersLeft(t *testing.T) {
	s := resuming(t, Config{}, 1, 2)
	s.goFurther(15, "")
	s.say(1, "bind 1 x k most=100 since=A-8")
	s.settle()
	s.end(999)
	s.say(2, "bind 1 x k most=100 since=A-9")
	s.settle()
	s.saw(1)
	s.saw(2)
	s.rl.broker.slow = false
	s.settle()
	s.saw(1, missedTo("A-15", 9, 15))
	s.saw(2, missedTo("A-15", 10, 15))
	s.publish("x", 1)
	s.saw(1, "x 9: m16 at A-16")
	s.saw(2, "x 9: m16 at A-16")
	s.finish()
}

// TestP11_AnotherEdgeThatIsFurtherMovesNoPlace subscribes at an edge that is new to a topic, while
// another edge is further than their relay. The client's place is where the relay is, since all
// that follows is sent to its edge. If Redis is away, the place is where the other edge is.
func TestP11_AnotherEdgeThatIsFurtherMovesNoPlace(t *testing.T) {
	for _, away := range []bool{false, true} {
		s := resuming(t, Config{})
		s.goFurther(15, "")
		s.e = s.edge("c")
		s.e.linkTo(s.rl)
		s.come(1)
		place, from := "A-10", 11
		if away {
			s.rl.leave(false)
			place, from = "A-15", 16
		}
		s.say(1, "bind 1 x k most=100 since=A-8")
		s.settle()
		if away {
			s.saw(1, "1 done "+place)
		} else {
			s.saw(1, missedTo(place, 9, 10))
		}
		s.rl.comeBack()
		s.rl.broker.slow = false
		s.settle()
		s.wait(paceFor)
		s.publish("x", 1)
		var want []string
		for i := from; i <= 16; i++ {
			want = append(want, fmt.Sprintf("x 9: m%d at A-%d", i, i))
		}
		s.saw(1, want...)
		s.finish()
	}
}

// TestP11_ABegunEpochIsNoPlaceOfAnEdgeThatIsFurther links an edge to a relay at which another epoch
// of the topic was begun, since Redis has lost everything. A client's place must be the position of
// the edge, in the epoch of that position.
func TestP11_ABegunEpochIsNoPlaceOfAnEdgeThatIsFurther(t *testing.T) {
	s := resuming(t, Config{}, 1)
	s.stay()
	s.publish("x", 10)
	s.store.Load(brokertest.Saved{})
	there := s.addSpeaking(Config{}, showing()...)
	b := s.edge("b")
	b.linkTo(there)
	b.tellClient(link.Client{ID: 1, Confirmed: true, User: "b"})
	b.say(1, "bind 1 x k most=5")
	s.settle()
	s.e.linkTo(there)
	s.settle()
	s.say(1, "bind 1 x k most=100 since=A-10")
	s.settle()
	s.saw(1, "1 done A-10")
	s.rl = there
	s.finish()
}
