// Package seedpeer stands in for the original servers in tests. A Peer publishes and subscribes on
// Redis as they do, and a Server also serves clients. Both know channels and the three fields of an
// Envelope, but no histories, marks or positions.
package seedpeer

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Envelope holds all fields that the original servers write to Redis and read from it.
type Envelope struct {
	FromId string
	ToId   string
	Msg    string
}

// Peer is one original server, as Redis sees it.
type Peer struct {
	t      testing.TB
	client *redis.Client
}

// New returns a Peer on the Redis at url. The Peer's connections are closed at the test's end.
func New(t testing.TB, url string) *Peer {
	t.Helper()
	o, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	o.Protocol = 2
	p := &Peer{t: t, client: redis.NewClient(o)}
	t.Cleanup(func() { p.client.Close() })
	return p
}

// Publish publishes an envelope as the original servers do. It returns how many subscribers Redis
// gave the envelope to.
func (p *Peer) Publish(channel string, e Envelope) int64 {
	p.t.Helper()
	b, err := json.Marshal(e)
	if err != nil {
		p.t.Fatal(err)
	}
	return p.PublishRaw(channel, string(b))
}

// PublishRaw publishes any text. It returns how many subscribers Redis gave the text to.
func (p *Peer) PublishRaw(channel, text string) int64 {
	p.t.Helper()
	n, err := p.client.Publish(p.t.Context(), channel, text).Result()
	if err != nil {
		p.t.Fatal(err)
	}
	return n
}

// Subscribers returns how many subscribers a channel has.
func (p *Peer) Subscribers(channel string) int64 {
	p.t.Helper()
	n, err := p.client.PubSubNumSub(p.t.Context(), channel).Result()
	if err != nil {
		p.t.Fatal(err)
	}
	return n[channel]
}

// Channel is a Peer's subscription to one channel.
type Channel struct {
	t   testing.TB
	sub *redis.PubSub

	mu      sync.Mutex
	got     []Envelope
	arrived chan struct{}
	next    int
}

// Subscribe subscribes to a channel, and waits until Redis has confirmed that. The subscription
// ends at the test's end, or with Close.
func (p *Peer) Subscribe(channel string) *Channel {
	p.t.Helper()
	c := &Channel{t: p.t, sub: p.client.Subscribe(p.t.Context(), channel), arrived: make(chan struct{})}
	if _, err := c.sub.Receive(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(c.read)
	p.t.Cleanup(func() { c.sub.Close(); reading.Wait() })
	return c
}

// Close ends the subscription.
func (c *Channel) Close() { c.sub.Close() }

func (c *Channel) read() {
	for {
		m, err := c.sub.ReceiveMessage(context.Background())
		if err != nil {
			return
		}
		var e Envelope
		if err := json.Unmarshal([]byte(m.Payload), &e); err != nil {
			c.t.Errorf("channel %s: an original server would not understand %q: %v", m.Channel, m.Payload, err)
			continue
		}
		c.mu.Lock()
		c.got = append(c.got, e)
		close(c.arrived)
		c.arrived = make(chan struct{})
		c.mu.Unlock()
	}
}

// Expect waits for the next envelopes, which must be the wanted ones, in this order. It fails the
// test if they have not all come within 30 s.
func (c *Channel) Expect(want ...Envelope) {
	c.t.Helper()
	deadline := time.After(30 * time.Second)
	for _, w := range want {
		got, ok := c.wait(c.next, deadline)
		if !ok {
			c.t.Fatalf("want %+v on Redis, nothing came", w)
		}
		c.next++
		if got != w {
			c.t.Fatalf("want %+v on Redis, got %+v", w, got)
		}
	}
}

// Received returns the envelopes that have arrived so far.
func (c *Channel) Received() []Envelope {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.got[:len(c.got):len(c.got)]
}

func (c *Channel) wait(i int, deadline <-chan time.Time) (Envelope, bool) {
	for {
		c.mu.Lock()
		if len(c.got) > i {
			e := c.got[i]
			c.mu.Unlock()
			return e, true
		}
		arrived := c.arrived
		c.mu.Unlock()
		select {
		case <-arrived:
		case <-deadline:
			return Envelope{}, false
		}
	}
}
