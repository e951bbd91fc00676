package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/edgerelay/edgerelay/edge"
	"github.com/edgerelay/edgerelay/relay"
	"github.com/edgerelay/edgerelay/shared/memnet"
)

// TestA2_ALawfulBurstClosesNobody checks that a burst within the limits reaches every reader. The
// senders publish on protocol.All, as fast as the edge reads. In one case there is one sender, and
// each reader takes 128 KiB a second. In the other case there are eight senders, and each reader
// takes 1 MiB a second, which is the default of RELAY_TOPIC_RATE. Each reader must get as many
// messages as were sent.
func TestA2_ALawfulBurstClosesNobody(t *testing.T) {
	for _, c := range []struct{ senders, rate int }{{1, 128 << 10}, {8, 1 << 20}} {
		t.Run(fmt.Sprint(c.senders), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { burst(t, c.senders, 20, c.rate) })
		})
	}
}

// The function burst connects senders and four readers. Each sender writes messages of 65,000
// bytes, as fast as the edge reads. The parameters senders and each say how many senders there are,
// and how many messages each of them writes. The parameter rate bounds the bytes that each reader
// takes in a second.
func burst(t *testing.T, senders, each, rate int) {
	dial := startInMemory(t)
	var readers []*websocket.Conn
	for i := range 4 {
		readers = append(readers, dial(fmt.Sprint("reader", i), rate))
	}
	var sending, reading sync.WaitGroup
	for i := range senders {
		ws := dial(fmt.Sprint("sender", i), 0)
		go drop(ws)
		sending.Go(func() {
			for range each {
				if err := ws.Write(t.Context(), websocket.MessageText, []byte(strings.Repeat("x", 65_000))); err != nil {
					t.Errorf("a sender: %v", err)
					return
				}
			}
		})
	}
	for i, ws := range readers {
		reading.Go(func() {
			for n := range senders * each {
				if _, _, err := ws.Read(t.Context()); err != nil {
					t.Errorf("reader %d, after %d messages: %v", i, n, err)
					return
				}
			}
		})
	}
	sending.Wait()
	reading.Wait()
}

// The function drop reads and discards what a sender receives, until its connection ends.
func drop(ws *websocket.Conn) {
	for {
		if _, _, err := ws.Read(context.Background()); err != nil {
			return
		}
	}
}

// startInMemory runs an edge and a relay until the test ends, over networks in memory. EDGE_DRAIN
// is 1 s, and all bounds have their defaults. The returned function connects a client. Its second
// argument bounds the bytes that the client takes in a second, and 0 means no bound.
func startInMemory(t *testing.T) (dial func(user string, rate int) *websocket.Conn) {
	t.Helper()
	clients, links := memnet.Listen(), memnet.Listen()
	relayConfig, err := relay.Load([]string{"RELAY_REDIS_URL=memory://", "LINK_KEYS=k:a-secret-of-16-bytes"})
	if err != nil {
		t.Fatal(err)
	}
	relayConfig.AdminAddr = ""
	r, err := relay.New(relayConfig, relay.Options{Listener: links})
	if err != nil {
		t.Fatal(err)
	}
	edgeConfig, err := edge.Load([]string{"EDGE_RELAY_URLS=ws://relay", "EDGE_AUTH=open", "EDGE_DRAIN=1s", "LINK_KEYS=k:a-secret-of-16-bytes"})
	if err != nil {
		t.Fatal(err)
	}
	edgeConfig.AdminAddr = ""
	e, err := edge.New(edgeConfig, edge.Options{Listener: clients, NetDial: links.DialContext})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = r.Run(ctx) })
	running.Go(func() { _ = e.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	time.Sleep(time.Second) // the link begins within this second of synctest's clock
	return func(user string, rate int) *websocket.Conn {
		var near *memnet.Conn
		transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (conn net.Conn, err error) {
			conn, err = clients.Dial(ctx)
			if err == nil {
				near = conn.(*memnet.Conn)
			}
			return conn, err
		}}
		ws, _, err := websocket.Dial(ctx, "ws://edge/chat/all/"+user, &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})
		if err != nil {
			t.Fatal(err)
		}
		ws.SetReadLimit(1 << 20)
		near.SetReadRate(rate)
		t.Cleanup(func() { ws.CloseNow() })
		return ws
	}
}
