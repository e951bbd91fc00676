package sdk

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge-go"

	"github.com/edgerelay/edgerelay/test/e2e/cluster"
	"github.com/edgerelay/edgerelay/test/redistest"
)

// reads returns how often a Redis was asked for a part of a list. Relays read histories with
// such requests.
func reads(t *testing.T, r *redistest.Server) int {
	t.Helper()
	text := r.Client().InfoMap(t.Context(), "commandstats").Item("Commandstats", "cmdstat_lrange")
	calls, _, _ := strings.Cut(strings.TrimPrefix(text, "calls="), ",")
	n, err := strconv.Atoi(calls)
	if err != nil && text != "" {
		t.Fatalf("Redis says %q", text)
	}
	return n
}

// TestP11_AStormOfClientsIsRecovered lets 300 clients leave and come back at once. In one run all
// clients are in one channel, in which they missed many publications. In the other run each client
// is in a channel of its own. Nothing may be lost, and no connection may end. The history of the
// one channel may not be read once for each client.
func TestP11_AStormOfClientsIsRecovered(t *testing.T) {
	const clients = 300
	config := centrifuge.Config{
		WriteTimeout: patienceOfSDKs, HandshakeTimeout: patienceOfSDKs, // for busy machines
		NetDialContext: (&net.Dialer{}).DialContext,
	}
	for _, c := range []struct {
		name    string
		channel func(i int) string
		missed  int
		reads   int // the most reads of history; 0: any number
	}{
		{"one channel of all", func(int) string { return "room" }, 100, clients / 4},
		{"a channel of each", func(i int) string { return fmt.Sprint("own:", i) }, 5, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			all, edges := twoEdges(t, cluster.Env{"RELAY_CHANNELS": openRules})
			crowd, channels := make([]*client, clients), map[string]bool{}
			each := func(do func(i int)) {
				var doing sync.WaitGroup
				places := make(chan struct{}, 20)
				for i := range crowd {
					places <- struct{}{}
					doing.Go(func() {
						defer func() { <-places }()
						do(i)
					})
				}
				doing.Wait()
			}
			each(func(i int) {
				crowd[i] = connectWith(t, edges[i%2], fmt.Sprint("u", i), config)
				crowd[i].subscribe(c.channel(i))
			})
			for i, u := range crowd {
				channels[c.channel(i)] = true
				if err := u.Disconnect(); err != nil {
					t.Fatal(err)
				}
			}
			pub := connect(t, edges[0], "pub")
			for channel := range channels {
				(&counter{pub, channel, 0}).says(c.missed)
			}
			before, began := reads(t, all.Redis()), time.Now()
			var coming sync.WaitGroup
			for _, u := range crowd {
				coming.Go(func() {
					if err := u.Connect(); err != nil {
						t.Errorf("%s: %v", u.user, err)
					}
				})
			}
			coming.Wait()
			for i, u := range crowd {
				u.recovers(c.channel(i), 2)
				u.whole(c.channel(i), 0, c.missed)
			}
			read := reads(t, all.Redis()) - before
			t.Logf("all have everything after %v, and %d reads of history", time.Since(began).Round(time.Millisecond), read)
			if c.reads > 0 && read > c.reads {
				t.Errorf("history was read %d times for %d clients", read, clients)
			}
			for channel := range channels {
				(&counter{pub, channel, c.missed}).says(1)
			}
			for i, u := range crowd {
				u.whole(c.channel(i), 0, c.missed+1)
				u.mu.Lock()
				if len(u.ended) != 2 || u.connected != 2 { // Disconnect and Connect add one each
					t.Errorf("%s was told %q", u.user, u.ended)
				}
				u.mu.Unlock()
			}
		})
	}
}
