package sdk

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge-go"

	"github.com/edgerelay/edgerelay/test/e2e/cluster"
	"github.com/edgerelay/edgerelay/test/race"
)

// TestP11_ARelayIsKilledWhileClientsResume lets clients ask for what they missed, and holds back
// the relay's answers. Then the relay is killed. Another relay must answer all clients, and no
// connection may end.
func TestP11_ARelayIsKilledWhileClientsResume(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, options(t))
	env := cluster.Env{"RELAY_CHANNELS": openRules}
	relays := []*cluster.Relay{c.StartRelay(env), c.StartRelay(env)}
	e := c.StartEdge(nil, relays...)
	pub := counter{client: connect(t, c.StartEdge(nil, c.StartRelay(env)), "pub"), channel: "room"}
	pub.says(2)
	const clients, missed = 10, 100
	var all []*raw
	var at position
	for i := range clients {
		w := connectRaw(t, e, fmt.Sprint("u", i))
		w.Send(`{"id":2,"subscribe":{"channel":"room"}}`)
		at = w.subscribed(2).position
		w.Send(`{"id":3,"unsubscribe":{"channel":"room"}}`)
		w.expect(`{"id":3,"unsubscribe":{}}`)
		all = append(all, w)
	}
	pub.says(missed)

	relay := used(t, e, relays)
	link := e.Link()
	asked := func() float64 {
		return relay.Metrics().Sum("edgerelay_relay_commands_total", `kind="subscribe"`)
	}
	before := asked()
	link.FreezeBack()
	for _, w := range all {
		w.Send(fmt.Sprintf(`{"id":4,"subscribe":{"channel":"room","recover":true,"epoch":%q,"offset":%d}}`, at.Epoch, at.Offset))
	}
	cluster.Eventually(t, "the relay has been asked by all", func() bool { return asked() >= before+clients })
	relay.Kill()
	link.Thaw()
	for _, w := range all {
		r := w.subscribed(4)
		if !r.Recovered || len(r.Publications) != missed || string(r.Publications[missed-1].Data) != strconv.Itoa(pub.next-1) {
			t.Fatalf("%s is told %+v, want %d publications", w.Name, r, missed)
		}
	}
	pub.says(1)
	for _, w := range all {
		w.heard(w.line(), "room", pub.next-2)
	}
}

// TestP11_ClientsComeAndGoWhileOthersTalk publishes all the time. Meanwhile clients are cut off at
// random, and come back to one of two edges, and relays are killed. Each client must get each
// publication once and in order.
func TestP11_ClientsComeAndGoWhileOthersTalk(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, options(t))
	env := cluster.Env{"RELAY_CHANNELS": openRules}
	relays := []*cluster.Relay{c.StartRelay(env), c.StartRelay(env)}
	edges := []*cluster.Edge{c.StartEdge(nil, relays...), c.StartEdge(nil, relays...)}
	pub := &counter{client: connect(t, edges[0], "pub"), channel: "room"}
	const clients, cuts = 12, 6
	var all []*roamer
	for i := range clients {
		r := roam(t, edges[i%2], fmt.Sprint("u", i), anybody+fmt.Sprint("u", i), centrifuge.Config{})
		r.subscribe("room")
		all = append(all, r)
	}
	ctx, stop := context.WithCancel(t.Context())
	var talking, roaming sync.WaitGroup
	defer talking.Wait()
	defer stop()
	talking.Go(func() {
		for ; ctx.Err() == nil; pub.next++ {
			if err := pub.say("room", strconv.Itoa(pub.next)); err != nil {
				t.Errorf("publish %d: %v", pub.next, err)
				return
			}
			time.Sleep(5 * time.Millisecond) // the pace of the talk
		}
	})
	for _, r := range all {
		roaming.Go(func() {
			for n := range cuts {
				// The SDK 0.12.1 has a data race of its own if a connection ends while a subscribe
				// is under way.
				if race.Enabled {
					r.began("room", n+1)
				}
				time.Sleep(rand.N(300 * time.Millisecond)) // how long a client stays
				r.way.Refuse()
				time.Sleep(rand.N(200 * time.Millisecond)) // and how long it is away
				r.comesTo(edges[rand.N(2)])
			}
		})
	}
	for _, relay := range relays {
		relay.Kill()
		relay.Restart()
		cluster.Eventually(t, relay.Name+" is live", relay.Live)
		cluster.Eventually(t, "both edges have a link", func() bool { return edges[0].Linked() && edges[1].Linked() })
	}
	roaming.Wait()
	stop()
	talking.Wait()
	pub.says(1)
	again := 0
	for _, r := range all {
		r.whole("room", 0, pub.next)
		r.mu.Lock()
		for n, b := range r.begun["room"] {
			again += min(n, 1)
			if b.WasRecovering != (n > 0) || b.Recovered != (n > 0) {
				t.Errorf("%s: subscription %d began with %+v", r.user, n+1, b)
			}
		}
		r.mu.Unlock()
	}
	if again == 0 {
		t.Error("no client was cut off")
	}
	t.Logf("%d publications, %d clients came back %d times", pub.next, clients, again)
}
