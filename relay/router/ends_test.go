package router

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/link"
)

// in returns the keep of a membership that ends when the given time has passed.
func (w *world) in(d time.Duration) string { return fmt.Sprint("until", w.now.Add(d).Unix()) }

// noEnds checks that a relay waits for the end of no membership.
func (rl *testRelay) noEnds() {
	rl.w.t.Helper()
	for _, e := range rl.router.directory.edges {
		if n := len(e.tables.ends); n > 0 {
			rl.w.t.Errorf("%s: the ends of %d memberships are awaited", e.node, n)
		}
	}
}

// TestAMembershipEndsAtItsTime binds a session to topics for several times. Each membership must
// end at its time, and not before. The client must be told, and get no message after that.
func TestAMembershipEndsAtItsTime(t *testing.T) {
	w, e := serving(t, 1)
	e.tellClient(link.Client{ID: 1, Confirmed: true, User: "7"})
	e.say(1, "bind 1 x "+w.in(10*time.Second))
	e.say(1, "bind 2 y "+w.in(20*time.Second))
	e.say(1, "bind 3 z")
	w.settle()
	e.saw(1, "1 done", "2 done", "3 done")
	w.wait(9 * time.Second)
	e.say(1, "say 4 x a")
	w.settle()
	e.saw(1, "x 7c1: a", "4 done")
	w.wait(3 * time.Second)
	e.saw(1, "x over")
	for i, topic := range []string{"x", "y", "z"} {
		e.say(1, fmt.Sprintf("say %d %s b", 5+i, topic))
	}
	w.settle()
	e.saw(1, "5 done", "y 7c1: b", "6 done", "z 7c1: b", "7 done")
	e.say(1, "bind 8 x "+w.in(time.Hour))
	w.settle()
	e.saw(1, "8 done")
	w.wait(10 * time.Second)
	e.saw(1, "y over")
	if n := testutil.ToFloat64(w.relays[0].router.m.expired); n != 2 {
		t.Errorf("%v memberships are counted as expired, want 2", n)
	}
	e.say(1, "unbind 9 x")
	w.settle()
	w.relays[0].noEnds()
	w.done(e)
}

// TestAnExtendMovesTheEnd extends memberships. What is extended must go on until its new end. Only
// a membership that ends by itself can be extended.
func TestAnExtendMovesTheEnd(t *testing.T) {
	w, e := serving(t, 1)
	e.tellClient(link.Client{ID: 1, Confirmed: true, User: "7"})
	e.say(1, "bind 1 x "+w.in(10*time.Second))
	e.say(1, "bind 2 y "+w.in(10*time.Second))
	e.say(1, "bind 3 z")
	e.say(1, "bind 4 server server")
	w.settle()
	e.saw(1, "1 done", "2 done", "3 done", "4 done")
	e.say(1, "extend 5 x "+w.in(20*time.Second))
	e.say(1, "extend 6 y")
	e.say(1, "extend 7 z "+w.in(10*time.Second))
	e.say(1, "extend 8 server "+w.in(10*time.Second))
	e.say(1, "extend 9 other "+w.in(10*time.Second))
	w.settle()
	e.saw(1, "5 done", "6 done", "7 not-member", "8 not-member", "9 not-member")
	w.wait(19 * time.Second)
	e.saw(1)
	w.wait(3 * time.Second)
	e.saw(1, "x over")
	w.relays[0].noEnds()
	w.done(e)
}

// TestAnExtendFollowsItsBind extends a membership while the topic cannot be bound yet.
func TestAnExtendFollowsItsBind(t *testing.T) {
	w, e := serving(t, 1)
	e.tellClient(link.Client{ID: 1, Confirmed: true, User: "7"})
	w.settle()
	w.relays[0].broker.slow = true
	e.say(1, "bind 1 x "+w.in(3*time.Second))
	e.say(1, "extend 2 x "+w.in(20*time.Second))
	e.say(1, "extend 3 y "+w.in(20*time.Second))
	w.settle()
	e.saw(1, "3 not-member")
	w.relays[0].broker.slow = false
	w.settle()
	e.saw(1, "1 done", "2 done")
	w.wait(15 * time.Second)
	e.saw(1)
	w.wait(7 * time.Second)
	e.saw(1, "x over")
	w.done(e)
}

// TestTheNextRelayEndsAMembership cuts an edge from its relay. What ends in that time must end once
// the edge is linked again, to the same relay or to another one. What was extended must go on, even
// if the link is cut before its answer is passed on.
func TestTheNextRelayEndsAMembership(t *testing.T) {
	for to := range 2 {
		w, e := serving(t, 2)
		e.tellClient(link.Client{ID: 1, Confirmed: true, User: "7"})
		e.say(1, "bind 1 x "+w.in(10*time.Second))
		e.say(1, "bind 2 y "+w.in(10*time.Second))
		w.settle()
		e.say(1, "extend 3 y "+w.in(30*time.Second))
		w.settle()
		e.saw(1, "1 done", "2 done", "3 done")
		e.cut()
		w.wait(12 * time.Second)
		e.saw(1)
		e.linkTo(w.relays[to])
		w.settle()
		w.wait(2 * time.Second)
		e.saw(1, "x over")
		w.wait(10 * time.Second)
		e.saw(1)
		w.wait(10 * time.Second)
		e.saw(1, "y over")
		w.relays[to].noEnds()
		w.done(e)
	}
}

// TestP14_NoClientPutsOffAnEnd keeps a publish of the session under way while its membership ends.
// The end must wait for the publish, but not for ever: then the session is closed.
func TestP14_NoClientPutsOffAnEnd(t *testing.T) {
	w, e := serving(t, 1)
	e.tellClient(link.Client{ID: 1, Confirmed: true, User: "7"})
	e.tellClient(link.Client{ID: 2, Confirmed: true, User: "8"})
	for id := range uint64(2) {
		e.say(id+1, "bind 1 x "+w.in(5*time.Second))
	}
	w.settle()
	clear(e.received)
	w.relays[0].broker.onPublish = func(p broker.Publish) bool { return false }
	e.say(1, "tell 2 x hi")
	w.wait(8 * time.Second)
	e.saw(1)
	e.saw(2, "x over")
	if len(e.closes) > 0 {
		t.Errorf("closed: %v", e.closes)
	}
	w.wait(4 * time.Second)
	if got := e.closes[1]; len(got) != 1 || got[0].Code != 3006 || got[0].Reason != "over" {
		t.Errorf("closed: %v", e.closes)
	}
	w.relays[0].noEnds()
}

// TestManyMembershipsEndAtOnce ends the memberships of many sessions at one moment. Sessions that
// have ended meanwhile must be forgotten.
func TestManyMembershipsEndAtOnce(t *testing.T) {
	w, e := serving(t, 1)
	const sessions = 3000
	for id := range uint64(sessions) {
		e.tellClient(link.Client{ID: id + 1, Confirmed: true, User: fmt.Sprint(id)})
		e.say(id+1, "bind 1 x "+w.in(10*time.Second))
	}
	w.settle()
	for id := uint64(1); id <= sessions; id += 3 {
		e.end(id)
	}
	w.settle()
	clear(e.received)
	w.wait(12 * time.Second)
	for id := range uint64(sessions) {
		want := []string{"x over"}
		if id%3 == 0 {
			want = nil
		}
		if got := e.received[id+1]; !slices.Equal(got, want) {
			t.Fatalf("session %d got %q, want %q", id+1, got, want)
		}
	}
	clear(e.received)
	w.relays[0].noEnds()
	w.done(e)
}

// TestAnEndWaitsForRoom lets memberships end while the edge's link has no room. They must end when
// it has room again, in any number.
func TestAnEndWaitsForRoom(t *testing.T) {
	w, e := serving(t, 1)
	const sessions = 100
	for id := range uint64(sessions) {
		e.tellClient(link.Client{ID: id + 1, Confirmed: true, User: fmt.Sprint(id)})
		e.say(id+1, "bind 1 x "+w.in(5*time.Second))
	}
	w.settle()
	clear(e.received)
	e.stuck = 8 << 20
	w.wait(7 * time.Second)
	w.wait(time.Second)
	if len(e.received) > 0 {
		t.Errorf("%d sessions were told without room", len(e.received))
	}
	e.stuck = 0
	w.wait(time.Second)
	for id := range uint64(sessions) {
		e.saw(id+1, "x over")
	}
	w.relays[0].noEnds()
	w.done(e)
}

// unreplayed links an edge anew 20 s after a client has become a member for the time d. The last
// number of the edge's log is finished, so that no replay of it ever comes.
func unreplayed(t *testing.T, d time.Duration) (*world, *testEdge) {
	w, e := serving(t, 1)
	e.tellClient(link.Client{ID: 1, Confirmed: true, User: "7"})
	e.tellClient(link.Client{ID: 2, Confirmed: true, User: "8"})
	e.say(1, "bind 1 x "+w.in(d))
	w.settle()
	w.relays[0].broker.onPublish = func(broker.Publish) bool { return false }
	e.say(2, "say 1 all a")
	e.say(2, "bind 2 y")
	w.settle()
	clear(e.received)
	if len(e.log) != 1 {
		t.Fatalf("the log has %v", e.log)
	}
	w.relays[0].broker.onPublish = nil
	e.cut()
	w.wait(20 * time.Second)
	e.linkTo(w.relays[0])
	return w, e
}

// TestAnEndAwaitsNoReplayForEver has a membership that ended before the new link. It must end as
// any other one, after a few seconds, and its session must not be closed.
func TestAnEndAwaitsNoReplayForEver(t *testing.T) {
	w, e := unreplayed(t, 10*time.Second)
	for range 4 {
		w.wait(time.Second)
		e.saw(1) // a replay may still come
	}
	for range 3 {
		w.wait(time.Second)
	}
	e.saw(1, "x over")
	if len(e.closes) > 0 {
		t.Errorf("closed: %v", e.closes)
	}
	w.done(e)
}

// TestAnEndLongAfterALinkAwaitsNoReplay has a membership that ends long after the new link. No
// replay can come then, so the end must not wait.
func TestAnEndLongAfterALinkAwaitsNoReplay(t *testing.T) {
	w, e := unreplayed(t, 60*time.Second)
	for range 39 {
		w.wait(time.Second)
	}
	e.saw(1)
	for range 2 {
		w.wait(time.Second)
	}
	e.saw(1, "x over")
	if len(e.closes) > 0 {
		t.Errorf("closed: %v", e.closes)
	}
	w.done(e)
}

// TestP2_AnEndClosesNoSessionThatIsGone ends a membership of a session that is gone, and whose last
// message is not published yet. The edge would drop that message if the session were closed.
func TestP2_AnEndClosesNoSessionThatIsGone(t *testing.T) {
	w, e := serving(t, 1)
	e.tellClient(link.Client{ID: 1, Confirmed: true, User: "7"})
	e.say(1, "bind 1 x "+w.in(5*time.Second))
	w.settle()
	w.relays[0].broker.onPublish = func(broker.Publish) bool { return false }
	e.say(1, "tell 2 x hi")
	e.end(1)
	for range 15 {
		w.wait(time.Second)
	}
	if len(e.closes) > 0 {
		t.Errorf("closed: %v", e.closes)
	}
	w.relays[0].noEnds()
	w.relays[0].broker.onPublish = nil
	e.cut()
	e.linkTo(w.relays[0])
	w.settle()
	w.done(e)
}

// TestP14_WhatIsSaidAfterAnEndIsNotCaughtUp cuts an edge from its relay. A membership's time comes
// meanwhile, and then somebody else says something. When the edge is linked again, to the same
// relay or to another one, the member must be told its end, and must not be sent what was said
// after it. Other members of the topic must be sent it. A replay about the topic may not change
// that. But a replay that extends the membership counts.
func TestP14_WhatIsSaidAfterAnEndIsNotCaughtUp(t *testing.T) {
	for _, c := range []struct {
		name, replay string
		want         []string
		closed       bool
	}{
		{"no replay", "", []string{"x over"}, false},
		{"another topic", "tell 2 y hi", []string{"2 unsure", "x over"}, false},
		{"a message", "tell 2 x hi", []string{"2 done", "x over"}, false},
		{"an extension", "extend 2 x %s", []string{"2 done", "x 9c5: secret"}, false},
	} {
		for to := range 2 {
			w, e := serving(t, 2)
			a := w.edge("other")
			a.linkTo(w.relays[0])
			a.tellClient(link.Client{ID: 5, Confirmed: true, User: "9"})
			e.tellClient(link.Client{ID: 1, Confirmed: true, User: "7"})
			e.tellClient(link.Client{ID: 2, Confirmed: true, User: "8"})
			e.say(1, "bind 1 x "+w.in(10*time.Second))
			e.say(2, "bind 1 x")
			w.settle()
			clear(e.received)
			e.cut()
			if c.replay != "" {
				text := c.replay
				if strings.Contains(text, "%s") {
					text = fmt.Sprintf(text, w.in(time.Hour))
				}
				e.say(1, text)
			}
			w.wait(12 * time.Second)
			a.say(5, "say 1 x secret")
			w.settle()
			e.linkTo(w.relays[to])
			w.settle()
			w.wait(2 * time.Second)
			w.wait(7 * time.Second)
			e.saw(1, c.want...)
			if got := strings.Join(e.received[2], " "); !strings.Contains(got, "x 9c5: secret") {
				t.Errorf("%s, relay %d: the other member saw %q", c.name, to, got)
			}
			if closed := len(e.closes[1]) > 0; closed != c.closed {
				t.Errorf("%s, relay %d: closes %v", c.name, to, e.closes)
			}
		}
	}
}
