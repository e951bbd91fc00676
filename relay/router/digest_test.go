package router

import (
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// digestOf computes, row by row, the Digest of the tables that a relay has of an edge. All sessions
// of the edge must be sessions of the chat.
func digestOf(rl *testRelay, e *testEdge) (d link.Digest) {
	known := rl.router.directory.edges[e.instance]
	d.Heard = known.tables.heard
	for _, s := range known.tables.sessions {
		d.Sessions++
		d.SessionHash ^= link.SessionHash(link.Session{ID: s.id, Endpoint: s.endpoint, User: s.user, Group: s.peek().group})
		for _, f := range append(s.few[:], s.peek().more...) {
			if f == nil {
				continue
			}
			d.Bindings++
			d.BindingHash ^= link.BindingHash(s.id, f.topic.name)
		}
	}
	return d
}

// TestP9_ARelayTellsItsTablesEveryTenSeconds checks that a relay sends two edges a Digest every ten
// seconds. After each of several changes, the Digest must match the relay's tables. Each edge also
// compares its Digests with its own tables.
func TestP9_ARelayTellsItsTablesEveryTenSeconds(t *testing.T) {
	w := newWorld(t, 2)
	a, b := pair(w, w.relays[0], w.relays[0])
	for _, step := range []struct {
		name               string
		change             func()
		sessions, bindings uint64 // expected in the Digest of edge a
	}{
		{"as it is", func() {}, 1, 3},
		{"a connect", func() { a.channel(3, "3") }, 2, 5},
		{"a join", func() { a.join(3, "h") }, 2, 6},
		{"a leave", func() { a.leave(1, "g") }, 2, 5},
		{"a group's endpoint", func() { a.open(4, protocol.EndpointGroup, "4", "g") }, 3, 6},
		{"an end", func() { a.end(1) }, 2, 4},
		{"a new link", func() { a.cut(); a.linkTo(w.relays[0]) }, 2, 4},
		{"a later link beside it", func() { a.linkTo(w.relays[0]) }, 2, 4},
		{"another relay", func() { a.cut(); a.linkTo(w.relays[1]) }, 2, 4},
		{"the end of a new one", func() { a.channel(5, "5"); w.settle(); a.end(5) }, 2, 4},
	} {
		step.change()
		w.settle()
		told, others := a.digests, b.digests
		w.wait(10 * time.Second)
		if a.digests != told+1 || b.digests != others+1 {
			t.Fatalf("%s: told %d and %d times in 10 s, want once each", step.name, a.digests-told, b.digests-others)
		}
		if want := digestOf(a.link, a); a.digest != want || want.Sessions != step.sessions || want.Bindings != step.bindings {
			t.Errorf("%s: told %+v\nthe tables are %+v; want %d sessions and %d memberships", step.name, a.digest, want, step.sessions, step.bindings)
		}
	}
}

// TestP9_TablesThatDriftAreToldAnew makes a relay's tables wrong. The edge must notice the
// difference by the Digest, and renew its link once. Then the relay must go on with the tables that
// the edge tells on the new link.
func TestP9_TablesThatDriftAreToldAnew(t *testing.T) {
	g, h := protocol.GroupTopic("g"), protocol.GroupTopic("h")
	for _, drift := range []struct {
		name string
		by   func(r *Router, e *edge)
	}{
		{"a session is missing", func(r *Router, e *edge) { r.removeSession(e.tables.sessions[1]) }},
		{"a session is left over", func(r *Router, e *edge) {
			r.addSession(e, link.Session{ID: 9, Endpoint: protocol.EndpointUser, User: "9"})
		}},
		{"a membership is missing", func(r *Router, e *edge) { r.unbind(e.tables.sessions[1], r.directory.follower(e, g)) }},
		{"a membership is left over", func(r *Router, e *edge) { r.bind(e.tables.sessions[3], r.directory.follower(e, h)) }},
		{"a membership is another's", func(r *Router, e *edge) {
			r.unbind(e.tables.sessions[1], r.directory.follower(e, g))
			r.bind(e.tables.sessions[3], r.directory.follower(e, h))
		}},
	} {
		t.Run(drift.name, func(t *testing.T) {
			w := newWorld(t, 1)
			a, b := pair(w, w.relays[0], w.relays[0])
			a.channel(3, "1")
			a.channel(4, "4")
			w.settle()
			a.join(3, "g")
			a.join(1, "h")
			a.join(4, "h") // so every topic of session 1 has another member
			w.settle()
			clear(a.received)
			clear(b.received)
			a.renews = true
			want := digestOf(w.relays[0], a)

			drift.by(w.relays[0].router, w.relays[0].router.directory.edges[a.instance])
			w.settle()
			if digestOf(w.relays[0], a) == want {
				t.Fatal("nothing has drifted")
			}
			for range 3 {
				w.wait(10 * time.Second)
			}
			if a.renewed != 1 || a.generation != 2 {
				t.Errorf("the link was renewed %d times, and is number %d", a.renewed, a.generation)
			}
			if got := digestOf(w.relays[0], a); got != want {
				t.Errorf("the tables are %+v\nas told anew they should be %+v", got, want)
			}
			a.group(1, "g", "member")
			a.group(3, "h", "no member")
			b.group(2, "g", "to all")
			w.settle()
			a.saw(1, "group 【g】 user 【2】 send:to all")
			a.saw(3, "user 【1】 not in 【h】", "group 【g】 user 【2】 send:to all")
			b.saw(2, "group 【g】 user 【1】 send:member")
		})
	}
}
