package sdk

import (
	"context"
	"fmt"
	"net/url"
	"sync"
	"testing"

	"github.com/centrifugal/centrifuge-go"

	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

// client is a client of the SDK, with the events and publications that it was given. Its methods
// may be called from any goroutine.
type client struct {
	*centrifuge.Client
	t    testing.TB
	user string

	mu        sync.Mutex
	connected int      // how often the client was connected
	ended     []string // each "connecting" after the first connect, and each "disconnected"
	received  map[string][]received
}

// received is a publication as a client was given it.
type received struct {
	Data string
	User string // "" if no client published it
	ID   string // the publisher's client id
}

// connect connects a user to an edge that asks for no token, and waits until the edge has confirmed
// the connection.
func connect(t testing.TB, e *cluster.Edge, user string) *client {
	t.Helper()
	c := dial(t, e.URL("/connection/websocket?user="+url.QueryEscape(user)), user, centrifuge.Config{})
	c.await("is connected", func() bool { return c.connected == 1 })
	return c
}

// dial makes a client and begins to connect it.
func dial(t testing.TB, address, user string, config centrifuge.Config) *client {
	t.Helper()
	c := &client{Client: centrifuge.NewJsonClient(address, config), t: t, user: user, received: map[string][]received{}}
	t.Cleanup(c.Close)
	c.OnConnected(func(centrifuge.ConnectedEvent) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.connected++
	})
	c.OnConnecting(func(e centrifuge.ConnectingEvent) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.connected > 0 {
			c.ended = append(c.ended, fmt.Sprintf("connecting %d %s", e.Code, e.Reason))
		}
	})
	c.OnDisconnected(func(e centrifuge.DisconnectedEvent) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.ended = append(c.ended, fmt.Sprintf("disconnected %d %s", e.Code, e.Reason))
	})
	c.OnPublication(func(e centrifuge.ServerPublicationEvent) { c.take(e.Channel, e.Publication) })
	if err := c.Connect(); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *client) take(channel string, p centrifuge.Publication) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := received{Data: string(p.Data)}
	if p.Info != nil {
		r.User, r.ID = p.Info.User, p.Info.Client
	}
	c.received[channel] = append(c.received[channel], r)
}

// subscribe subscribes to a channel, and waits until the subscription is confirmed.
func (c *client) subscribe(channel string) *centrifuge.Subscription {
	c.t.Helper()
	sub := c.begin(channel)
	cluster.Eventually(c.t, c.user+" is subscribed to "+channel, func() bool { return sub.State() == centrifuge.SubStateSubscribed })
	return sub
}

// begin begins to subscribe to a channel, and does not wait for the answer.
func (c *client) begin(channel string) *centrifuge.Subscription {
	c.t.Helper()
	sub, err := c.NewSubscription(channel)
	if err != nil {
		c.t.Fatal(err)
	}
	sub.OnPublication(func(e centrifuge.PublicationEvent) { c.take(channel, e.Publication) })
	if err := sub.Subscribe(); err != nil {
		c.t.Fatal(err)
	}
	return sub
}

// say publishes, and waits for the answer to the publish.
func (c *client) say(channel, data string) error {
	ctx, cancel := context.WithTimeout(context.Background(), cluster.Patience)
	defer cancel()
	_, err := c.Publish(ctx, channel, []byte(data))
	return err
}

// await waits until a condition holds. The condition is called with c.mu held.
func (c *client) await(what string, holds func() bool) {
	c.t.Helper()
	cluster.Eventually(c.t, c.user+" "+what, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return holds()
	})
}

// got waits until the client was given n publications of a channel, and returns them.
func (c *client) got(channel string, n int) (all []received) {
	c.t.Helper()
	c.await(fmt.Sprintf("gets %d publications of %s", n, channel), func() bool {
		all = append([]received(nil), c.received[channel]...)
		return len(all) >= n
	})
	return all
}

// stood fails the test if the connection has ended since it was confirmed.
func (c *client) stood() {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.ended) > 0 {
		c.t.Errorf("%s was told %q", c.user, c.ended)
	}
}
