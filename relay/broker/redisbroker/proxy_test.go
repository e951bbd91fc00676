package redisbroker

import (
	"bytes"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/edgerelay/edgerelay/test/redistest"
)

// proxy stands between a Broker and its server and can lose what passes.
type proxy struct {
	url      string
	listener net.Listener
	target   atomic.Value // string: where new connections go
	running  sync.WaitGroup

	losePublishReply atomic.Bool // the next script's request passes, its reply does not: the connection is cut instead
	muteSubscribers  atomic.Bool // connections that have subscribed stay open, and nothing passes any more
	swallow          atomic.Bool // the same for all connections, new ones too
}

func newProxy(t *testing.T, server *redistest.Server) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{url: "redis://" + l.Addr().String(), listener: l}
	p.target.Store(server.Addr)
	p.running.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.running.Wait()
	})
	return p
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target.Load().(string))
		if err != nil {
			client.Close()
			continue
		}
		c := &proxied{proxy: p, client: client, server: server}
		p.running.Go(func() { c.pump(client, server, c.request) })
		p.running.Go(func() { c.pump(server, client, c.reply) })
	}
}

// proxied is one connection through the proxy.
type proxied struct {
	*proxy
	client, server net.Conn
	doomed         atomic.Bool // the next reply is lost
	mute           atomic.Bool
}

// pump copies until pass says no or a side is closed, then closes both.
func (c *proxied) pump(from, to net.Conn, pass func([]byte) (forward, goOn bool)) {
	defer c.client.Close()
	defer c.server.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		forward, goOn := pass(buf[:n])
		if forward {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if !goOn {
			return
		}
	}
}

func (c *proxied) request(b []byte) (forward, goOn bool) {
	if bytes.Contains(b, []byte("EVALSHA")) && c.losePublishReply.CompareAndSwap(true, false) {
		c.doomed.Store(true)
	}
	if c.silent() {
		return false, true
	}
	if bytes.Contains(b, []byte("subscribe")) {
		c.mute.Store(true)
	}
	return true, true
}

func (c *proxied) reply([]byte) (forward, goOn bool) {
	if c.doomed.Load() {
		return false, false
	}
	return !c.silent(), true
}

func (c *proxied) silent() bool { return c.swallow.Load() || c.muteSubscribers.Load() && c.mute.Load() }
