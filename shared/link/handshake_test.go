package link

import (
	"bufio"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/edgerelay/edgerelay/shared/memnet"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

const (
	ringA  = "a:" + secretA
	ringB  = "b:" + secretB
	ringAB = ringA + "," + ringB
	ringBA = ringB + "," + ringA
)

var (
	testHello   = Hello{Features: 0b0111, Generation: 1, LogSize: 1 << 20, Instance: protocol.Instance{1}, Node: "edge-1", Build: "test"}
	testWelcome = Welcome{Features: 0b1110, Instance: protocol.Instance{2}, Broker: "memory", Relay: "relay-1", Build: "test"}
)

type accepted struct {
	conn  *Conn
	hello Hello
	err   error
}

// serve accepts links on a network in memory. The caller must receive all results.
func serve(t testing.TB, cfg AcceptConfig) (*memnet.Listener, <-chan accepted) {
	t.Helper()
	if cfg.Welcome == nil {
		cfg.Welcome = func(Hello) (Welcome, error) { return testWelcome, nil }
	}
	l := memnet.Listen()
	results := make(chan accepted, 16)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, hello, err := Accept(w, r, cfg)
		results <- accepted{conn, hello, err}
	})}
	stopped := make(chan struct{})
	go func() { defer close(stopped); server.Serve(l) }()
	t.Cleanup(func() { server.Close(); <-stopped })
	return l, results
}

func dialTo(ctx context.Context, l *memnet.Listener, keys Keys) (*Conn, Welcome, error) {
	return Dial(ctx, DialConfig{URL: "ws://relay:9000", Keys: keys, Hello: testHello, NetDial: l.DialContext})
}

func TestHandshake(t *testing.T) {
	for _, tt := range []struct {
		name        string
		edge, relay string
		offered     Versions
		spoken      Versions
		edgeErr     error // nil: the edge's side succeeds
		relayErr    error // nil: the same as edgeErr
		version     uint64
	}{
		{name: "one key", edge: ringA, relay: ringA, version: 1},
		{name: "rotation: edge first", edge: ringBA, relay: ringAB, version: 1},
		{name: "rotation: relay first", edge: ringAB, relay: ringBA, version: 1},
		{name: "rotation: old key gone at the relay", edge: ringBA, relay: ringB, version: 1},
		{name: "unknown key id", edge: ringA, relay: ringB, edgeErr: ErrKeyRefused},
		{name: "relay signs with an unknown key", edge: ringA, relay: ringBA, edgeErr: ErrKeyRefused, relayErr: io.EOF},
		{name: "same id, other secret", edge: ringA, relay: "a:" + secretB, edgeErr: ErrKeyRefused, relayErr: io.EOF},
		{name: "no key at the relay", edge: ringA, relay: "", edgeErr: ErrKeyRefused},
		{name: "newer relay", edge: ringA, relay: ringA, spoken: Versions{1, 2}, version: 1},
		{name: "both newer", edge: ringA, relay: ringA, offered: Versions{2, 4}, spoken: Versions{1, 3}, version: 3},
		{name: "relay too new", edge: ringA, relay: ringA, spoken: Versions{2, 3}, edgeErr: ErrVersion},
		{name: "edge too new", edge: ringA, relay: ringA, offered: Versions{2, 3}, edgeErr: ErrVersion},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var relayKeys Keys
			if tt.relay != "" {
				relayKeys = keysOf(t, tt.relay)
			}
			l, results := serve(t, AcceptConfig{Keys: relayKeys, Versions: tt.spoken})
			conn, welcome, err := Dial(t.Context(), DialConfig{
				URL: "ws://relay:9000", Keys: keysOf(t, tt.edge), Hello: testHello, NetDial: l.DialContext, Versions: tt.offered,
			})
			got := <-results
			if tt.edgeErr != nil {
				wantRelay := tt.relayErr
				if wantRelay == nil {
					wantRelay = tt.edgeErr
				}
				if tt.edgeErr == ErrKeyRefused && !strings.Contains(err.Error(), "compare LINK_KEYS") {
					t.Errorf("the edge's error names no variable: %v", err)
				}
				if !errors.Is(err, tt.edgeErr) || !errors.Is(got.err, wantRelay) {
					t.Fatalf("edge: %v, want %v; relay: %v, want %v", err, tt.edgeErr, got.err, wantRelay)
				}
				return
			}
			if err != nil || got.err != nil {
				t.Fatalf("edge: %v, relay: %v", err, got.err)
			}
			defer conn.CloseNow()
			defer got.conn.CloseNow()
			if conn.Version() != tt.version || got.conn.Version() != tt.version {
				t.Errorf("versions %d and %d, want %d", conn.Version(), got.conn.Version(), tt.version)
			}
			if conn.Features() != 0b0110 || got.conn.Features() != 0b0110 || welcome.Features != 0b0110 {
				t.Errorf("features %b and %b, want those of both", conn.Features(), got.conn.Features())
			}
			if got.hello.Node != "edge-1" || got.hello.Instance != testHello.Instance || welcome.Relay != "relay-1" {
				t.Errorf("hello %+v, welcome %+v", got.hello, welcome)
			}
		})
	}
}

// rawEdge does the WebSocket part of an edge's handshake, without Dial's checks of the reply.
func rawEdge(t *testing.T, l *memnet.Listener, o offer) (*websocket.Conn, reply) {
	t.Helper()
	ws, resp, err := websocket.Dial(t.Context(), "ws://relay/link", &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: &http.Transport{DialContext: l.DialContext}},
		HTTPHeader: http.Header{headerName: {o.String()}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ws.CloseNow() })
	r, err := parseReply(resp.Header.Get(headerName))
	if err != nil {
		t.Fatal(err)
	}
	return ws, r
}

// TestWrongHello sends a wrong first batch, in most cases with a wrong proof. The batch must be
// answered by Bye alone, and Welcome must not be called.
func TestWrongHello(t *testing.T) {
	keys := keysOf(t, ringA)
	secret := keys.signer().Secret
	o := offer{versions: spoken, key: "a", nonce: newNonce()}
	welcomed := false
	l, results := serve(t, AcceptConfig{Keys: keys, Welcome: func(Hello) (Welcome, error) { welcomed = true; return testWelcome, nil }})

	ws, earlier := rawEdge(t, l, o)
	replayed := testHello
	replayed.Proof = prove(secret, edgeLabel, o, earlier)
	ws.CloseNow()
	<-results

	for _, tt := range []struct {
		name  string
		batch func(reply) []byte
		code  Code
	}{
		{"flipped bit", func(r reply) []byte {
			h := testHello
			h.Proof = prove(secret, edgeLabel, o, r)
			h.Proof[31] ^= 1
			return h.Append(nil)
		}, CodeAuth},
		{"hello of an earlier link, same nonce", func(reply) []byte { return replayed.Append(nil) }, CodeAuth},
		{"the relay's own proof", func(r reply) []byte {
			h := testHello
			h.Proof = prove(secret, relayLabel, o, r)
			return h.Append(nil)
		}, CodeAuth},
		{"no proof", func(reply) []byte { return testHello.Append(nil) }, CodeAuth},
		{"wrong proof before garbage", func(reply) []byte { return []byte{byte(TypeHello), 3, 1, 0xff, 0xff} }, CodeAuth},
		{"not a hello", func(reply) []byte { return appendPing(nil, 1) }, CodeProtocol},
		{"a frame behind hello", func(r reply) []byte {
			h := testHello
			h.Proof = prove(secret, edgeLabel, o, r)
			return appendPing(h.Append(nil), 1)
		}, CodeProtocol},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ws, r := rawEdge(t, l, o)
			if err := ws.Write(t.Context(), websocket.MessageBinary, tt.batch(r)); err != nil {
				t.Fatal(err)
			}
			_, batch, err := ws.Read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			typ, body, remainder, err := Next(batch)
			if err != nil || typ != TypeBye || len(remainder) > 0 {
				t.Fatalf("%v %v, %d bytes behind", typ, err, len(remainder))
			}
			if y, err := ParseBye(body); err != nil || y.Code != tt.code {
				t.Errorf("bye %+v, want %v", y, tt.code)
			}
			if _, _, err := ws.Read(t.Context()); err == nil {
				t.Error("something follows bye")
			}
			got := <-results
			var end *CloseError
			if !errors.As(got.err, &end) || end.Code != tt.code || tt.code == CodeAuth != errors.Is(got.err, ErrKeyRefused) {
				t.Errorf("relay: %v", got.err)
			}
		})
	}
	if welcomed {
		t.Error("the relay looked at a hello that was not proved")
	}
}

// TestFakeRelay checks that an edge sends nothing but its request to a peer that does not prove a
// key.
func TestFakeRelay(t *testing.T) {
	keys := keysOf(t, ringA)
	l, results := serve(t, AcceptConfig{Keys: keys})
	ws, recorded := rawEdge(t, l, offer{versions: spoken, key: "a", nonce: newNonce()})
	ws.CloseNow()
	<-results

	for name, header := range map[string]string{
		"no header":         "",
		"recorded reply":    recorded.String(),
		"random proof":      reply{1, "a", newNonce(), newNonce()}.String(),
		"unknown key":       reply{1, "z", newNonce(), newNonce()}.String(),
		"version not asked": reply{2, "a", newNonce(), newNonce()}.String(),
		"malformed":         "version=1, key=a",
	} {
		t.Run(name, func(t *testing.T) {
			near, far := memnet.Pipe()
			leaked := make(chan int64, 1)
			go func() { leaked <- fakeRelay(far, header) }()
			_, _, err := Dial(t.Context(), DialConfig{
				URL: "ws://relay", Keys: keys, Hello: testHello,
				NetDial: func(context.Context, string, string) (net.Conn, error) { return near, nil },
			})
			if err == nil {
				t.Fatal("the edge took it for a relay")
			}
			if n := <-leaked; n != 0 {
				t.Errorf("the edge sent %d bytes (%v)", n, err)
			}
		})
	}
}

// fakeRelay answers an upgrade with status 101, and with the given Edgerelay-Link header. It
// returns the number of bytes that came after the request, or -1 if no request came.
func fakeRelay(conn net.Conn, header string) int64 {
	defer conn.Close()
	br := bufio.NewReader(conn)
	req, err := http.ReadRequest(br)
	if err != nil {
		return -1
	}
	sum := sha1.Sum([]byte(req.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n%s: %s\r\n\r\n",
		base64.StdEncoding.EncodeToString(sum[:]), headerName, header)
	n, _ := io.Copy(io.Discard, br)
	return n
}

func TestRefusedRequests(t *testing.T) {
	l, results := serve(t, AcceptConfig{Keys: keysOf(t, ringA), Versions: Versions{3, 4}})
	client := &http.Client{Transport: &http.Transport{DialContext: l.DialContext, DisableKeepAlives: true}}
	offered := func(v Versions, key string) string { return offer{v, key, newNonce()}.String() }
	for _, tt := range []struct {
		name, header string
		status       int
		text         string
	}{
		{"no header", "", 400, "malformed"},
		{"malformed header", "versions=1", 400, "malformed"},
		{"unknown key", offered(Versions{3, 3}, "b"), 401, `the relay has no key "b": compare LINK_KEYS`},
		{"no common version", offered(Versions{1, 2}, "a"), 426, "edge speaks 1-2, relay 3-4"},
		{"no upgrade", offered(Versions{3, 3}, "a"), 426, "Upgrade"},
	} {
		req, _ := http.NewRequestWithContext(t.Context(), "GET", "http://relay/link", nil)
		req.Header.Set(headerName, tt.header)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != tt.status || !strings.Contains(string(text), tt.text) || strings.Count(string(text), "\n") != 1 {
			t.Errorf("%s: %d %q", tt.name, resp.StatusCode, text)
		}
		if got := <-results; got.err == nil {
			t.Errorf("%s: accepted", tt.name)
		}
	}
}

// TestPending checks that the relay bounds unfinished handshakes in time and in number. These
// bounds must not keep out an edge with a key.
func TestPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := keysOf(t, ringA)
		l, results := serve(t, AcceptConfig{Keys: keys, Pending: &Pending{Max: 1}})
		start := time.Now()
		// This edge never says Hello.
		rawEdge(t, l, offer{versions: spoken, key: "a", nonce: newNonce()})
		synctest.Wait()
		conn, _, err := dialTo(t.Context(), l, keys)
		if err != nil {
			t.Fatal(err)
		}
		conn.CloseNow()
		for range 2 {
			if got := <-results; got.err == nil {
				got.conn.CloseNow()
			}
		}
		if took := time.Since(start); took >= handshakeTimeout {
			t.Errorf("the silent one was dropped after %v", took)
		}

		start = time.Now()
		rawEdge(t, l, offer{versions: spoken, key: "a", nonce: newNonce()})
		got := <-results
		if took := time.Since(start); got.err == nil || took != handshakeTimeout {
			t.Fatalf("silent edge: %v after %v", got.err, took)
		}
	})
}

func TestWelcomeRefuses(t *testing.T) {
	keys := keysOf(t, ringA)
	l, results := serve(t, AcceptConfig{Keys: keys, Welcome: func(Hello) (Welcome, error) {
		return Welcome{}, &CloseError{Code: CodeLimit, Text: "log too large"}
	}})
	_, _, err := dialTo(t.Context(), l, keys)
	var end *CloseError
	if !errors.As(err, &end) || end.Code != CodeLimit || end.Text != "log too large" || !end.Remote {
		t.Errorf("edge: %v", err)
	}
	if got := <-results; !errors.As(got.err, &end) || end.Code != CodeLimit || end.Remote {
		t.Errorf("relay: %v", got.err)
	}
}

// TestDialEnds checks that Dial returns at the end of ctx if the relay never answers, and that ctx
// has no effect after the handshake.
func TestDialEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := keysOf(t, ringA)
		silent := memnet.Listen()
		defer silent.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		start := time.Now()
		if _, _, err := dialTo(ctx, silent, keys); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 3*time.Second {
			t.Errorf("silent relay: %v after %v", err, time.Since(start))
		}
		silent.CutAll()

		l, results := serve(t, AcceptConfig{Keys: keys})
		ctx, cancel = context.WithCancel(t.Context())
		edge, _, err := dialTo(ctx, l, keys)
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		relay := (<-results).conn
		e, r := start2(t, edge, relay)
		e.send(Message{Number: 1, Session: 1, Payload: []byte("x")}.Append(nil))
		r.await(t, 1)
		edge.Bye(CodeNormal, "")
		e.wait(t)
		r.wait(t)
	})
}

// TestTLS checks that a link over wss carries frames, and counts their bytes and batches.
func TestTLS(t *testing.T) {
	keys := keysOf(t, ringA)
	results := make(chan accepted, 1)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, hello, err := Accept(w, r, AcceptConfig{Keys: keys, Welcome: func(Hello) (Welcome, error) { return testWelcome, nil }})
		results <- accepted{conn, hello, err}
	}))
	defer server.Close()
	edge, _, err := Dial(t.Context(), DialConfig{
		URL: "wss" + strings.TrimPrefix(server.URL, "https"), Keys: keys, Hello: testHello,
		TLS: server.Client().Transport.(*http.Transport).TLSClientConfig,
	})
	if err != nil {
		t.Fatal(err)
	}
	e, r := start2(t, edge, (<-results).conn)
	payload := strings.Repeat("x", 200_000)
	e.send(Message{Number: 1, Session: 1, Payload: []byte(payload)}.Append(nil))
	if got := r.await(t, 1)[0].(Message); string(got.Payload) != payload {
		t.Error("the payload differs")
	}
	edge.Bye(CodeNormal, "")
	e.wait(t)
	r.wait(t)
	// Two of the batches are the message and the Bye. If the transfer takes long, there are Pings
	// and Pongs too. The writer counts a batch after the write, and Run has returned by now.
	s, got := edge.Stats(), r.conn.Stats().ReceivedBatches
	if s.SentBytes <= 200_000 || s.SentBatches < 2 || s.SentBatches != got {
		t.Errorf("stats %+v, and the relay received %d batches", s, got)
	}
}

func TestLinkURL(t *testing.T) {
	for in, want := range map[string]string{
		"ws://host:9000":      "ws://host:9000/link",
		"wss://host/":         "wss://host/link",
		"wss://host/far/link": "wss://host/far/link",
		"http://host":         "",
		"host:9000":           "",
		"ws://":               "",
		"":                    "",
	} {
		if got, err := linkURL(in); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
}

// TestADialThatIsGivenUpLeavesNothing gives up dials in three states: the network has not
// connected, the peer says nothing, or the peer should speak TLS and says nothing. No connection
// and no goroutine may be left.
func TestADialThatIsGivenUpLeavesNothing(t *testing.T) {
	keys := keysOf(t, ringA)
	for name, c := range map[string]struct {
		url  string
		dial func(l *memnet.Listener) func(ctx context.Context, network, addr string) (net.Conn, error)
	}{
		"no connection": {"ws://relay", func(*memnet.Listener) func(context.Context, string, string) (net.Conn, error) {
			return func(ctx context.Context, _, _ string) (net.Conn, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}
		}},
		"no word":        {"ws://relay", func(l *memnet.Listener) func(context.Context, string, string) (net.Conn, error) { return l.DialContext }},
		"no word of TLS": {"wss://relay", func(l *memnet.Listener) func(context.Context, string, string) (net.Conn, error) { return l.DialContext }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := memnet.Listen()
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if _, _, err := Dial(ctx, DialConfig{URL: c.url, Keys: keys, Hello: testHello, NetDial: c.dial(l)}); err == nil {
					t.Error("no error")
				}
				synctest.Wait()
				for _, conn := range l.Conns() {
					if _, err := conn.Write([]byte("x")); err == nil {
						t.Error("the connection is open")
					}
				}
			})
		})
	}
}
