package redisbroker

import (
	"bytes"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/test/redistest"
)

// proxy stands between a Broker and its server and can lose what passes.
type proxy struct {
	url      string
	listener net.Listener
	target   atomic.Value // string: where new connections go
	running  sync.WaitGroup

	losePublishReply atomic.Bool // the next script's request passes, its reply does not: the connection is cut instead
	swallow          atomic.Bool // connections stay open, new ones are taken, and nothing passes

	rate    atomic.Int64 // bytes a second that each connection carries in each direction; 0: as many as come
	carried atomic.Int64 // bytes, of all connections

	mu    sync.Mutex // guards the following
	conns []*proxied
}

// kind is what a connection is used for, as its requests tell.
type kind int32

const (
	otherKind kind = iota
	publisherKind
	askerKind // once it has counted subscribers
	proberKind
	subscriberKind
)

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
		c := &proxied{proxy: p, client: client, server: server, stalled: make(chan struct{})}
		close(c.stalled)
		p.mu.Lock()
		p.conns = append(p.conns, c)
		p.mu.Unlock()
		p.running.Go(func() { c.pump(client, server, c.request) })
		p.running.Go(func() { c.pump(server, client, c.reply) })
	}
}

// of calls do with each connection of a kind so far.
func (p *proxy) of(k kind, do func(*proxied)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		if kind(c.kind.Load()) == k {
			do(c)
		}
	}
}

// mute makes connections of a kind half-open: they stay, and nothing passes any more. New ones work.
func (p *proxy) mute(k kind) { p.of(k, func(c *proxied) { c.mute.Store(true) }) }

// stall has replies on connections of a kind wait until the function that it returns is called.
func (p *proxy) stall(k kind) (goOn func()) {
	hold := make(chan struct{})
	p.of(k, func(c *proxied) { c.stalled = hold })
	return func() { close(hold) }
}

// proxied is one connection through the proxy.
type proxied struct {
	*proxy
	client, server net.Conn
	doomed         atomic.Bool // the next reply is lost
	mute           atomic.Bool
	kind           atomic.Int32

	stalled chan struct{} // guarded by proxy.mu; closed: replies pass
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
		if forward && !c.carry(buf[:n], to) {
			return
		}
		if !goOn {
			return
		}
	}
}

// carry writes b, at the rate if there is one.
func (c *proxied) carry(b []byte, to net.Conn) bool {
	for len(b) > 0 {
		n := len(b)
		rate := c.rate.Load()
		if rate > 0 {
			n = min(n, 8<<10)
			time.Sleep(time.Duration(n) * time.Second / time.Duration(rate)) // it is the way that takes so long
		}
		if _, err := to.Write(b[:n]); err != nil {
			return false
		}
		c.carried.Add(int64(n))
		b = b[n:]
	}
	return true
}

func (c *proxied) request(b []byte) (forward, goOn bool) {
	script := bytes.Contains(b, []byte(publishSHA))
	switch {
	case bytes.Contains(b, []byte(probeTopic)):
		c.kind.Store(int32(proberKind))
	case script:
		c.kind.Store(int32(publisherKind))
	case bytes.Contains(b, []byte("numsub")):
		c.kind.Store(int32(askerKind))
	case bytes.Contains(b, []byte("subscribe")):
		c.kind.Store(int32(subscriberKind))
	}
	if script && kind(c.kind.Load()) == publisherKind && c.losePublishReply.CompareAndSwap(true, false) {
		c.doomed.Store(true)
	}
	return !c.silent(), true
}

func (c *proxied) reply([]byte) (forward, goOn bool) {
	c.proxy.mu.Lock()
	stalled := c.stalled
	c.proxy.mu.Unlock()
	<-stalled
	if c.doomed.Load() {
		return false, false
	}
	return !c.silent(), true
}

func (c *proxied) silent() bool { return c.swallow.Load() || c.mute.Load() }
