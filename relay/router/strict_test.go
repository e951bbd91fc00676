package router

import (
	"testing"

	"github.com/edgerelay/edgerelay/relay/chat"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// In TestA7_NamesInCommandsAreStrictWhereThatIsSet, a user joins a group whose name imitates
// another user's message. A relay with strict ids must refuse the join, and a relay without them
// must allow it.
func TestA7_NamesInCommandsAreStrictWhereThatIsSet(t *testing.T) {
	const forged = "g】 user 【2】 send:pay 1"
	const refused = `error: Group must have no 【, 】 or " send:", which surround names in messages`
	for strict, want := range map[bool][]string{
		false: {protocol.JoinText("1", forged), protocol.LeaveText("1", forged)},
		// A leave is not refused for the name, since such a group may have members.
		true: {refused, refused, protocol.NotInText("1", forged)},
	} {
		w := newWorld(t, 0)
		e := w.edge("a")
		e.linkTo(w.addSpeaking(Config{}, chat.Dialect{StrictIDs: strict}))
		w.settle()
		e.channel(1, "1")
		e.channel(2, "2")
		w.settle()
		e.join(1, forged)
		e.group(1, forged, "x")
		e.leave(1, forged)
		// The text of a message may have characters that a strict id may not have.
		e.one(1, "2", "【x】\u202e send:")
		w.settle()
		e.saw(1, want...)
		e.saw(2, "user 1 send:【x】\u202e send:")
		e.one(1, "2\u202e", "x")
		w.settle()
		if got := e.received[1]; strict != (len(got) == 1) {
			t.Errorf("strict %v: a name that cannot be seen is answered %q", strict, got)
		}
		e.quiet()
	}
}

// TestA7_WhatARelayGrantedIsNotJudgedAgain checks a message that a relay gives ahead while Redis is
// out of reach. Another relay, with strict ids, must publish the message later. That relay would
// refuse the same message if a client sent it.
func TestA7_WhatARelayGrantedIsNotJudgedAgain(t *testing.T) {
	w := newWorld(t, 0)
	here, there := w.addRelay(Config{}), w.addSpeaking(Config{}, chat.Dialect{StrictIDs: true})
	e := w.edge("a")
	e.linkTo(here)
	w.settle()
	e.channel(1, "1")
	e.channel(2, "2】")
	w.settle()
	here.leave(false)
	there.leave(false)
	w.settle()
	e.one(1, "2】", "Hello")
	w.settle()
	e.saw(2, "user 1 send:Hello")

	w.kill(here)
	e.linkTo(there)
	w.settle()
	there.comeBack()
	w.settle()
	w.wait(paceFor)
	e.saw(1)
	e.saw(2)
	e.quiet()
	if len(there.broker.published) == 0 {
		t.Error("what was given is not published")
	}
}
