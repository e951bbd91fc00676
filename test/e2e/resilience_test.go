package e2e

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/test/e2e/client"
	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

// pace is the pause between a user's rounds of messages while things break: four users send some 250 messages a second.
const pace = 50 * time.Millisecond

func TestP3_RelayKillClosesNoSocketAndNothingIsLostDoubledOrReordered(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	r := c.StartRelay(nil)
	e, f := c.StartEdge(nil, r), c.StartEdge(nil, r)
	load := startTraffic(t, pace/2, e, f)
	for range 5 {
		load.flowing(5)
		r.Kill()
		load.sendOn(10) // while nobody is there
		r.Restart()
	}
	load.flowing(5)
	load.finish(e)
}

func TestP3_RelayStopClosesNoSocketAndNothingIsLostDoubledOrReordered(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	r := c.StartRelay(nil)
	e, f := c.StartEdge(nil, r), c.StartEdge(nil, r)
	load := startTraffic(t, pace, e, f)
	load.flowing(5)
	r.Terminate()
	if status := r.Exited(); status != 0 {
		t.Errorf("the relay's exit status is %d, want 0", status)
	}
	load.sendOn(10)
	r.Restart()
	load.flowing(5)
	load.finish(e)
}

func TestP3_OfTwoRelaysTheOneInUseIsKilled(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	relays := []*cluster.Relay{c.StartRelay(nil), c.StartRelay(nil)}
	e, f := c.StartEdge(nil, relays...), c.StartEdge(nil, relays...)
	load := startTraffic(t, pace, e, f)
	for range 2 {
		load.flowing(5)
		used := inUse(e, relays)
		used.Kill()
		cluster.Within(t, 5*time.Second, "linked to the other relay", func() bool { return inUse(e, relays) != used && e.Linked() && f.Linked() })
		load.flowing(5)
		used.Restart()
		cluster.Eventually(t, "the relay is back", used.Live)
	}
	load.finish(e)
}

func TestP2_ReplayedCommandsAreAnsweredOnceAndInOrder(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	r := c.StartRelay(nil)
	e := c.StartEdge(nil, r)
	const clients, rounds = 5, 40
	users := make([]*user, clients)
	for i := range users {
		users[i] = channel(t, e, unique("a"))
	}
	group := func(u *user, round int) string { return fmt.Sprint(u.id, "-", round) }
	p := e.Links()[0]
	for i := range rounds {
		dialled := p.Dialled()
		if i%4 == 0 {
			p.CutAfter(int64(400 + 171*i)) // somewhere between these commands and their acknowledgements
		}
		for _, u := range users {
			g := group(u, i)
			for _, frame := range []string{cmdGroup(g+"-none", "x"), cmdJoin(g), `{"Method":"x"}`, cmdGroup(g, "nobody hears it"), cmdLeave(g)} {
				u.Send(frame)
			}
		}
		if i%4 == 0 {
			cluster.Eventually(t, "cut and linked again", func() bool { return p.Dialled() > dialled && p.Live() > 0 })
		}
	}
	for _, u := range users {
		for i := range rounds {
			g := group(u, i)
			u.Expect(notExists(g+"-none"), joinText(u.id, g), `error: unknown method "x"`, leaveText(u.id, g))
		}
	}
	if n := e.Metrics().Sum("edgerelay_edge_replayed_total"); n == 0 {
		t.Error("nothing was replayed: the case shows nothing")
	}
	quiet(t, e, users...)
}

func TestP2_TwoRelaysHoldOneEdgesFramesForAMoment(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	relays := []*cluster.Relay{c.StartRelay(nil), c.StartRelay(nil)}
	e, f := c.StartEdge(nil, relays...), c.StartEdge(nil, relays...)
	load := startTraffic(t, pace, e, f)
	load.flowing(3)
	old := inUse(e, relays)
	p := e.Link()
	p.Freeze()
	load.sendOn(10) // these are on their way to the old relay,
	p.Strand()
	cluster.Eventually(t, "linked to the other relay", func() bool { return e.Linked() && inUse(e, relays) != old })
	load.flowing(3) // come to the new one in a replay,
	before := old.Metrics().Sum(metricPublishes, `outcome="duplicate"`)
	p.Thaw() // and reach the old one now, which believes in its link
	cluster.Eventually(t, "the old relay was refused what the new one had published", func() bool {
		return old.Metrics().Sum(metricPublishes, `outcome="duplicate"`) > before
	})
	load.flowing(3)
	load.finish(e)
}

// inUse returns the relay that an edge is linked to; nil without a link.
func inUse(e *cluster.Edge, relays []*cluster.Relay) *cluster.Relay {
	for i, p := range e.Links() {
		if p.Live() > 0 {
			return relays[i]
		}
	}
	return nil
}

func TestP2_LinkResetTwentyTimesUnderLoad(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	r := c.StartRelay(nil)
	e, f := c.StartEdge(nil, r), c.StartEdge(nil, r)
	load := startTraffic(t, pace, e, f)
	for i := range 20 {
		p := []*cluster.Edge{e, f}[i%2].Links()[0]
		dialled := p.Dialled()
		p.Reset()
		cluster.Eventually(t, "linked again", func() bool { return p.Dialled() > dialled && p.Live() > 0 })
		load.flowing(1)
	}
	load.finish(e)
}

func TestP2_LinkCutInTheMiddleOfFramesUnderLoad(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	r := c.StartRelay(nil)
	e, f := c.StartEdge(nil, r), c.StartEdge(nil, r)
	load := startTraffic(t, pace, e, f)
	for i := range 16 {
		p := []*cluster.Edge{e, f}[i%2].Links()[0]
		dialled := p.Dialled()
		p.CutAfter(int64(700 + 613*i))
		if i%4 == 3 {
			p.CutAfter(int64(100 + 37*i)) // in the handshake of the link after, or the tables
		}
		cluster.Eventually(t, "linked again", func() bool { return p.Dialled() > dialled && p.Live() > 0 })
		if i%2 == 1 {
			load.flowing(1)
		}
	}
	load.flowing(5)
	load.finish(e)
}

func TestP4_WhatWasSentDuringACutReachesThoseBehindItInOrder(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, o cluster.Options) {
		c := cluster.New(t, o)
		r := c.StartRelay(nil)
		e, f := c.StartEdge(nil, r), c.StartEdge(nil, r)
		g := unique("g")
		a, b := channel(t, e, unique("a")), channel(t, f, unique("b"))
		b.join(t, g)
		a.join(t, g)
		b.Expect(inGroup(g, a.id, joinText(a.id, g)))
		f.Links()[0].Refuse()
		var inG, one, all []string
		for i := range 40 {
			n := fmt.Sprint(i)
			a.Send(cmdGroup(g, n))
			a.Send(cmdOne(b.id, n))
			a.Send(cmdAll(n))
			inG, one, all = append(inG, inGroup(g, a.id, n)), append(one, direct(a.id, n)), append(all, toAll(a.id, n))
		}
		a.Send(cmdOne(a.id, "published")) // behind the others on the way to the broker
		a.Expect(direct(a.id, "published"))
		b.Send(cmdGroup(g, "from behind the cut"))
		f.Links()[0].Allow()
		a.Expect(inGroup(g, b.id, "from behind the cut"))
		expectStreams(t, b, inG, one, all)
		quiet(t, e, a, b)
	})
}

func TestP4_ALossBeyondHistoryIsToldAndCounted(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, o cluster.Options) {
		o.Relay = cluster.Env{"RELAY_HISTORY_SIZE": "10"}
		c := cluster.New(t, o)
		r := c.StartRelay(nil)
		e, f := c.StartEdge(nil, r), c.StartEdge(nil, r)
		g := unique("g")
		a, b := channel(t, e, unique("a")), channel(t, f, unique("b"))
		b.join(t, g)
		a.join(t, g)
		b.Expect(inGroup(g, a.id, joinText(a.id, g)))
		f.Links()[0].Refuse()
		const n = 300 // more than the relay's memory of recent publications holds, too
		for i := range n {
			k := fmt.Sprint(i)
			a.Send(cmdGroup(g, k))
			a.Send(cmdOne(b.id, k))
			a.Send(cmdAll(k))
		}
		cluster.Eventually(t, "all is published", func() bool { return e.Metrics().Sum(metricLogMessages) == 0 })
		f.Links()[0].Allow()
		lost := 0.0
		for _, topic := range readTails(t, b, n,
			tail{loss: "error: messages lost in group 【" + g + "】", head: inGroup(g, a.id, "")},
			tail{loss: "error: messages lost", head: direct(a.id, "")},
			tail{loss: "error: messages lost to all", head: toAll(a.id, "")}) {
			if kept := n - topic.first; kept < 10 || kept > 100 {
				t.Errorf("%d messages behind %q, want some of %d", kept, topic.loss, n)
			}
			lost += float64(topic.first)
		}
		if told := f.Metrics().Sum(metricEdgeGaps); told != 3 {
			t.Errorf("the edge counts %v losses told, want 3", told)
		}
		if got := r.Metrics().Sum(metricRelayLost); got != lost {
			t.Errorf("the relay counts %v lost publications, want %v", got, lost)
		}
		quiet(t, e, a, b)
	})
}

// tail is what of a topic's messages a user gets behind a loss.
type tail struct {
	loss, head  string
	told        bool
	first, next int
}

// readTails reads until a user has the last of n numbered messages of each topic: on each it must be told of one loss, and then get every message from
// some first one on.
func readTails(t *testing.T, u *user, n int, tails ...tail) []tail {
	t.Helper()
	for left := len(tails); left > 0; {
		f, err := u.Next()
		if err != nil {
			t.Fatalf("%s: %v, with %+v", u.Name, err, tails)
		}
		i := slices.IndexFunc(tails, func(s tail) bool { return f.Text == s.loss || strings.HasPrefix(f.Text, s.head) })
		if i < 0 {
			t.Fatalf("%s: got %q", u.Name, f.Text)
		}
		s := &tails[i]
		if f.Text == s.loss {
			if s.told {
				t.Fatalf("%s: told twice: %q", u.Name, f.Text)
			}
			s.told = true
			continue
		}
		k, err := strconv.Atoi(strings.TrimPrefix(f.Text, s.head))
		if s.next == 0 {
			s.first, s.next = k, k
		}
		if err != nil || !s.told || k != s.next {
			t.Fatalf("%s: got %q, with %+v", u.Name, f.Text, *s)
		}
		if s.next++; s.next == n {
			left--
		}
	}
	return tails
}

// expectStreams waits for several sequences that may come interleaved, each in its order.
func expectStreams(t *testing.T, u *user, streams ...[]string) {
	t.Helper()
	left := 0
	for _, s := range streams {
		left += len(s)
	}
next:
	for ; left > 0; left-- {
		f, err := u.Next()
		if err != nil {
			t.Fatalf("%s: %d frames missing: %v", u.Name, left, err)
		}
		for i, s := range streams {
			if len(s) > 0 && s[0] == f.Text {
				streams[i] = s[1:]
				continue next
			}
		}
		t.Fatalf("%s: got %q out of order", u.Name, f.Text)
	}
}

func TestP3_PingingClientThroughARelayOutage(t *testing.T) {
	t.Parallel()
	outage := 5 * time.Second
	if os.Getenv("CI") != "" && kind(t) == cluster.Process {
		outage = time.Minute
	}
	c := cluster.New(t, onBest(t))
	r := c.StartRelay(nil)
	e := c.StartEdge(nil, r)
	a, b := channel(t, e, unique("a")), channel(t, e, unique("b"))
	r.Kill()
	a.Send(cmdOne(b.id, "meanwhile"))
	ping(t, outage, a.Client, b.Client)
	fresh := channel(t, e, unique("c")) // connects are answered without a relay
	fresh.Send(cmdOne(a.id, "fresh"))
	r.Restart()
	b.Expect(direct(a.id, "meanwhile"))
	a.Expect(direct(fresh.id, "fresh"))
	a.Send(cmdOne(fresh.id, "welcome"))
	fresh.Expect(direct(a.id, "welcome"))
	quiet(t, e, a, b, fresh)
}

// ping has clients ping all the while; each ping must be answered within a second.
func ping(t *testing.T, d time.Duration, clients ...*client.Client) {
	t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(d); time.Now().Before(end); <-tick.C {
		for _, c := range clients {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			err := c.Ping(ctx)
			cancel()
			if err != nil {
				t.Fatalf("%s: ping: %v", c.Name, err)
			}
		}
	}
}

func TestP9_SessionsOfAKilledEdgeAreGoneFromTheRelay(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	r := c.StartRelay(nil)
	e, f := c.StartEdge(nil, r), c.StartEdge(nil, r)
	g := unique("g")
	for range 5 {
		channel(t, e, unique("gone")).join(t, unique("own"))
	}
	a := channel(t, e, unique("a"))
	a.join(t, g)
	b := channel(t, f, unique("b"))
	sessions := func() float64 { return r.Metrics().Sum(metricRelaySessions) }
	cluster.Eventually(t, "the relay knows seven sessions", func() bool { return sessions() == 7 })
	b.Send(cmdGroup(g, "anyone"))
	b.Expect(notIn(b.id, g))
	e.Kill()
	took := cluster.Within(t, 17*time.Second, "the killed edge's sessions are gone", func() bool { return sessions() == 1 })
	t.Logf("gone after %v", took.Round(100*time.Millisecond))
	untilNotExists(t, b, g)
	quiet(t, f, b)
}

func TestP9_SessionsOfASilentEdgeAreGoneFromTheRelayAndComeBackWithIt(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	r := c.StartRelay(nil)
	e, f := c.StartEdge(nil, r), c.StartEdge(nil, r)
	g := unique("g")
	a, b := channel(t, e, unique("a")), channel(t, f, unique("b"))
	a.join(t, g)
	e.Links()[0].Freeze()
	cluster.Within(t, 17*time.Second, "the silent edge's session is gone", func() bool { return r.Metrics().Sum(metricRelaySessions) == 1 })
	untilNotExists(t, b, g)
	a.Send(cmdGroup(g, "still a member"))
	e.Links()[0].Reset()
	e.Links()[0].Thaw()
	b.join(t, g)
	cluster.Eventually(t, "the edge is back", func() bool { return r.Metrics().Sum(metricRelaySessions) == 2 })
	b.Send(cmdGroup(g, "welcome back"))
	cluster.Eventually(t, "the member hears of it", func() bool {
		frames := a.Frames()
		return len(frames) > 0 && frames[len(frames)-1].Text == inGroup(g, b.id, "welcome back")
	})
}

func TestP2_TwoLiveEdgesWithOneNodeIDAreBothServed(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, o cluster.Options) {
		c := cluster.New(t, o)
		r := c.StartRelay(nil)
		same := cluster.Env{"EDGE_NODE_ID": "same"}
		e, f := c.StartEdge(same, r), c.StartEdge(same, r)
		load := startTraffic(t, pace, e, f)
		load.flowing(20)
		if n, m := e.Links()[0].Dialled(), f.Links()[0].Dialled(); n != 1 || m != 1 {
			t.Errorf("the edges dialled %d and %d times: they push each other out", n, m)
		}
		load.finish(e)
	})
}
