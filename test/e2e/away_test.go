package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/test/e2e/chat"
	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

// The list outages has ways to keep Redis from accepting publications. Each way has a function that
// begins the outage, and a function that ends it.
var outages = []struct {
	name        string
	begin, over func(t *testing.T, c *cluster.Cluster)
}{
	{"killed", func(t *testing.T, c *cluster.Cluster) { c.Redis().Kill() }, func(t *testing.T, c *cluster.Cluster) { c.Redis().Restart() }},
	{"frozen", func(t *testing.T, c *cluster.Cluster) { c.Redis().Pause() }, func(t *testing.T, c *cluster.Cluster) { c.Redis().Continue() }},
	{"out of memory", func(t *testing.T, c *cluster.Cluster) { config(t, c, "maxmemory", "1") }, func(t *testing.T, c *cluster.Cluster) { config(t, c, "maxmemory", "0") }},
	{"read-only", func(t *testing.T, c *cluster.Cluster) { config(t, c, "min-replicas-to-write", "3") }, func(t *testing.T, c *cluster.Cluster) { config(t, c, "min-replicas-to-write", "0") }},
}

func config(t *testing.T, c *cluster.Cluster, name, value string) {
	t.Helper()
	if err := c.Redis().Client().ConfigSet(t.Context(), name, value).Err(); err != nil {
		t.Fatal(err)
	}
}

// TestP5_EdgesOfOneRelayTalkWhileRedisIsAway takes Redis away. Meanwhile clients of two edges of
// one relay talk, join, leave and connect, and must get each other's messages. When Redis is back,
// a client of another relay must get all broadcasts, and all messages and notices of its group. No
// client may get anything twice.
func TestP5_EdgesOfOneRelayTalkWhileRedisIsAway(t *testing.T) {
	for _, outage := range outages {
		t.Run(outage.name, func(t *testing.T) {
			t.Parallel()
			c := cluster.New(t, onRedis(t))
			one, two := c.StartRelay(nil), c.StartRelay(nil)
			e, f, far := c.StartEdge(nil, one), c.StartEdge(nil, one), c.StartEdge(nil, two)
			g := chat.Unique("g")
			a, b, z := channel(t, e, chat.Unique("a")), channel(t, f, chat.Unique("b")), channel(t, far, chat.Unique("z"))
			a.join(t, g)
			b.join(t, g)
			a.Expect(chat.InGroup(g, b.id, chat.Joined(b.id, g)))
			z.join(t, g)
			for _, u := range []*user{a, b} {
				u.Expect(chat.InGroup(g, z.id, chat.Joined(z.id, g)))
			}

			begin := time.Now()
			outage.begin(t, c)
			// The relays may not know of the outage yet. This message may reach Redis at once, or
			// when the outage is over. In both cases the client z gets the message once.
			a.Send(chat.Group(g, "is anybody there?"))
			cluster.Eventually(t, "both relays say that Redis is away", func() bool { return len(degraded(t, one)) > 0 && len(degraded(t, two)) > 0 })
			t.Logf("%s: said after %v", outage.name, time.Since(begin).Round(10*time.Millisecond))
			b.Expect(chat.InGroup(g, a.id, "is anybody there?"))

			var group, all []string
			for i := range 20 {
				n := fmt.Sprint(i)
				a.Send(chat.Group(g, n))
				a.Send(chat.All(n))
				a.Send(chat.One(b.id, n))
				b.Expect(chat.InGroup(g, a.id, n))
				b.Expect(chat.ToAll(a.id, n))
				b.Expect(chat.Direct(a.id, n))
				group, all = append(group, chat.InGroup(g, a.id, n)), append(all, chat.ToAll(a.id, n))
			}
			late := channel(t, f, chat.Unique("late"))
			h := chat.Unique("h")
			late.join(t, g)
			for _, u := range []*user{a, b} {
				u.Expect(chat.InGroup(g, late.id, chat.Joined(late.id, g)))
			}
			a.join(t, h)
			late.join(t, h)
			a.Expect(chat.InGroup(h, late.id, chat.Joined(late.id, h)))
			late.Send(chat.Group(h, "new group"))
			a.Expect(chat.InGroup(h, late.id, "new group"))
			a.Send(chat.One(late.id, "direct"))
			late.Expect(chat.Direct(a.id, "direct"))
			late.leave(t, g)
			for _, u := range []*user{a, b} {
				u.Expect(chat.InGroup(g, late.id, chat.Left(late.id, g)))
			}

			outage.over(t, c)
			group = append([]string{chat.InGroup(g, a.id, "is anybody there?")}, group...)
			notices := []string{chat.InGroup(g, late.id, chat.Joined(late.id, g)), chat.InGroup(g, late.id, chat.Left(late.id, g))}
			expectStreams(t, z, group, all, notices)
			cluster.Eventually(t, "nothing is degraded", func() bool { return len(degraded(t, e)) == 0 && len(degraded(t, far)) == 0 })
			for _, s := range []*cluster.Edge{e, f, far} {
				if n := s.Metrics().Sum(metricEnded); n != 0 {
					t.Errorf("%v sessions ended", n)
				}
			}
			quiet(t, e, a, b, z, late)
		})
	}
}

// TestP5_ARelayDiesWhileRedisIsAway kills the relay of an edge while Redis is away. The edge then
// links to the other relay. A client of another edge must get the messages that were sent before
// the kill and after it, once and in order.
func TestP5_ARelayDiesWhileRedisIsAway(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onRedis(t))
	relays := []*cluster.Relay{c.StartRelay(nil), c.StartRelay(nil)}
	e, f := c.StartEdge(nil, relays[0], relays[1]), c.StartEdge(nil, relays[0], relays[1])
	g := chat.Unique("g")
	a, b := channel(t, e, chat.Unique("a")), channel(t, f, chat.Unique("b"))
	a.join(t, g)
	b.join(t, g)
	a.Expect(chat.InGroup(g, b.id, chat.Joined(b.id, g)))
	c.Redis().Pause()
	for _, r := range relays {
		cluster.Eventually(t, "the relay says that Redis is away", func() bool { return len(degraded(t, r)) > 0 })
	}
	var want []string
	say := func(first, last int) {
		for i := first; i < last; i++ {
			a.Send(chat.Group(g, fmt.Sprint(i)))
			want = append(want, chat.InGroup(g, a.id, fmt.Sprint(i)))
		}
	}
	say(0, 10)
	inUse(e, relays).Kill()
	cluster.Eventually(t, "the edges are on the other relay", func() bool {
		return e.Metrics().Sum(metricLinkUp) == 1 && f.Metrics().Sum(metricLinkUp) == 1
	})
	say(10, 20)
	c.Redis().Continue()
	expectStreams(t, b, want)
	quiet(t, e, a, b)
}

// TestP8_WhileRedisIsAwayTheLogFillsAndThenSendersAreTold fills an edge's log while Redis is away.
// Meanwhile a client of the same edge gets the messages that are in the log. When Redis is back, a
// client of another relay gets these messages once and in order. A message for which the log has no
// room is answered with an error, and nobody gets it.
func TestP8_WhileRedisIsAwayTheLogFillsAndThenSendersAreTold(t *testing.T) {
	const (
		senders, each = 20, 5
		// bound is the size of the log in bytes. The senders together send more than that.
		bound   = 64 << 10
		refusal = "error: the server has no room, not delivered"
	)
	for _, outage := range outages[:2] {
		t.Run(outage.name, func(t *testing.T) {
			t.Parallel()
			c := cluster.New(t, onRedis(t))
			one, two := c.StartRelay(nil), c.StartRelay(nil)
			e, far := c.StartEdge(cluster.Env{"EDGE_LOG": fmt.Sprint(bound), "EDGE_MAX_MESSAGE": "8KiB"}, one), c.StartEdge(nil, two)
			id := chat.Unique("heard")
			b, z := channel(t, e, id), channel(t, far, id)
			users := make([]*user, senders+1)
			for i := range users {
				users[i] = channel(t, e, chat.Unique("a"))
			}
			late := users[senders]

			outage.begin(t, c)
			cluster.Eventually(t, "both relays say that Redis is away", func() bool { return len(degraded(t, one)) > 0 && len(degraded(t, two)) > 0 })
			text := func(i int) string { return fmt.Sprint(i, " ", strings.Repeat("x", 1000)) }
			for i := range each {
				for _, a := range users[:senders] {
					a.Send(chat.One(id, text(i)))
				}
			}
			sent := senders * each
			told := func() (n int) {
				for _, a := range users {
					n += len(a.Messages())
				}
				return n
			}
			allTaken := func() bool { return told()+int(e.Metrics().Sum(metricLogMessages)) == sent }
			cluster.Eventually(t, "every message is in the log, or answered", allTaken)
			late.Send(chat.One(id, text(0))) // the log is full of other senders' messages
			sent++
			cluster.Eventually(t, "the last one is answered, too", allTaken)
			if used := e.Metrics().Sum(metricLogBytes); used > bound || used < bound-2000 {
				t.Errorf("%v bytes in a log of %v", used, bound)
			}
			if n := len(late.Messages()); n != 1 {
				t.Errorf("who first sent into a full log has %d answers, want 1", n)
			}
			accepted := func() (streams [][]string) {
				for _, a := range users[:senders] {
					var s []string
					for i := range each - len(a.Messages()) {
						s = append(s, chat.Direct(a.id, text(i)))
					}
					streams = append(streams, s)
				}
				return streams
			}
			want := accepted()
			expectStreams(t, b, accepted()...)
			for _, a := range users {
				for range a.Messages() {
					a.Expect(refusal)
				}
			}

			outage.over(t, c)
			expectStreams(t, z, want...)
			cluster.Eventually(t, "the log is empty", func() bool { return e.Metrics().Sum(metricLogMessages) == 0 })
			late.Send(chat.One(id, "there is room"))
			b.Expect(chat.Direct(late.id, "there is room"))
			z.Expect(chat.Direct(late.id, "there is room"))
			quiet(t, e, append(users, b, z)...)
		})
	}
}

// TestP5_ARelayAloneIsCutFromRedis cuts one of two relays from Redis. The edges of the cut relay
// stay linked to it, although one of these edges knows the other relay too. Meanwhile the clients
// of each relay talk among themselves. When the cut is over, the clients of each relay get what the
// clients of the other relay said meanwhile, once and in order.
func TestP5_ARelayAloneIsCutFromRedis(t *testing.T) {
	for _, cut := range []struct {
		name        string
		begin, over func(p *cluster.Proxy)
	}{
		{"refused", (*cluster.Proxy).Refuse, (*cluster.Proxy).Allow},
		// Bytes that were on their way when the cut began may reach Redis when the cut ends.
		{"a black hole", (*cluster.Proxy).Freeze, (*cluster.Proxy).Thaw},
	} {
		t.Run(cut.name, func(t *testing.T) {
			t.Parallel()
			c := cluster.New(t, onRedis(t))
			relays := []*cluster.Relay{c.StartRelay(nil), c.StartRelay(nil)}
			e := c.StartEdge(nil, relays...)
			alone, other := relays[0], relays[1]
			if inUse(e, relays) == other {
				alone, other = other, alone
			}
			f, far := c.StartEdge(nil, alone), c.StartEdge(nil, other)
			g := chat.Unique("g")
			a, b, y, z := channel(t, e, chat.Unique("a")), channel(t, f, chat.Unique("b")), channel(t, far, chat.Unique("y")), channel(t, far, chat.Unique("z"))
			users := []*user{a, b, y, z}
			for i, u := range users {
				u.join(t, g)
				for _, member := range users[:i] {
					member.Expect(chat.InGroup(g, u.id, chat.Joined(u.id, g)))
				}
			}

			cut.begin(alone.RedisProxy())
			a.Send(chat.Group(g, "is anybody there?")) // the relay may not know of the cut yet
			cluster.Eventually(t, "the relay says that Redis is away", func() bool { return len(degraded(t, alone)) > 0 })
			cluster.Eventually(t, "its edges pass it on", func() bool { return len(degraded(t, e)) > 0 && len(degraded(t, f)) > 0 })
			b.Expect(chat.InGroup(g, a.id, "is anybody there?"))
			ofA, ofZ := []string{chat.InGroup(g, a.id, "is anybody there?")}, []string(nil)
			var allOfA, allOfZ, directOfA, directOfZ []string
			for i := range 20 {
				n := fmt.Sprint(i)
				for _, side := range []struct{ from, near, beyond *user }{{a, b, z}, {z, y, a}} {
					side.from.Send(chat.Group(g, n))
					side.near.Expect(chat.InGroup(g, side.from.id, n))
					side.from.Send(chat.All(n))
					side.near.Expect(chat.ToAll(side.from.id, n))
					side.from.Send(chat.One(side.beyond.id, n))
				}
				ofA, allOfA, directOfA = append(ofA, chat.InGroup(g, a.id, n)), append(allOfA, chat.ToAll(a.id, n)), append(directOfA, chat.Direct(a.id, n))
				ofZ, allOfZ, directOfZ = append(ofZ, chat.InGroup(g, z.id, n)), append(allOfZ, chat.ToAll(z.id, n)), append(directOfZ, chat.Direct(z.id, n))
			}
			late := channel(t, f, chat.Unique("late"))
			late.join(t, g)
			notice := chat.InGroup(g, late.id, chat.Joined(late.id, g))
			a.Expect(notice)
			b.Expect(notice)
			late.Send(chat.Group(g, "me too"))
			a.Expect(chat.InGroup(g, late.id, "me too"))
			b.Expect(chat.InGroup(g, late.id, "me too"))
			ofLate := []string{notice, chat.InGroup(g, late.id, "me too")}
			for _, s := range []interface{ Ready() (int, string) }{other, far} {
				if why := degraded(t, s); len(why) > 0 {
					t.Errorf("the other relay, or its edge, is degraded: %v", why)
				}
			}
			if inUse(e, relays) != alone {
				t.Error("the edge left its relay")
			}

			cut.over(alone.RedisProxy())
			expectStreams(t, z, ofA, allOfA, directOfA, ofLate)
			expectStreams(t, y, ofA, allOfA, ofLate)
			expectStreams(t, a, ofZ, allOfZ, directOfZ)
			expectStreams(t, b, ofZ, allOfZ)
			cluster.Eventually(t, "nothing is degraded", func() bool { return len(degraded(t, e)) == 0 && len(degraded(t, f)) == 0 })
			for _, s := range []*cluster.Edge{e, f, far} {
				m := s.Metrics()
				if n := m.Sum(metricEnded); n != 0 {
					t.Errorf("%s: %v sessions ended", s.Name, n)
				}
				if n := m.Sum(metricLinks); n != 1 {
					t.Errorf("%s: %v links, want the first one", s.Name, n)
				}
			}
			quiet(t, e, a, b, y, z)
		})
	}
}
