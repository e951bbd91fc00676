package sdk

import (
	"strconv"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge-go"

	"github.com/edgerelay/edgerelay/test/e2e/cluster"
	"github.com/edgerelay/edgerelay/test/loopback"
)

// roamer is a client of the SDK that reaches edges through a proxy of its own. The proxy can cut it
// off, and lead it to another edge.
type roamer struct {
	*client
	way *cluster.Proxy
}

// roam connects a user to an edge, through a new proxy. The query is the part of the URL that
// follows the path.
func roam(t testing.TB, e *cluster.Edge, user, query string, config centrifuge.Config) *roamer {
	t.Helper()
	config.MinReconnectDelay, config.MaxReconnectDelay = 20*time.Millisecond, 200*time.Millisecond
	way := cluster.NewProxy(t, loopback.FreeAddr(t), e.Addr())
	r := &roamer{dial(t, "ws://"+way.Addr()+"/connection/websocket"+query, user, config), way}
	r.await("is connected", func() bool { return r.connected == 1 })
	return r
}

// cut resets the client's connection, and waits until the client knows. Until the method comesTo is
// called, the client reaches no edge.
func (r *roamer) cut() {
	r.t.Helper()
	r.mu.Lock()
	before := len(r.ended)
	r.mu.Unlock()
	r.way.Refuse()
	r.await("knows that it is cut off", func() bool { return len(r.ended) > before })
}

// comesTo lets the client reach an edge again.
func (r *roamer) comesTo(e *cluster.Edge) {
	r.way.SetTarget(e.Addr())
	r.way.Allow()
}

// counter publishes successive numbers to a channel.
type counter struct {
	*client
	channel string
	next    int
}

// says publishes the next n numbers. Each publish must be answered.
func (c *counter) says(n int) {
	c.t.Helper()
	for range n {
		if err := c.say(c.channel, strconv.Itoa(c.next)); err != nil {
			c.t.Fatalf("publish %d to %s: %v", c.next, c.channel, err)
		}
		c.next++
	}
}

// whole waits until a client has got n publications of a channel. These must be the numbers from
// the given one on, each once and in order, and their offsets must follow each other.
func (c *client) whole(channel string, from, n int) {
	c.t.Helper()
	got := c.got(channel, n)
	for i, r := range got {
		if r.Data != strconv.Itoa(from+i) || i > 0 && r.Offset != got[i-1].Offset+1 {
			c.t.Fatalf("%s: publication %d of %s is %s at offset %d, want %d; all are %v", c.user, i, channel, r.Data, r.Offset, from+i, got)
		}
	}
}

// recovers waits until subscriptions of the client to a channel have begun n times. The n-th one
// must say that nothing is lost.
func (c *client) recovers(channel string, n int) {
	c.t.Helper()
	if b := c.began(channel, n); !b.Recoverable || !b.WasRecovering || !b.Recovered {
		c.t.Errorf("%s: subscription %d to %s began with %+v, want recovered", c.user, n, channel, b)
	}
}

// loses waits until subscriptions of the client to a channel have begun n times. The n-th one must
// say that publications may be lost.
func (c *client) loses(channel string, n int) {
	c.t.Helper()
	if b := c.began(channel, n); !b.Recoverable || !b.WasRecovering || b.Recovered {
		c.t.Errorf("%s: subscription %d to %s began with %+v, want not recovered", c.user, n, channel, b)
	}
}

const (
	openRules = "user:* read=self write=any; * read=any write=any"
	anybody   = "?user="
)

// twoEdges starts two edges, each with a relay of its own. So a client that goes from one edge to
// the other comes to a relay that has not followed the client's channels.
func twoEdges(t *testing.T, env cluster.Env) (*cluster.Cluster, [2]*cluster.Edge) {
	t.Helper()
	c := cluster.New(t, options(t))
	return c, [2]*cluster.Edge{c.StartEdge(nil, c.StartRelay(env)), c.StartEdge(nil, c.StartRelay(env))}
}
