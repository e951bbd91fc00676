package gateway

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/memnet"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// startSDK starts a gateway whose relay confirms each connect. In these tests a connect is the line
// "connect USER", and its answer is "connected". If a test sets up.accept, that function is called
// instead, and no connect is confirmed by itself.
func startSDK(t *testing.T, up *fakeUpstream, change func(*Config)) *gateway {
	t.Helper()
	if up == nil {
		up = &fakeUpstream{}
	}
	var hub *mirror
	if up.accept == nil {
		up.accept = func(session uint64, line []byte) bool {
			confirm(hub, session, line)
			return true
		}
	}
	g := start(t, up, change)
	hub = g.hub
	return g
}

// confirm confirms a connect as a relay does, and passes over other lines.
func confirm(hub *mirror, session uint64, line []byte) {
	if user, ok := strings.CutPrefix(string(line), "connect "); ok {
		hub.Confirmed(link.Confirmed{Session: session, User: user, Text: []byte("connected")}, true)
	}
}

// silentRelay is an upstream whose relay confirms nothing.
func silentRelay() *fakeUpstream {
	return &fakeUpstream{accept: func(uint64, []byte) bool { return true }}
}

// textOf encodes a text message of the client.
func textOf(lines ...string) string { return masked(0x81, strings.Join(lines, "\n")) }

// sdk connects as an SDK does, and waits until the connect is confirmed.
func (g *gateway) sdk(user string) *rawClient {
	g.t.Helper()
	c := g.raw(protocol.SDKPath, textOf("connect "+user))
	c.wantFrame(textByte, "connected")
	return c
}

// wantCode reads one frame, which must be a close frame with the code and a text.
func (c *rawClient) wantCode(code int) {
	c.t.Helper()
	first, p, err := c.frame()
	if err != nil || first != closeByte || len(p) < 3 || int(p[0])<<8|int(p[1]) != code {
		c.t.Fatalf("got frame %#x %.60q, error %v; want close %d", first, p, err, code)
	}
}

// only returns the one living session.
func (g *gateway) only() *Session {
	g.t.Helper()
	living := g.hub.living()
	if len(living) != 1 {
		g.t.Fatalf("%d sessions live, want 1", len(living))
	}
	return living[0]
}

// bubbled is a Server on a network in memory, in a bubble of synctest. There a wait takes no real
// time.
type bubbled struct {
	*gateway
	net *memnet.Listener
}

// inBubble runs f in a bubble of synctest, with a Server whose method Run is running.
func inBubble(t *testing.T, up *fakeUpstream, change func(*Config), f func(*testing.T, *bubbled)) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		cfg := Config{MaxMessage: 64 << 10, MaxSessions: 1000, Queue: 256 << 10, Ping: 50 * time.Second, Auth: Auth{Open: true}, Metrics: reg}
		if change != nil {
			change(&cfg)
		}
		hub := newMirror(HubConfig{Metrics: reg})
		if up == nil {
			up = &fakeUpstream{}
		}
		if up.accept == nil {
			up.accept = func(session uint64, line []byte) bool {
				confirm(hub, session, line)
				return true
			}
		}
		b := &bubbled{&gateway{t: t, hub: hub, server: NewServer(cfg, hub.Hub, up), up: up, reg: reg}, memnet.Listen()}
		ctx, cancel := context.WithCancel(context.Background())
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if from := r.Header.Get(fromHeader); from != "" {
				r.RemoteAddr = from
			}
			b.server.ServeHTTP(w, r)
		})}
		var running sync.WaitGroup
		running.Go(func() { server.Serve(b.net) })
		running.Go(func() { b.server.Run(ctx) })
		defer running.Wait()
		defer server.Close()
		defer b.net.Close()
		defer cancel()
		f(t, b)
	})
}

// fromHeader is the name of a header with the address from which a client connects. The network in
// memory has no addresses.
const fromHeader = "From-Address"

// connect connects a client to protocol.SDKPath, and awaits its upgrade.
func (b *bubbled) connect() *rawClient {
	b.t.Helper()
	return b.connectFrom("")
}

// connectFrom does what connect does, for a client with the given address and port.
func (b *bubbled) connectFrom(from string) *rawClient {
	b.t.Helper()
	c := b.request(protocol.SDKPath + " HTTP/1.1\r\n" + fromHeader + ": " + from + "\r\nIgnored:")
	if res, err := http.ReadResponse(c.r, nil); err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		b.t.Fatalf("handshake: %v, %+v", err, res)
	}
	return c
}

func (b *bubbled) request(path string) *rawClient {
	b.t.Helper()
	conn, err := b.net.Dial(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { conn.Close() })
	c := &rawClient{b.t, conn, bufio.NewReader(conn)}
	c.send(fmt.Sprintf(rawHandshake, path))
	return c
}

// confirmed connects a client, sends a connect for the user, and awaits its confirmation.
func (b *bubbled) confirmed(user string) *rawClient {
	b.t.Helper()
	c := b.connect()
	c.send(textOf("connect " + user))
	c.wantFrame(textByte, "connected")
	return c
}

// TestTheChatPaysNothingForSDKs checks the sizes of the types Session, conn and sdk, in bytes. The
// state for SDKs must be behind the pointer Session.sdk, so that a session of the chat does not
// need its memory. The bounds 240, 128 and 112 are size classes of Go's allocator.
func TestTheChatPaysNothingForSDKs(t *testing.T) {
	if unsafe.Sizeof(uintptr(0)) != 8 {
		t.Skip("sizes are for 64 bits")
	}
	session, socket, more := unsafe.Sizeof(Session{}), unsafe.Sizeof(conn{}), unsafe.Sizeof(sdk{})
	if session > 240 || socket > 128 || more > 112 {
		t.Errorf("a session has %d bytes, its conn %d, and what an SDK needs %d", session, socket, more)
	}
}
