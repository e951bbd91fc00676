package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

// outages are ways in which Redis is away, and comes back.
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

// TestP5_EdgesOfOneRelayTalkWhileRedisIsAway: they talk, join, leave and connect; the other relay's clients get all of it once when Redis is back, and nobody is given
// anything twice.
func TestP5_EdgesOfOneRelayTalkWhileRedisIsAway(t *testing.T) {
	for _, outage := range outages {
		t.Run(outage.name, func(t *testing.T) {
			t.Parallel()
			c := cluster.New(t, onRedis(t))
			one, two := c.StartRelay(nil), c.StartRelay(nil)
			e, f, far := c.StartEdge(nil, one), c.StartEdge(nil, one), c.StartEdge(nil, two)
			g := unique("g")
			a, b, z := channel(t, e, unique("a")), channel(t, f, unique("b")), channel(t, far, unique("z"))
			a.join(t, g)
			b.join(t, g)
			a.Expect(inGroup(g, b.id, joinText(b.id, g)))
			z.join(t, g)
			for _, u := range []*user{a, b} {
				u.Expect(inGroup(g, z.id, joinText(z.id, g)))
			}

			begin := time.Now()
			outage.begin(t, c)
			a.Send(cmdGroup(g, "is anybody there?")) // nobody knows yet; a client of the other relay may get it before it is away too
			cluster.Eventually(t, "both relays say that Redis is away", func() bool { return len(degraded(t, one)) > 0 && len(degraded(t, two)) > 0 })
			t.Logf("%s: said after %v", outage.name, time.Since(begin).Round(10*time.Millisecond))
			b.Expect(inGroup(g, a.id, "is anybody there?"))

			var group, all []string
			for i := range 20 {
				n := fmt.Sprint(i)
				a.Send(cmdGroup(g, n))
				a.Send(cmdAll(n))
				a.Send(cmdOne(b.id, n))
				b.Expect(inGroup(g, a.id, n))
				b.Expect(toAll(a.id, n))
				b.Expect(direct(a.id, n))
				group, all = append(group, inGroup(g, a.id, n)), append(all, toAll(a.id, n))
			}
			late := channel(t, f, unique("late"))
			h := unique("h")
			late.join(t, g)
			for _, u := range []*user{a, b} {
				u.Expect(inGroup(g, late.id, joinText(late.id, g)))
			}
			a.join(t, h)
			late.join(t, h)
			a.Expect(inGroup(h, late.id, joinText(late.id, h)))
			late.Send(cmdGroup(h, "new group"))
			a.Expect(inGroup(h, late.id, "new group"))
			a.Send(cmdOne(late.id, "direct"))
			late.Expect(direct(a.id, "direct"))
			late.leave(t, g)
			for _, u := range []*user{a, b} {
				u.Expect(inGroup(g, late.id, leaveText(late.id, g)))
			}

			outage.over(t, c)
			group = append([]string{inGroup(g, a.id, "is anybody there?")}, group...)
			notices := []string{inGroup(g, late.id, joinText(late.id, g)), inGroup(g, late.id, leaveText(late.id, g))}
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

// TestP5_ARelayDiesWhileRedisIsAway: its edges are on another one, messages wait or are given there, and what was given before is not given again.
func TestP5_ARelayDiesWhileRedisIsAway(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onRedis(t))
	relays := []*cluster.Relay{c.StartRelay(nil), c.StartRelay(nil)}
	e, f := c.StartEdge(nil, relays[0], relays[1]), c.StartEdge(nil, relays[0], relays[1])
	g := unique("g")
	a, b := channel(t, e, unique("a")), channel(t, f, unique("b"))
	a.join(t, g)
	b.join(t, g)
	a.Expect(inGroup(g, b.id, joinText(b.id, g)))
	c.Redis().Pause()
	for _, r := range relays {
		cluster.Eventually(t, "the relay says that Redis is away", func() bool { return len(degraded(t, r)) > 0 })
	}
	var want []string
	say := func(first, last int) {
		for i := first; i < last; i++ {
			a.Send(cmdGroup(g, fmt.Sprint(i)))
			want = append(want, inGroup(g, a.id, fmt.Sprint(i)))
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

// TestP8_WhileRedisIsAwayTheLogFillsAndThenSendersAreTold: what the log took is given to the clients of the same relay at once, and to those of another one when Redis is back, once and in
// order. What it had no room for is answered, message for message, and given to nobody.
func TestP8_WhileRedisIsAwayTheLogFillsAndThenSendersAreTold(t *testing.T) {
	const (
		senders, each = 20, 5
		bound         = 64 << 10 // of the log: three messages of each sender fill its share, 57 of all of them the whole
		refusal       = "error: the server has no room, not delivered"
	)
	for _, outage := range outages[:2] {
		t.Run(outage.name, func(t *testing.T) {
			t.Parallel()
			c := cluster.New(t, onRedis(t))
			one, two := c.StartRelay(nil), c.StartRelay(nil)
			e, far := c.StartEdge(cluster.Env{"EDGE_LOG": fmt.Sprint(bound), "EDGE_MAX_MESSAGE": "8KiB"}, one), c.StartEdge(nil, two)
			id := unique("heard")
			b, z := channel(t, e, id), channel(t, far, id)
			users := make([]*user, senders+1)
			for i := range users {
				users[i] = channel(t, e, unique("a"))
			}
			late := users[senders]

			outage.begin(t, c)
			cluster.Eventually(t, "both relays say that Redis is away", func() bool { return len(degraded(t, one)) > 0 && len(degraded(t, two)) > 0 })
			text := func(i int) string { return fmt.Sprint(i, " ", strings.Repeat("x", 1000)) }
			for i := range each {
				for _, a := range users[:senders] {
					a.Send(cmdOne(id, text(i)))
				}
			}
			sent := senders * each
			told := func() (n int) {
				for _, a := range users {
					n += len(a.Frames())
				}
				return n
			}
			allTaken := func() bool { return told()+int(e.Metrics().Sum(metricLogMessages)) == sent }
			cluster.Eventually(t, "every message is in the log, or answered", allTaken)
			late.Send(cmdOne(id, text(0))) // its own share is empty
			sent++
			cluster.Eventually(t, "the last one is answered, too", allTaken)
			if used := e.Metrics().Sum(metricLogBytes); used > bound || used < bound-2000 {
				t.Errorf("%v bytes in a log of %v", used, bound)
			}
			if n := len(late.Frames()); n != 1 {
				t.Errorf("who first sent into a full log has %d answers, want 1", n)
			}
			accepted := func() (streams [][]string) {
				for _, a := range users[:senders] {
					var s []string
					for i := range each - len(a.Frames()) {
						s = append(s, direct(a.id, text(i)))
					}
					streams = append(streams, s)
				}
				return streams
			}
			want := accepted()
			expectStreams(t, b, accepted()...)
			for _, a := range users {
				for range a.Frames() {
					a.Expect(refusal)
				}
			}

			outage.over(t, c)
			expectStreams(t, z, want...)
			cluster.Eventually(t, "the log is empty", func() bool { return e.Metrics().Sum(metricLogMessages) == 0 })
			late.Send(cmdOne(id, "there is room"))
			b.Expect(direct(late.id, "there is room"))
			z.Expect(direct(late.id, "there is room"))
			quiet(t, e, append(users, b, z)...)
		})
	}
}

// TestP5_ARelayAloneIsCutFromRedis: Redis is there for the other relay. The edges of the one that is cut stay with it, though they know the other, and talk among each other, as those of the other
// do. When it is back each side gets what the other said meanwhile, once and in order.
func TestP5_ARelayAloneIsCutFromRedis(t *testing.T) {
	for _, cut := range []struct {
		name        string
		begin, over func(p *cluster.Proxy)
	}{
		{"refused", (*cluster.Proxy).Refuse, (*cluster.Proxy).Allow},
		{"a black hole", (*cluster.Proxy).Freeze, (*cluster.Proxy).Thaw}, // what was under way before comes to Redis at its end
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
			g := unique("g")
			a, b, y, z := channel(t, e, unique("a")), channel(t, f, unique("b")), channel(t, far, unique("y")), channel(t, far, unique("z"))
			users := []*user{a, b, y, z}
			for i, u := range users {
				u.join(t, g)
				for _, member := range users[:i] {
					member.Expect(inGroup(g, u.id, joinText(u.id, g)))
				}
			}

			cut.begin(alone.RedisProxy())
			a.Send(cmdGroup(g, "is anybody there?")) // nobody knows yet
			cluster.Eventually(t, "the relay says that Redis is away", func() bool { return len(degraded(t, alone)) > 0 })
			cluster.Eventually(t, "its edges pass it on", func() bool { return len(degraded(t, e)) > 0 && len(degraded(t, f)) > 0 })
			b.Expect(inGroup(g, a.id, "is anybody there?"))
			ofA, ofZ := []string{inGroup(g, a.id, "is anybody there?")}, []string(nil)
			var allOfA, allOfZ, directOfA, directOfZ []string
			for i := range 20 {
				n := fmt.Sprint(i)
				for _, side := range []struct{ from, near, beyond *user }{{a, b, z}, {z, y, a}} {
					side.from.Send(cmdGroup(g, n))
					side.near.Expect(inGroup(g, side.from.id, n))
					side.from.Send(cmdAll(n))
					side.near.Expect(toAll(side.from.id, n))
					side.from.Send(cmdOne(side.beyond.id, n))
				}
				ofA, allOfA, directOfA = append(ofA, inGroup(g, a.id, n)), append(allOfA, toAll(a.id, n)), append(directOfA, direct(a.id, n))
				ofZ, allOfZ, directOfZ = append(ofZ, inGroup(g, z.id, n)), append(allOfZ, toAll(z.id, n)), append(directOfZ, direct(z.id, n))
			}
			late := channel(t, f, unique("late"))
			late.join(t, g)
			notice := inGroup(g, late.id, joinText(late.id, g))
			a.Expect(notice)
			b.Expect(notice)
			late.Send(cmdGroup(g, "me too"))
			a.Expect(inGroup(g, late.id, "me too"))
			b.Expect(inGroup(g, late.id, "me too"))
			ofLate := []string{notice, inGroup(g, late.id, "me too")}
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
