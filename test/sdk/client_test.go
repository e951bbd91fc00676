package sdk

import (
	"context"
	"fmt"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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
	lost      []string // each end of a subscription, and each refusal of one
	received  map[string][]received
	begun     map[string][]beginning // of subscriptions by the client and by the server, by channel
}

// beginning is what the SDK told a client when a subscription began.
type beginning struct {
	Recoverable, WasRecovering, Recovered bool

	At  centrifuge.StreamPosition // zero if the subscription has no position
	Had int                       // publications of the channel that the client had before
}

// received is a publication as the SDK passed it to a client.
type received struct {
	Data string
	User string // "" if no client published it
	ID   string // the publisher's client id
	Info string // what the publisher's token says, or ""
	At   time.Time

	Offset uint64 // 0: the publication has none
}

// connect connects a user to an edge that needs no token, and waits until the edge has confirmed
// the connection.
func connect(t testing.TB, e *cluster.Edge, user string) *client {
	t.Helper()
	return connectWith(t, e, user, centrifuge.Config{})
}

// connectWith does what connect does, with a configuration of the SDK.
func connectWith(t testing.TB, e *cluster.Edge, user string, config centrifuge.Config) *client {
	t.Helper()
	c := dial(t, e.URL("/connection/websocket?user="+url.QueryEscape(user)), user, config)
	c.await("is connected", func() bool { return c.connected == 1 })
	return c
}

// dial makes a client, and begins to connect it. If the connect fails, the SDK tries again by
// itself. If the configuration has no NetDialContext, dial sets it to dialWatched, which checks
// what the server sends.
func dial(t testing.TB, address, user string, config centrifuge.Config) *client {
	t.Helper()
	if config.NetDialContext == nil {
		config.NetDialContext = dialWatched(t)
	}
	c := &client{Client: centrifuge.NewJsonClient(address, config), t: t, user: user, received: map[string][]received{}, begun: map[string][]beginning{}}
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
	c.OnSubscribed(func(e centrifuge.ServerSubscribedEvent) {
		c.begins(e.Channel, beginning{Recoverable: e.Recoverable, WasRecovering: e.WasRecovering, Recovered: e.Recovered}, e.StreamPosition)
	})
	if err := c.Connect(); err != nil {
		t.Logf("%s: the first dial: %v", user, err)
	}
	return c
}

func (c *client) take(channel string, p centrifuge.Publication) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := received{Data: string(p.Data), At: time.Now(), Offset: p.Offset}
	if p.Info != nil {
		r.User, r.ID, r.Info = p.Info.User, p.Info.Client, string(p.Info.ConnInfo)
	}
	c.received[channel] = append(c.received[channel], r)
}

func (c *client) begins(channel string, b beginning, at *centrifuge.StreamPosition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at != nil {
		b.At = *at
	}
	b.Had = len(c.received[channel])
	c.begun[channel] = append(c.begun[channel], b)
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
	return c.beginWith(channel, centrifuge.SubscriptionConfig{})
}

// beginWith does what begin does, with a configuration of the SDK. The configuration may have the
// subscription's token, or say how the SDK gets one.
func (c *client) beginWith(channel string, config centrifuge.SubscriptionConfig) *centrifuge.Subscription {
	c.t.Helper()
	sub, err := c.NewSubscription(channel, config)
	if err != nil {
		c.t.Fatal(err)
	}
	sub.OnPublication(func(e centrifuge.PublicationEvent) { c.take(channel, e.Publication) })
	var begun atomic.Bool
	end := func(what string) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.lost = append(c.lost, what)
	}
	sub.OnSubscribed(func(e centrifuge.SubscribedEvent) {
		begun.Store(true)
		c.begins(channel, beginning{Recoverable: e.Recoverable, WasRecovering: e.WasRecovering, Recovered: e.Recovered}, e.StreamPosition)
	})
	sub.OnSubscribing(func(e centrifuge.SubscribingEvent) {
		if begun.Load() {
			end(fmt.Sprintf("subscribing to %s: %d %s", channel, e.Code, e.Reason))
		}
	})
	sub.OnUnsubscribed(func(e centrifuge.UnsubscribedEvent) {
		end(fmt.Sprintf("unsubscribed from %s: %d %s", channel, e.Code, e.Reason))
	})
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

// connects returns how often the client was connected.
func (c *client) connects() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.connected
}

// got waits until the client was given at least n publications of a channel. It returns all that
// the client was given.
func (c *client) got(channel string, n int) (all []received) {
	c.t.Helper()
	c.await(fmt.Sprintf("gets %d publications of %s", n, channel), func() bool {
		all = append([]received(nil), c.received[channel]...)
		return len(all) >= n
	})
	return all
}

// began waits until subscriptions of the client to a channel have begun n times, and returns the
// n-th beginning.
func (c *client) began(channel string, n int) (b beginning) {
	c.t.Helper()
	c.await(fmt.Sprintf("is subscribed to %s %d times", channel, n), func() bool {
		if len(c.begun[channel]) < n {
			return false
		}
		b = c.begun[channel][n-1]
		return true
	})
	return b
}

// stood fails the test if the connection has ended since it was confirmed, or if a subscription has
// ended or was refused.
func (c *client) stood() {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.ended)+len(c.lost) > 0 {
		c.t.Errorf("%s was told %q, %q", c.user, c.ended, c.lost)
	}
}
