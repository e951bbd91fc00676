package redisbroker

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker/brokertest"
	"github.com/edgerelay/edgerelay/test/redistest"
)

// proxy passes bytes on between a server and its clients. It can lose, delay or change these bytes.
type proxy struct {
	url      string
	listener net.Listener
	target   atomic.Value // string: the address to which new connections go
	running  sync.WaitGroup

	// If losePublishReply is set, the proxy clears it at the publisher's next request. It passes
	// that request on, and cuts the connection instead of passing the reply.
	losePublishReply atomic.Bool
	// While swallow is set, connections stay open and new ones are accepted, but nothing passes.
	swallow atomic.Bool

	forgets atomic.Bool // the server seems to have none of our scripts

	runs atomic.Int32 // which run_id the replies to INFO have: one of the constants below

	// rate is in bytes a second, for each connection and direction. At 0 it is unbounded.
	rate    atomic.Int64
	carried atomic.Int64 // bytes passed on, over all connections

	mu     sync.Mutex // guards the following
	conns  []*proxied
	stalls []func() // functions that the method stall returned; called when the test ends
}

// These constants say which run_id the proxy tells: the server's own, one for the whole proxy, one
// for each connection, or one for each reply.
const (
	runsTruly int32 = iota
	runsOfProxy
	runsOfConnection
	runsOfReply
)

// kind is what a connection is used for, as seen from its requests.
type kind int32

const (
	otherKind kind = iota
	publisherKind
	askerKind // a connection on which subscribers were counted
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
		for _, goOn := range p.stalls {
			goOn()
		}
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

// The method of calls the given function with each open connection of kind k, and holds mu during
// these calls. If there is no such connection yet, the method waits for one.
func (p *proxy) of(t *testing.T, k kind, do func(*proxied)) {
	t.Helper()
	brokertest.Eventually(t, "a connection of the kind", func() (there bool) {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, c := range p.conns {
			if kind(c.kind.Load()) == k && !c.over.Load() {
				there = true
				do(c)
			}
		}
		return there
	})
}

// mute makes the connections of kind k half-open. They stay open, but nothing passes on them any
// more. New connections work.
func (p *proxy) mute(t *testing.T, k kind) {
	t.Helper()
	p.of(t, k, func(c *proxied) { c.mute.Store(true) })
}

// stall holds back replies on the connections of kind k until the function that it returns is
// called.
func (p *proxy) stall(t *testing.T, k kind) (goOn func()) {
	t.Helper()
	hold := make(chan struct{})
	goOn = sync.OnceFunc(func() { close(hold) })
	p.of(t, k, func(c *proxied) { c.stalled = hold })
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stalls = append(p.stalls, goOn)
	return goOn
}

// gaveUp reports whether the server has closed a stalled connection that the client still holds.
func (p *proxy) gaveUp(t *testing.T, server *redistest.Server) bool {
	t.Helper()
	list, err := server.Client().ClientList(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.conns, func(c *proxied) bool {
		select {
		case <-c.stalled:
			return false
		default:
			return !strings.Contains(list, "addr="+c.server.LocalAddr().String()+" ") && !c.over.Load()
		}
	})
}

// proxied is one connection through the proxy.
type proxied struct {
	*proxy
	client, server net.Conn
	doomed         atomic.Bool // the next reply is lost, and the connection is cut
	over           atomic.Bool
	mute           atomic.Bool
	kind           atomic.Int32

	stalled chan struct{} // guarded by proxy.mu; replies pass once it is closed
}

// pump passes on the bytes of one direction. It calls the function pass with the bytes of each
// read. If the result forward is false, pump leaves these bytes out. Once the result goOn is false,
// or one of the two connections ends, pump closes both connections and returns.
func (c *proxied) pump(from, to net.Conn, pass func([]byte) (forward, goOn bool)) {
	defer c.client.Close()
	defer c.server.Close()
	defer c.over.Store(true)
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

// carry writes b, at the proxy's rate if there is one. It reports whether that succeeded.
func (c *proxied) carry(b []byte, to net.Conn) bool {
	for len(b) > 0 {
		n := len(b)
		rate := c.rate.Load()
		if rate > 0 {
			n = min(n, 8<<10)
			time.Sleep(time.Duration(n) * time.Second / time.Duration(rate))
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
	if c.forgets.Load() {
		for _, sha := range []string{publishSHA, readSHA, beginSHA, probeSHA} {
			for at := bytes.Index(b, []byte(sha)); at >= 0; at = bytes.Index(b, []byte(sha)) {
				copy(b[at:], strings.Repeat("0", len(sha)))
			}
		}
	}
	switch {
	case bytes.Contains(b, []byte("\r\nsubscribe\r\n")):
		c.kind.Store(int32(subscriberKind))
	case bytes.Contains(b, []byte(probeTopic)):
		c.kind.Store(int32(proberKind))
	case script:
		c.kind.Store(int32(publisherKind))
	case bytes.Contains(b, []byte("numsub")):
		c.kind.Store(int32(askerKind))
	}
	if script && kind(c.kind.Load()) == publisherKind && c.losePublishReply.CompareAndSwap(true, false) {
		c.doomed.Store(true)
	}
	return !c.silent(), true
}

func (c *proxied) reply(b []byte) (forward, goOn bool) {
	c.disguise(b)
	c.proxy.mu.Lock()
	stalled := c.stalled
	c.proxy.mu.Unlock()
	<-stalled
	if c.doomed.Load() {
		return false, false
	}
	return !c.silent(), true
}

// disguise replaces the run_id in b, if b has all of its 40 characters. If the proxy is to tell the
// server's own run_id, disguise does nothing.
func (c *proxied) disguise(b []byte) {
	const name = "run_id:"
	at := bytes.Index(b, []byte(name))
	if at < 0 || at+len(name)+40 > len(b) {
		return
	}
	id := b[at+len(name):][:40]
	switch c.runs.Load() {
	case runsOfProxy:
		copy(id, fmt.Sprintf("%040d", c.listener.Addr().(*net.TCPAddr).Port))
	case runsOfConnection:
		copy(id, fmt.Sprintf("%040d", c.client.RemoteAddr().(*net.TCPAddr).Port))
	case runsOfReply:
		copy(id, fmt.Sprintf("%040d", rand.Uint64()))
	}
}

func (c *proxied) silent() bool { return c.swallow.Load() || c.mute.Load() }
