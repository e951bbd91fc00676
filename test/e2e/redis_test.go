package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/test/e2e/chat"
	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

func TestRedisAbsentAtStart(t *testing.T) {
	t.Parallel()
	o := onRedis(t)
	o.NoRedis = true
	c := cluster.New(t, o)
	r := c.StartRelay(nil)
	e := c.StartEdge(nil, r)
	cluster.Eventually(t, "the relay says that its broker is away", func() bool {
		status, _ := r.Ready()
		return status == http.StatusOK && slices.Contains(degraded(t, r), "broker") && strings.Contains(r.Log(), "redis is away")
	})
	cluster.Eventually(t, "the edge passes it on", func() bool { return len(degraded(t, e)) > 0 })

	a, b := channel(t, e, chat.Unique("a")), channel(t, e, chat.Unique("b"))
	const n = 20
	for i := range n {
		a.Send(chat.One(b.id, fmt.Sprint(i)))
	}
	c.Redis().Restart()
	for i := range n {
		b.Expect(chat.Direct(a.id, fmt.Sprint(i)))
	}
	cluster.Eventually(t, "nothing is degraded", func() bool { return len(degraded(t, e)) == 0 })
	g := chat.Unique("g")
	a.join(t, g)
	b.join(t, g)
	a.Expect(chat.InGroup(g, b.id, chat.Joined(b.id, g)))
	quiet(t, e, a, b)
}

func TestP2_RedisKilledAndRestartedUnderLoad(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onRedis(t))
	one, two := c.StartRelay(nil), c.StartRelay(nil)
	e, f := c.StartEdge(nil, one), c.StartEdge(nil, two)
	load := startTraffic(t, pace, e, f)
	for range 2 {
		load.flowing(5)
		c.Redis().Kill()
		load.sendOn(20)
		c.Redis().Restart()
	}
	load.flowing(5)
	load.finish(e)
}

func TestP2_RedisFrozenUnderLoad(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onRedis(t))
	one, two := c.StartRelay(nil), c.StartRelay(nil)
	e, f := c.StartEdge(nil, one), c.StartEdge(nil, two)
	load := startTraffic(t, pace, e, f)
	load.flowing(5)
	c.Redis().Pause()
	cluster.Eventually(t, "both relays say so", func() bool { return len(degraded(t, one)) > 0 && len(degraded(t, two)) > 0 })
	load.sendOn(20)
	c.Redis().Continue()
	load.flowing(5)
	load.finish(e)
}

func TestP2_TheConnectionsOfOneRelayToRedisAreCutUnderLoad(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onRedis(t))
	one, two := c.StartRelay(nil), c.StartRelay(nil)
	e, f := c.StartEdge(nil, one), c.StartEdge(nil, two)
	load := startTraffic(t, pace/2, e, f)
	p := one.RedisProxy()
	for i := range 15 {
		dialled := p.Dialled()
		if i%3 == 0 {
			p.Reset()
		} else {
			// This cut may come after Redis has run a script, and before the relay has the answer.
			p.CutAfter(int64(500 + 731*i))
		}
		cluster.Eventually(t, "the relay dials Redis again", func() bool { return p.Dialled() > dialled })
		load.flowing(1)
	}
	load.finish(e)
}

// TestP2_RedisLosesItsDataWhileAFrameIsUnderWay holds back the bytes that the relay sends to one
// edge. A frame of this edge is published, but the edge gets no acknowledgement. Then Redis loses
// all its data, and the frame is published again, in a new epoch. Clients that got the message the
// first time must not get it again.
func TestP2_RedisLosesItsDataWhileAFrameIsUnderWay(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onRedis(t))
	one, two := c.StartRelay(nil), c.StartRelay(nil)
	e, f, far := c.StartEdge(nil, one), c.StartEdge(nil, one), c.StartEdge(nil, two)
	g := chat.Unique("g")
	a, b, z := onlyGroup(t, e, g, chat.Unique("a")), onlyGroup(t, f, g, chat.Unique("b")), onlyGroup(t, far, g, chat.Unique("z"))
	hears := func(text string) {
		t.Helper()
		for _, u := range []*user{b, z} {
			u.Expect(chat.InGroup(g, a.id, text))
		}
	}
	a.Send("before")
	hears("before")
	logged := func() float64 { return e.Metrics().Sum(metricLogMessages) }
	cluster.Eventually(t, "it is acknowledged", func() bool { return logged() == 0 })
	p := e.Links()[0]
	p.FreezeBack()
	a.Send("under way")
	hears("under way")
	if n := logged(); n != 1 {
		t.Fatalf("%v messages in the log of the edge that is cut off, want 1", n)
	}
	if err := c.Redis().Client().FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	p.Reset()
	p.Thaw()
	cluster.Eventually(t, "it is published again", func() bool { return logged() == 0 })
	a.Send("after")
	hears("after")
	for _, s := range []*cluster.Edge{f, far} {
		if n := s.Metrics().Sum(metricEdgeDropped, `reason="repeated"`); n != 1 {
			t.Errorf("%s has dropped %v publications as repeated, want that one", s.Name, n)
		}
	}
	quiet(t, far, a, b, z)
}

func TestP3_ARedisOutageClosesNoSocket(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onRedis(t))
	r := c.StartRelay(nil)
	e := c.StartEdge(nil, r)
	a, b := channel(t, e, chat.Unique("a")), channel(t, e, chat.Unique("b"))
	c.Redis().Kill()
	a.Send(chat.One(b.id, "meanwhile"))
	ping(t, 5*time.Second, a.Client, b.Client)
	c.Redis().Restart()
	b.Expect(chat.Direct(a.id, "meanwhile"))
	quiet(t, e, a, b)
}
