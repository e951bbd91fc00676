package httpguard

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgerelay/edgerelay/shared/config"
	"github.com/edgerelay/edgerelay/shared/service"
)

// serveOn runs a server on a real port at addr. The returned function sends the server a request
// with the given Host, and returns the status of the answer.
func serveOn(t *testing.T, s *Server, addr string) (ask func(path, host string) int) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l, time.Second) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	t.Cleanup(func() { cancel(); <-ended })
	return func(path, host string) int {
		t.Helper()
		r, err := http.NewRequest(http.MethodGet, "http://"+config.Addr(l.Addr().String()).Dial()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
}

var (
	loopbackHosts = []string{"127.0.0.1:8080", "127.3.4.5", "localhost:1", "LOCALHOST.", "app.localhost:80", "[::1]:9", "[::1]"}
	foreignHosts  = []string{"evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.7", "notlocalhost", "0.0.0.0:8080"}
)

// TestA8_OnLoopbackOnlyItsNamesAreServed checks that foreign names are refused. Otherwise a page
// whose name points to 127.0.0.1 could read the server's answers in a browser.
func TestA8_OnLoopbackOnlyItsNamesAreServed(t *testing.T) {
	admin := Admin{Name: "edge", Health: func() Health { return NewHealth(nil, nil, nil) }, Metrics: service.NewRegistry()}
	ask := serveOn(t, admin.Server(), "127.0.0.1:0")
	for _, path := range []string{"/livez", "/readyz", "/metrics", "/debug/config"} {
		for _, host := range loopbackHosts {
			if got := ask(path, host); got != http.StatusOK {
				t.Errorf("%s of %s: %d", path, host, got)
			}
		}
		for _, host := range foreignHosts {
			if got := ask(path, host); got != http.StatusForbidden {
				t.Errorf("%s of %s: %d", path, host, got)
			}
		}
	}
}

// TestA8_NamedHostsAreServedAndOtherListenersServeAll checks which hosts a server refuses in a
// request's Host header. A server that listens on loopback and has Config.OtherHosts serves names
// of loopback and the hosts that OtherHosts names, and refuses all others. Every other server takes
// any host, since it cannot know by which names proxies and probes reach it.
func TestA8_NamedHostsAreServedAndOtherListenersServeAll(t *testing.T) {
	named := func(host string) bool { return strings.HasPrefix(host, "chat.example") }
	all := append(append([]string{"chat.example:8080"}, loopbackHosts...), foreignHosts...)
	for _, c := range []struct {
		addr    string
		named   func(string) bool
		refused int
	}{{"127.0.0.1:0", named, len(foreignHosts)}, {"127.0.0.1:0", nil, 0}, {":0", named, 0}} {
		cfg := Config{Handler: live, Name: "edge", Port: "public", OtherHosts: c.named, Metrics: prometheus.NewRegistry()}
		ask := serveOn(t, NewServer(cfg), c.addr)
		refused := 0
		for _, host := range all {
			if ask("/livez", host) == http.StatusForbidden {
				refused++
			}
		}
		if refused != c.refused {
			t.Errorf("on %s: %d refused, want %d", c.addr, refused, c.refused)
		}
	}
}

// TestA8_WithoutAHostNobodyIsABrowser checks that a request without Host is served. Probes that use
// HTTP/1.0 send such requests.
func TestA8_WithoutAHostNobodyIsABrowser(t *testing.T) {
	onSite(t, Config{Handler: live, OtherHosts: func(string) bool { return false }}, func(s site) {
		synctest.Wait() // until Serve has set s.loopback
		s.loopback.Store(true)
		s.answer(s.dial("GET /livez HTTP/1.0\r\n\r\n"))
		s.dial(livez)
		s.wantRefused(refusedHost, 1)
	})
}

// from is a connection whose remote address is addr.
type from struct {
	net.Conn
	addr string
}

func (c from) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(c.addr), 4000))
}

// TestA11_AFloodOfConnectionsPushesOutItsOwn checks that a flood of connections from one address
// does not push out a connection from another address.
func TestA11_AFloodOfConnectionsPushesOutItsOwn(t *testing.T) {
	onSite(t, Config{Handler: live, MaxWaiting: 4}, func(s site) {
		dial := func(addr string) net.Conn {
			client, server := net.Pipe()
			s.Cleanup(func() { client.Close() })
			s.pipes <- from{server, addr}
			synctest.Wait()
			return client
		}
		honest := dial("192.0.2.1")
		flood := []net.Conn{}
		for range 20 {
			flood = append(flood, dial("198.51.100.7"))
		}
		s.wantDropped(dropMany, 17)
		if !s.open(honest) || s.open(flood[16]) || !s.open(flood[17]) {
			t.Error("another one was dropped than the oldest of the flood")
		}
	})
}

// TestB2_ManySourcesPushOutNobodyWithFew checks that a flood of sources with one connection each
// does not push out the connections of a source that has two. Two connections still count as few.
func TestB2_ManySourcesPushOutNobodyWithFew(t *testing.T) {
	const most = 1024
	onSite(t, Config{Handler: live, MaxWaiting: most}, func(s site) {
		next := netip.MustParseAddr("198.18.0.0")
		flood := func(n int) {
			for range n {
				client, server := net.Pipe()
				s.Cleanup(func() { client.Close() })
				next = next.Next()
				s.pipes <- from{server, next.String()}
			}
			synctest.Wait()
		}
		flood(most - 2)
		honest := [2]net.Conn{}
		for i := range honest {
			client, server := net.Pipe()
			s.Cleanup(func() { client.Close() })
			s.pipes <- from{server, "192.0.2.1"}
			honest[i] = client
		}
		flood(100)
		s.wantDropped(dropMany, 100)
		if !s.open(honest[0]) || !s.open(honest[1]) {
			t.Error("who has two connections was dropped, and others have older ones")
		}
	})
}
