package router

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// The ns/op of BenchmarkDirect, BenchmarkConnectEnd and BenchmarkGroups should hardly depend on the
// numbers of users, edges, sessions and groups. The ns/op of BenchmarkPublication and of
// BenchmarkJoinLeave grows with the number of edges that get a publication.

// BenchmarkDirect measures a message between two users on two edges: its frame, publication,
// delivery and acknowledgement.
func BenchmarkDirect(b *testing.B) {
	for _, users := range []int{2, 1000, 100_000} {
		b.Run(fmt.Sprint("users=", users), func(b *testing.B) {
			s := newStage(2)
			ids := make([]uint64, users)
			texts := make([][]byte, users)
			for i := range users {
				ids[i] = s.open(i%2, protocol.EndpointUser, fmt.Sprint(i))
				texts[i] = fmt.Appendf(nil, `{"Id":"%d","Msg":"hello, how are you?"}`, i)
			}
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				from := n % users
				n++
				s.say(from%2, ids[from], texts[(from+1)%users])
				s.age()
			}
		})
	}
}

// BenchmarkPublication measures a message to a group that has members on a number of edges.
func BenchmarkPublication(b *testing.B) {
	for _, edges := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprint("edges=", edges), func(b *testing.B) {
			s := newStage(edges)
			var first uint64
			for e := range edges {
				id := s.open(e, protocol.EndpointChannel, fmt.Sprint("u", e))
				s.say(e, id, []byte(`{"Method":"UserGroup","Group":"g"}`))
				if e == 0 {
					first = id
				}
			}
			text := []byte(`{"Method":"Group","Group":"g","MsgBody":"hello, how are you all?"}`)
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				s.say(0, first, text)
				s.age()
				n++
			}
			for e, link := range s.links {
				if link.appends < n {
					b.Fatalf("edge %d was given something %d times in %d publications", e, link.appends, n)
				}
			}
		})
	}
}

// BenchmarkJoinLeave measures a session that joins a group and leaves it. The group has a number of
// other members, each on an edge of its own.
func BenchmarkJoinLeave(b *testing.B) {
	for _, edges := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprint("edges=", edges), func(b *testing.B) {
			s := newStage(edges)
			var first uint64
			for e := range edges {
				id := s.open(e, protocol.EndpointChannel, fmt.Sprint("u", e))
				if e == 0 {
					first = id
				} else if e > 1 {
					s.say(e, id, []byte(`{"Method":"UserGroup","Group":"g"}`))
				}
			}
			join, leave := []byte(`{"Method":"UserGroup","Group":"g"}`), []byte(`{"Method":"LeaveGroup","Group":"g"}`)
			b.ReportAllocs()
			for b.Loop() {
				s.say(0, first, join)
				s.say(0, first, leave)
				s.age()
			}
		})
	}
}

// BenchmarkConnectEnd measures one session on /chat/channel that comes and goes. A number of other
// sessions stay, on a number of edges.
func BenchmarkConnectEnd(b *testing.B) {
	for _, size := range []struct{ edges, sessions int }{{1, 1}, {1, 10_000}, {1, 100_000}, {100, 100_000}, {1000, 1000}, {1000, 1_000_000}} {
		b.Run(fmt.Sprintf("edges=%d,sessions=%d", size.edges, size.sessions), func(b *testing.B) {
			s := newStage(size.edges)
			for i := range size.sessions {
				s.open(i%size.edges, protocol.EndpointChannel, fmt.Sprint(i))
			}
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				e := n % size.edges
				s.end(e, s.open(e, protocol.EndpointChannel, "somebody"))
				n++
			}
		})
	}
}

// BenchmarkResync measures an edge that lost its link and tells its tables on a new one. The result
// ns/membership should hardly depend on the numbers of sessions and groups.
func BenchmarkResync(b *testing.B) {
	for _, size := range []struct{ sessions, groups int }{{100, 0}, {1000, 0}, {10_000, 0}, {100_000, 0}, {1000, 10}, {1000, 100}, {100, 1000}} {
		b.Run(fmt.Sprintf("sessions=%d,groups=%d", size.sessions, size.groups), func(b *testing.B) {
			s := newStage(10)
			ids := make([]uint64, size.sessions)
			var frames []any
			for i := range ids {
				user := fmt.Sprint(i)
				ids[i] = s.open(0, protocol.EndpointChannel, user)
				frames = append(frames, link.Session{ID: ids[i], Endpoint: protocol.EndpointChannel, User: user})
			}
			for i, id := range ids {
				frames = append(frames, link.Held{Topic: protocol.UserTopic(fmt.Sprint(i)), Sessions: []uint64{id}})
			}
			frames = append(frames, link.Held{Topic: protocol.All, Sessions: ids})
			for g := range size.groups {
				frames = append(frames, link.Held{Topic: protocol.GroupTopic(fmt.Sprint(g)), Sessions: ids})
			}
			frames = append(frames, link.Synced{First: 1, Sessions: uint64(len(ids)), Held: uint64(len(ids) * (size.groups + 2))})
			b.ReportAllocs()
			for b.Loop() {
				s.relink(0)
				s.step(Received{s.links[0], frames})
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(ids)*(size.groups+2)), "ns/membership")
			e := s.router.directory.links[s.links[0]]
			if got := e.tables.bindings; got != uint64(len(ids)*(size.groups+2)) {
				b.Fatalf("%d memberships, want %d", got, len(ids)*(size.groups+2))
			}
		})
	}
}

// BenchmarkWaitingConnects measures connects that all wait until the topic "all" is subscribed. The
// result ns/session should hardly depend on the number of sessions.
func BenchmarkWaitingConnects(b *testing.B) {
	for _, sessions := range []int{100, 1000, 10_000, 100_000} {
		b.Run(fmt.Sprint("sessions=", sessions), func(b *testing.B) {
			for b.Loop() {
				s := newStage(1)
				var frames []any
				for i := range sessions {
					frames = append(frames, link.Session{ID: uint64(i + 1), Endpoint: protocol.EndpointChannel, User: fmt.Sprint(i)})
				}
				s.step(Received{s.links[0], frames})
				if got := s.router.directory.links[s.links[0]].tables.bindings; got != uint64(2*sessions) {
					b.Fatalf("%d memberships", got)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(sessions), "ns/session")
		})
	}
}

// BenchmarkGroups measures a group message of a session that is in a number of groups. The message
// goes to the group that the session joined last.
func BenchmarkGroups(b *testing.B) {
	for _, groups := range []int{1, 10, 100, 900} {
		b.Run(fmt.Sprint("groups=", groups), func(b *testing.B) {
			s := newStage(1)
			id := s.open(0, protocol.EndpointChannel, "1")
			for g := range groups {
				s.say(0, id, fmt.Appendf(nil, `{"Method":"UserGroup","Group":"%d"}`, g))
			}
			text := fmt.Appendf(nil, `{"Method":"Group","Group":"%d","MsgBody":"hello"}`, groups-1)
			b.ReportAllocs()
			for b.Loop() {
				s.say(0, id, text)
				s.age()
			}
		})
	}
}

// BenchmarkIdle measures the memory that a relay needs for each session on /chat/channel: before
// the session says anything, after it has sent a message to its own user, and two and a half
// minutes later.
func BenchmarkIdle(b *testing.B) {
	const sessions, edges = 100_000, 10
	for b.Loop() {
		s := newStage(edges)
		before := heapNow()
		ids := make([]uint64, sessions)
		for i := range ids {
			ids[i] = s.open(i%edges, protocol.EndpointChannel, fmt.Sprint(1_000_000+i))
		}
		each := func(unit string) {
			b.ReportMetric(float64(heapNow()-before-8*sessions)/sessions, unit)
		}
		each("B/session")
		for i, id := range ids {
			s.say(i%edges, id, fmt.Appendf(nil, `{"Method":"One","MsgBody":{"Id":"%d","Msg":"hello"}}`, 1_000_000+i))
		}
		s.tops = map[protocol.Topic]uint64{}
		each("B/talked")
		for range 1500 {
			s.now = s.now.Add(100 * time.Millisecond)
			s.router.Step(s.now, nil)
		}
		each("B/idle-again")
		runtime.KeepAlive(s)
	}
}

// age lets a millisecond pass.
func (s *stage) age() { s.now = s.now.Add(time.Millisecond) }
