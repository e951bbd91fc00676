package router

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/chat"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// TestP6P9_AnySchedule runs clients that come, go, join and leave. Links are cut between any two
// frames. There are stalls, deafness, failed requests, and times when the broker is away. Each
// message that a client must get comes to it once. A client that is known not to be in a group gets
// no message of that group. In the end the tables agree and nothing is left over.
func TestP6P9_AnySchedule(t *testing.T) {
	first, last := schedules()
	for s := first; s <= last; s++ {
		if memberSchedule(t, s); t.Failed() {
			t.Fatalf("go test ./relay/router -run P6P9_AnySchedule -seed %d", s)
		}
	}
}

type mkey struct {
	e     *testEdge
	id    uint64
	group string
}

type membership struct {
	joined      bool // the last command was a join
	outstanding int
}

type members struct {
	t     *testing.T
	edges []*testEdge
	state map[mkey]*membership
	seen  map[mkey]int      // number of lines observed, by session; mkey.group is empty
	want  map[mkey][]string // lines that must come, by session; mkey.group is empty
	sent  int
}

func (m *members) at(e *testEdge, id uint64, g string) *membership {
	k := mkey{e, id, g}
	if m.state[k] == nil {
		m.state[k] = &membership{}
	}
	return m.state[k]
}

// observe checks the lines that clients have received since the last call.
func (m *members) observe() {
	for _, e := range m.edges {
		for id, lines := range e.received {
			k := mkey{e, id, ""}
			for _, line := range lines[m.seen[k]:] {
				for _, g := range []string{"g", "h"} {
					st := m.at(e, id, g)
					user := e.sessions[id].User
					switch {
					case line == "user 【"+user+"】 add to group 【"+g+"】", line == "user 【"+user+"】 leave group 【"+g+"】",
						line == "user 【"+user+"】 not in 【"+g+"】":
						st.outstanding--
					case strings.HasPrefix(line, "group 【"+g+"】") && !st.joined && st.outstanding == 0 && e.sessions[id].Group != g:
						m.t.Errorf("%s, session %d, is not in %s and got %q", e.node, id, g, line)
					case strings.HasPrefix(line, "error: messages lost"):
						m.t.Errorf("%s, session %d: %q", e.node, id, line)
					}
				}
			}
			m.seen[k] = len(lines)
		}
	}
}

func (m *members) command(e *testEdge, id uint64, g string, join bool) {
	st := m.at(e, id, g)
	st.outstanding++
	st.joined = join
	if join {
		e.join(id, g)
	} else {
		e.leave(id, g)
		k := mkey{e, id, ""} // after the leave, the group's lines may come but need not
		m.want[k] = slices.DeleteFunc(m.want[k], func(line string) bool {
			return strings.HasPrefix(line, "group 【"+g+"】") && !slices.Contains(e.received[id], line)
		})
	}
}

// placed reports whether the position of e's members in a group is known. It may be unknown if they
// joined while the broker was away. As long as it is unknown, messages that other relays publish
// need not reach them.
func (e *testEdge) placed(g string) bool {
	h := e.topics[protocol.GroupTopic(g)]
	return h != nil && !h.unplaced
}

func (m *members) say(rnd *rand.Rand, from *testEdge, sender uint64) {
	m.sent++
	user := from.sessions[sender].User
	text := fmt.Sprintf("#%d", m.sent)
	switch n := rnd.IntN(3); n {
	case 0, 1:
		g := []string{"g", "h"}[n]
		if st := m.at(from, sender, g); !st.joined || st.outstanding > 0 {
			return // the sender is not known to be a member
		}
		from.group(sender, g, text)
		for _, e := range m.edges {
			for id, s := range e.sessions {
				st := m.at(e, id, g)
				own := s.Endpoint == protocol.EndpointGroup && s.Group == g && e.confirmed[id]
				if !e.dead[id] && s.User != user && (own || st.joined && st.outstanding == 0 && e.placed(g)) {
					k := mkey{e, id, ""}
					m.want[k] = append(m.want[k], "group 【"+g+"】 user 【"+user+"】 send:"+text)
				}
			}
		}
	case 2:
		from.say(sender, `{"MsgBody":"`+text+`"}`)
		for _, e := range m.edges {
			for id, s := range e.sessions {
				if !e.dead[id] && s.User != user && e.confirmed[id] && s.Endpoint != protocol.EndpointGroup && s.Endpoint != protocol.EndpointUser {
					k := mkey{e, id, ""}
					m.want[k] = append(m.want[k], "user 【"+user+"】 send all:"+text)
				}
			}
		}
	}
}

func memberSchedule(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 2))
	config := func() Config { return Config{TailLength: 1 + rnd.IntN(6), Pieces: rnd.IntN(8), MaxGroups: 10} }
	w := newRandomWorld(t, rnd, config(), chat.Dialect{})
	m := &members{t: t, edges: w.edges, state: map[mkey]*membership{}, seen: map[mkey]int{}, want: map[mkey][]string{}}
	for _, e := range m.edges {
		e.channel(1, fmt.Sprintf("%s.1", e.node))
	}
	next := uint64(2)
	fail := func(rl *testRelay) func(broker.Event) bool {
		return func(ev broker.Event) bool {
			if rnd.IntN(2) == 0 {
				return true
			}
			switch ev := ev.(type) {
			case broker.History:
				if ev.Err == nil {
					rl.broker.held = append(rl.broker.held, broker.History{Token: ev.Token, Topic: ev.Topic, Err: errors.New("lost")})
					return false
				}
			case broker.Published:
				if ev.Err == nil {
					rl.broker.held = append(rl.broker.held, broker.Published{Token: ev.Token, Err: errors.New("lost")})
					return false
				}
			}
			return true
		}
	}
	for range 150 {
		e := w.anEdge()
		pick := func() (uint64, bool) {
			ids := slices.DeleteFunc(sorted(e.sessions), func(id uint64) bool { return e.dead[id] })
			id := ids[rnd.IntN(len(ids))]
			return id, e.sessions[id].Endpoint == protocol.EndpointChannel
		}
		switch n := rnd.IntN(100); {
		case n < 30:
			id, channel := pick()
			if !channel {
				id = 1
			}
			m.say(rnd, e, id)
			if id != 1 && rnd.IntN(4) == 0 { // the message must not be lost though its session ends
				e.end(id)
				delete(m.want, mkey{e, id, ""})
			}
		case n < 36:
			at := []protocol.Endpoint{protocol.EndpointChannel, protocol.EndpointChannel, protocol.EndpointUser, protocol.EndpointGroup, protocol.EndpointAll}[rnd.IntN(5)]
			g := ""
			if at == protocol.EndpointGroup {
				g = []string{"g", "h"}[rnd.IntN(2)]
			}
			e.open(next, at, fmt.Sprint(e.node, ".", next), g)
			next++
		case n < 52:
			if id, channel := pick(); channel {
				m.command(e, id, []string{"g", "h"}[rnd.IntN(2)], rnd.IntN(5) < 3)
			}
		case n < 56:
			if id, _ := pick(); id != 1 {
				e.end(id)
				delete(m.want, mkey{e, id, ""})
			}
		case n < 60:
			e.cutIn = 1 + rnd.IntN(8)
		case n < 64:
			if other := w.aRelay(); e.link != nil && e.link != other && rnd.IntN(4) > 0 {
				e.moveTo(other)
				break
			}
			if old, conn := e.link, e.conn; old != nil && rnd.IntN(2) == 0 {
				old.inputs = append(old.inputs, Disconnected{conn, w.now, errors.New("cut")})
			}
			e.linkTo(w.aRelay())
		case n < 65:
			w.cfg = config()
			w.replace(w.aRelay())
		case n < 68:
			rl := w.aRelay()
			if rl.broker.onEvent == nil {
				rl.broker.onEvent = fail(rl)
			} else {
				rl.broker.onEvent = nil
			}
		case n < 72:
			if e.conn != nil {
				full := 8 << 20
				e.conn.queued = func() int { return full }
			}
		case n < 76:
			if e.conn != nil {
				e.conn.queued = nil
				if rnd.IntN(2) == 0 {
					e.link.inputs = append(e.link.inputs, Writable{e.conn})
				}
			}
		case n < 79:
			rl := w.aRelay()
			for _, name := range sorted(rl.router.directory.topics) {
				topic := rl.router.directory.topics[name]
				if rnd.IntN(2) == 0 {
					rl.broker.held = append(rl.broker.held, broker.Deaf{Topic: name})
					rl.broker.Unsubscribe(name)
					rl.broker.Subscribe(name, topic.number, false)
				}
			}
		case n < 80:
			w.aRelay().leave(rnd.IntN(2) == 0)
		case n < 81:
			w.aRelay().comeBack()
		case n < 83:
			rl := w.aRelay()
			rl.broker.held = append(rl.broker.held, broker.State{Away: rnd.IntN(2) == 0})
		case n < 92:
			w.aRelay().step()
		case n < 95:
			w.wait(time.Duration(rnd.IntN(300)) * time.Millisecond)
		default:
			w.settle()
		}
		w.trouble(w.aRelay())
		m.observe()
		for _, e := range m.edges {
			if rnd.IntN(8) == 0 {
				e.letGo()
			}
			if e.link == nil && rnd.IntN(3) == 0 {
				e.linkTo(w.aRelay())
			}
		}
	}
	for _, rl := range w.relays {
		rl.broker.onEvent = nil
		rl.mend()
		rl.broker.held = append(rl.broker.held, broker.State{})
	}
	for _, e := range m.edges {
		e.letGo()
		e.cutIn = 0
		if e.link == nil {
			e.linkTo(w.relays[0])
		}
		e.conn.queued = nil
	}
	for range 130 {
		w.wait(100 * time.Millisecond)
	}
	m.observe()
	for k, want := range m.want {
		for _, line := range want {
			n := 0
			for _, have := range k.e.received[k.id] {
				if have == line {
					n++
				}
			}
			if n != 1 {
				t.Errorf("%s, session %d, got %q %d times", k.e.node, k.id, line, n)
			}
		}
	}
	for _, e := range m.edges {
		e.quiet()
		if e.digests == 0 {
			t.Errorf("%s: tables were not compared", e.node)
		}
		for id, s := range e.sessions {
			for _, own := range s.Endpoint.Topics(s.User, s.Group) {
				if h := e.topics[own]; h == nil || !slices.Contains(h.members, id) {
					t.Errorf("%s: session %d is not in %s", e.node, id, own)
				}
			}
		}
	}
	for _, e := range m.edges {
		for _, id := range sorted(e.sessions) {
			if id != 1 {
				e.end(id)
			}
		}
		m.command(e, 1, "g", false)
		m.command(e, 1, "h", false)
	}
	w.settle()
	for _, rl := range w.relays {
		for l := range rl.router.directory.links {
			if e := l.(*testLink).edge; e.conn != l {
				rl.inputs = append(rl.inputs, Disconnected{l, w.now, errors.New("silent")})
			}
		}
	}
	for range 3 {
		w.wait(16 * time.Second)
	}
	for i, rl := range w.relays {
		rl.clean(t, i)
	}
}

// clean checks that a relay has nothing left over when everybody is quiet.
func (rl *testRelay) clean(t *testing.T, i int) {
	r := rl.router
	if n := len(r.requests.publishes); n > 0 {
		t.Errorf("relay %d: %d publishes left", i, n)
	}
	for _, by := range r.requests.asked {
		switch by.(type) {
		case *frame, *follower: // not mover or *edge: their Flushed may have been lost
			t.Errorf("relay %d: a request of a %T is left", i, by)
		}
	}
	if len(r.later) > 2*len(r.directory.edges)+2 {
		t.Errorf("relay %d: %d timers for %d edges", i, len(r.later), len(r.directory.edges))
	}
	for tp := range r.directory.active {
		if tp.recent == nil || r.directory.topics[tp.name] != tp {
			t.Errorf("relay %d: topic %s is said to be active", i, tp.name)
		}
	}
	if len(r.stalled) > 0 {
		t.Errorf("relay %d: lanes wait for %d topics", i, len(r.stalled))
	}
	followers := 0
	for _, tp := range r.directory.topics {
		here := 0
		for f := range tp.all {
			here++
			if tp.find(f.edge) != f {
				t.Errorf("relay %d: topic %s: a follower is not found", i, tp.name)
			}
		}
		followers += here
		if !tp.subscribed || here == 0 || tp.name.IsGroup() {
			t.Errorf("relay %d: topic %s: subscribed %v, %d followers", i, tp.name, tp.subscribed, here)
		}
		if n := tp.recent; n != nil && (n.idle(tp.top) || n.notices > 0 || !has(r.directory.active, tp)) {
			t.Errorf("relay %d: topic %s: of late %+v", i, tp.name, n)
		}
	}
	for _, e := range r.directory.edges {
		followers -= len(e.followers)
		if e.outbox.link == nil || len(e.inbox.lanes)+len(e.catchup.behind)+len(e.inbox.frames) > 0 || e.inbox.bytes != 0 || len(e.tables.sessions) != 1 || len(e.inbox.numbers.above.blocks) > 0 {
			t.Errorf("relay %d: %s: link %v, %d lanes, %d behind, %d frames, %d sessions", i, e.node, e.outbox.link, len(e.inbox.lanes), len(e.catchup.behind), len(e.inbox.frames), len(e.tables.sessions))
		}
		for name, l := range e.inbox.lanes {
			t.Errorf("relay %d: %s lane %s: first %+v, to be sent %+v, %d flying, failed %v, away %v", i, e.node, name, l.first, l.unsent, l.flying, l.failed, r.outage.away)
		}
		for _, f := range e.followers {
			if f.bound != 1 || f.rare != nil || r.directory.topics[f.topic.name] != f.topic || f.isBehind {
				t.Errorf("relay %d: %s in %s: %d bound, waits %+v, behind %v", i, e.node, f.topic.name, f.bound, f.rare, f.isBehind)
			}
		}
	}
	if followers != 0 {
		t.Errorf("relay %d: %d followers too many", i, followers)
	}
}

func has[K comparable](set map[K]struct{}, k K) bool { _, ok := set[k]; return ok }
