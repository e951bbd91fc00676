package link

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"testing/synctest"

	"github.com/edgerelay/edgerelay/shared/memnet"
)

// addressed is a listener. For each connection that it accepts, it calls the function from. The
// result becomes the remote address of the connection.
type addressed struct {
	net.Listener
	from func() net.Addr
}

func (l addressed) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return addressedConn{c, l.from()}, nil
}

type addressedConn struct {
	net.Conn
	remote net.Addr
}

func (c addressedConn) RemoteAddr() net.Addr { return c.remote }

// TestA11_AFloodOfHandshakesPushesOutItsOwn checks that a flood of handshakes from one address does
// not push out a handshake from another address. That handshake begins before the flood, and must
// succeed after it.
func TestA11_AFloodOfHandshakesPushesOutItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := keysOf(t, ringA)
		pending := &Pending{Max: 4}
		source := netip.MustParseAddr("192.0.2.1")
		from := func() net.Addr { return net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 4000)) }
		inner := memnet.Listen()
		results := make(chan error, 64)
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := Accept(w, r, AcceptConfig{Keys: keys, Pending: pending,
				Welcome: func(Hello) (Welcome, error) { return testWelcome, nil }})
			if err == nil {
				conn.CloseNow()
			}
			results <- err
		})}
		stopped := make(chan struct{})
		go func() { defer close(stopped); server.Serve(addressed{inner, from}) }()
		t.Cleanup(func() { server.Close(); <-stopped })

		o := offer{versions: spoken, key: "a", nonce: newNonce()}
		ws, rep := rawEdge(t, inner, o)
		source = netip.MustParseAddr("198.51.100.7")
		const flood = 20
		for range flood {
			rawEdge(t, inner, offer{versions: spoken, key: "a", nonce: newNonce()})
			synctest.Wait()
		}
		for range flood + 1 - pending.Max {
			if err := <-results; !errors.Is(err, ErrCrowded) {
				t.Fatalf("a handshake ended with %v", err)
			}
		}
		hello := testHello
		hello.Proof = prove(keys.signer().Secret, edgeLabel, o, rep)
		if err := ws.Write(t.Context(), 2, hello.Append(nil)); err != nil {
			t.Fatalf("the honest edge was dropped: %v", err)
		}
		if err := <-results; err != nil {
			t.Errorf("the honest edge: %v", err)
		}
	})
}

// TestA10_ADoubledOfferIsRefused sends two headers with offers. The relay must refuse the request:
// a proxy may have checked one header, and the relay might read the other.
func TestA10_ADoubledOfferIsRefused(t *testing.T) {
	l, results := serve(t, AcceptConfig{Keys: keysOf(t, ringA)})
	o := offer{versions: spoken, key: "a", nonce: newNonce()}
	client := &http.Client{Transport: &http.Transport{DialContext: l.DialContext}}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://relay/link", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header[headerName] = []string{o.String(), o.String()}
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusBadRequest {
		t.Errorf("status %d", res.StatusCode)
	}
	if got := <-results; got.err == nil {
		t.Error("accepted")
	}
	client.CloseIdleConnections()
}
