package router

import (
	"testing"

	"github.com/edgerelay/edgerelay/relay/chat"
	"github.com/edgerelay/edgerelay/relay/rules"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// ruled adds a relay whose clients speak the chat under the given rules.
func (w *world) ruled(text string) *testRelay {
	w.t.Helper()
	r, faults := rules.Parse(text)
	if len(faults) > 0 {
		w.t.Fatal(faults)
	}
	return w.addSpeaking(Config{}, chat.Dialect{Rules: r})
}

// Answers to frames that the rules refuse.
const (
	mayNotJoin  = "error: you may not join group 【g】"
	mayNotWrite = "error: you may not write to group 【g】, not delivered"
	nothingHere = "error: you may not read group 【g】, so nothing comes here, and this is not delivered"
)

// In TestP14_ARefusedJoinIsAnsweredAndReadsNothing, user 1 tries to join a group that nobody may
// read. The relay must refuse this, and the refusals must keep their places among the answers to
// user 1. The user must get no message of the group.
func TestP14_ARefusedJoinIsAnsweredAndReadsNothing(t *testing.T) {
	for _, away := range []bool{false, true} {
		w := newWorld(t, 0)
		rl := w.ruled("group:g read=none write=none; * read=any write=member")
		e := w.edge("a")
		e.linkTo(rl)
		w.settle()
		e.channel(1, "1")
		e.channel(2, "2")
		w.settle()
		if away {
			rl.leave(false)
			w.settle()
		}
		e.join(1, "h")
		e.join(1, "g")
		e.leave(1, "g")
		e.group(1, "g", "x")
		e.join(1, "h")
		e.join(2, "h")
		w.settle()
		e.group(2, "h", "to members")
		e.group(2, "g", "to nobody")
		w.settle()
		e.saw(1, protocol.JoinText("1", "h"), mayNotJoin, protocol.NotInText("1", "g"), mayNotWrite, protocol.JoinText("1", "h"),
			inGroup("h", "2", protocol.JoinText("2", "h")), inGroup("h", "2", "to members"))
		e.saw(2, protocol.JoinText("2", "h"), mayNotWrite)
		rl.comeBack()
		w.settle()
		w.wait(paceFor)
		e.saw(1)
		e.saw(2)
		e.quiet()
		w.wait(rl.router.cfg.DigestEvery)
		if e.digests == 0 {
			t.Error("no tables were compared")
		}
	}
}

// TestP14_ASessionWithoutATopicIsOpenedAndAnswered connects a session at /chat/group. The session's
// user may not read the group. The relay must open the session, whether the broker is away or not.
// It must also open the session if an edge tells of it on a new link. The session must receive
// nothing but answers.
func TestP14_ASessionWithoutATopicIsOpenedAndAnswered(t *testing.T) {
	const text = "group:* read=self write=any; * read=any write=any"
	for _, away := range []bool{false, true} {
		w := newWorld(t, 0)
		here, there := w.ruled(text), w.ruled(text)
		e := w.edge("a")
		e.linkTo(here)
		w.settle()
		e.open(1, protocol.EndpointGroup, "g", "g")
		w.settle()
		if away {
			here.leave(false)
			there.leave(false)
			w.settle()
		}
		e.open(2, protocol.EndpointGroup, "2", "g")
		w.settle()
		if !e.confirmed[2] {
			t.Errorf("away %v: the connect is not confirmed", away)
		}
		e.say(2, "hi")
		e.say(1, "for members")
		w.settle()
		e.saw(2, nothingHere)

		delete(e.confirmed, 2) // as if the link was lost before the Opened came
		w.kill(here)
		e.linkTo(there)
		w.settle()
		if !e.confirmed[2] {
			t.Errorf("away %v: the connect is not confirmed on the next link", away)
		}
		e.say(2, "hi")
		w.settle()
		e.saw(2, nothingHere)
		e.saw(1)
		there.comeBack()
		w.settle()
		w.wait(paceFor)
		if w.wait(there.router.cfg.DigestEvery); e.digests == 0 {
			t.Error("no tables were compared")
		}
		e.end(2)
		w.settle()
		e.quiet()
		if _, known := e.sessions[2]; known {
			t.Error("the session's end is not acknowledged")
		}
	}
}

// In TestP14_AnyoneWritesToAGroupWhereTheRuleSaysSo, a user writes to a group without joining it.
// The message must reach the members, on the edge of the sender and on another edge. A message to a
// group without members must not be refused.
func TestP14_AnyoneWritesToAGroupWhereTheRuleSaysSo(t *testing.T) {
	const text = "group:* read=any write=any; * read=any write=any"
	w := newWorld(t, 0)
	e, far := w.edge("a"), w.edge("b")
	e.linkTo(w.ruled(text))
	far.linkTo(w.ruled(text))
	w.settle()
	e.channel(1, "1")
	e.channel(2, "2")
	far.channel(3, "3")
	w.settle()
	e.group(1, "empty", "to nobody")
	e.join(2, "g")
	far.join(3, "g")
	w.settle()
	e.saw(2, protocol.JoinText("2", "g"), inGroup("g", "3", protocol.JoinText("3", "g")))
	far.saw(3, protocol.JoinText("3", "g"))
	e.group(1, "g", "Hello")
	e.join(1, "g")
	e.group(1, "g", "as a member")
	e.leave(1, "g")
	e.group(1, "g", "as none")
	w.settle()
	want := []string{
		inGroup("g", "1", "Hello"), inGroup("g", "1", protocol.JoinText("1", "g")), inGroup("g", "1", "as a member"),
		inGroup("g", "1", protocol.LeaveText("1", "g")), inGroup("g", "1", "as none"),
	}
	e.saw(1, protocol.JoinText("1", "g"), protocol.LeaveText("1", "g"))
	e.saw(2, want...)
	far.saw(3, want...)
	e.quiet()
	far.quiet()
}

// In TestP14_WhatARelayGrantedIsNotForbidden, a relay that cannot reach Redis gives two messages
// and a join ahead. A relay whose rules forbid the messages must publish all three nevertheless,
// since clients may have received them.
func TestP14_WhatARelayGrantedIsNotForbidden(t *testing.T) {
	w := newWorld(t, 0)
	here, there := w.addRelay(Config{}), w.ruled("* read=any write=none")
	e := w.edge("a")
	e.linkTo(here)
	w.settle()
	e.channel(1, "1")
	e.channel(2, "2")
	w.settle()
	here.leave(false)
	there.leave(false)
	w.settle()
	e.one(1, "2", "Hello")
	e.join(1, "g")
	e.group(1, "g", "Hi")
	w.settle()
	e.saw(1, protocol.JoinText("1", "g"))
	e.saw(2, "user 1 send:Hello")

	w.kill(here)
	e.linkTo(there)
	w.settle()
	e.one(1, "2", "refused")
	w.settle()
	e.saw(1, "error: you may not write to user 【2】, not delivered")
	there.comeBack()
	w.settle()
	w.wait(paceFor)
	e.saw(1)
	e.saw(2)
	e.quiet()
	if n := len(there.broker.published); n < 3 {
		t.Errorf("%d of the 3 messages are published", n)
	}
}

// In TestP14_WiderRulesOpenTheTopicsThatWereLeftOut, an edge moves to a relay that permits more
// than its former relay. The edge's sessions must then be members of the topics that they may read
// now. The rules of the former relay leave out the first of a session's two topics, whether the
// broker is away or not.
func TestP14_WiderRulesOpenTheTopicsThatWereLeftOut(t *testing.T) {
	for _, away := range []bool{false, true} {
		w := newWorld(t, 0)
		here, there := w.ruled("user:* read=none write=any; all read=any write=any"), w.addRelay(Config{})
		e := w.edge("a")
		e.linkTo(here)
		w.settle()
		if away {
			here.leave(false)
			w.settle()
		}
		e.channel(1, "1")
		e.channel(2, "2")
		w.settle()
		if !away { // if the broker is away, this message would wait for the second relay
			e.one(2, "1", "unread")
		}
		e.say(2, `{"MsgBody":"to all"}`)
		w.settle()
		e.saw(1, "user 【2】 send all:to all")

		e.moveTo(there)
		w.settle()
		e.letGo()
		here.comeBack()
		w.settle()
		w.wait(paceFor)
		e.one(2, "1", "read")
		w.settle()
		e.saw(1, "user 2 send:read")
		e.saw(2)
		e.quiet()
		if w.wait(there.router.cfg.DigestEvery); e.digests == 0 {
			t.Error("no tables were compared")
		}
	}
}

// inGroup returns the text that members of a group receive.
func inGroup(g, user, msg string) string {
	return string(protocol.AppendText(nil, protocol.GroupTopic(g), user, msg))
}
