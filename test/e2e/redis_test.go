package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

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

	a, b := channel(t, e, unique("a")), channel(t, e, unique("b"))
	const n = 20
	for i := range n {
		a.Send(cmdOne(b.id, fmt.Sprint(i)))
	}
	c.Redis().Restart()
	for i := range n {
		b.Expect(direct(a.id, fmt.Sprint(i)))
	}
	cluster.Eventually(t, "nothing is degraded", func() bool { return len(degraded(t, e)) == 0 })
	g := unique("g")
	a.join(t, g)
	b.join(t, g)
	a.Expect(inGroup(g, b.id, joinText(b.id, g)))
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
			p.CutAfter(int64(500 + 731*i)) // often between a script's run and its answer
		}
		cluster.Eventually(t, "the relay dials Redis again", func() bool { return p.Dialled() > dialled })
		load.flowing(1)
	}
	load.finish(e)
}

func TestP3_ARedisOutageClosesNoSocket(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onRedis(t))
	r := c.StartRelay(nil)
	e := c.StartEdge(nil, r)
	a, b := channel(t, e, unique("a")), channel(t, e, unique("b"))
	c.Redis().Kill()
	a.Send(cmdOne(b.id, "meanwhile"))
	ping(t, 5*time.Second, a.Client, b.Client)
	c.Redis().Restart()
	b.Expect(direct(a.id, "meanwhile"))
	quiet(t, e, a, b)
}
