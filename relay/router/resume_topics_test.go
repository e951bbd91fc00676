package router

import (
	"fmt"
	"strings"
	"testing"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/chat"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// TestP11_TopicsOfAFrameAreAskedAboutAFewAtOnce connects a client that resumes more topics than are
// asked about at once for one frame. The other topics must be asked about when an answer has come,
// and all of them must be recovered.
func TestP11_TopicsOfAFrameAreAskedAboutAFewAtOnce(t *testing.T) {
	const topics = readsOfFrame + 3
	s := resuming(t, Config{})
	s.rl = s.addSpeaking(Config{}, chat.Dialect{}, lines{most: topics, shows: true})
	s.e.linkTo(s.rl)
	var connect, want strings.Builder
	for i := range topics {
		name := protocol.Topic(fmt.Sprint("x", i))
		at := s.publishText(name, "m1")
		s.publishText(name, "m2")
		fmt.Fprintf(&connect, " %s;most=5;since=%d-1", name, at.Epoch)
		fmt.Fprintf(&want, "; %d-2 recovered 2:m2", at.Epoch)
	}
	page := s.hold()
	s.e.guest(1)
	s.e.say(1, "connect 1 7 0 keep"+connect.String())
	s.settle()
	if n := s.rl.broker.histories; n != readsOfFrame {
		t.Errorf("%d topics are asked about at once", n)
	}
	page()
	s.settle()
	s.e.saw(1, "1 done"+strings.TrimPrefix(want.String(), ";"))
	s.finish()
}

// TestP11_WhatHasNoRoomInAnAnswerIsNotRead connects a client that missed more than one answer may
// have. The topics before the one that has no room must be recovered. Those behind it are not, and
// must not be read when their turn comes. Each of the others needs one page.
func TestP11_WhatHasNoRoomInAnAnswerIsNotRead(t *testing.T) {
	s := resuming(t, Config{})
	s.rl = s.addSpeaking(Config{}, chat.Dialect{}, lines{most: readsOfFrame + 1, shows: true})
	s.e.linkTo(s.rl)
	var connect strings.Builder
	long := strings.Repeat("m", 16_000)
	for _, name := range []protocol.Topic{"long", "short", "more", "a", "b", "c", "d", "e", "unread"} {
		text, n := "m", 2
		switch name {
		case "long":
			text, n = long, 60
		case "more": // with the former, it exceeds maxMissed
			text, n = long, 10
		}
		for range n {
			s.publishText(name, text)
		}
		fmt.Fprintf(&connect, " %s;most=1000;since=%s-0", name, s.epochs[len(s.epochs)-1])
	}
	s.settle()
	s.rl.broker.onEvent = func(ev broker.Event) bool {
		if h, ok := ev.(broker.History); ok && h.Topic == "unread" {
			t.Error("it was read")
		}
		return true
	}
	s.e.guest(1)
	s.e.say(1, "connect 1 7 0 keep"+connect.String())
	s.settle()
	want := "; B-2 recovered 1:m 2:m; C-10; D-2; E-2; F-2; G-2; H-2; I-2"
	got := s.e.received[1]
	delete(s.e.received, 1)
	if len(got) != 1 || strings.Count(got[0], long) != 60 || !strings.HasSuffix(anEpoch.ReplaceAllStringFunc(got[0], s.letter), want) {
		t.Errorf("got %.80q", got)
	}
	s.finish()
}

// TestP11_MoreThanAnAnswerCanHaveIsNotRead resumes behind a position after which more was published
// than has room in one answer, though the rule shows it all. History must not be read.
func TestP11_MoreThanAnAnswerCanHaveIsNotRead(t *testing.T) {
	s := resuming(t, Config{})
	s.publish("x", maxRecalled+1)
	s.come(1)
	s.say(1, "bind 1 x k most=100000 since=A-0")
	s.settle()
	s.saw(1, fmt.Sprint("1 done A-", maxRecalled+1))
	if n := s.rl.broker.histories; n > 0 {
		t.Errorf("history was asked %d times", n)
	}
	s.finish()
}
