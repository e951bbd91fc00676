package edge

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/edge/gateway"
	"github.com/edgerelay/edgerelay/edge/uplink"
	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/memnet"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

func TestThePathOfSDKsIsServed(t *testing.T) {
	e := newEdge(t)
	run(t, e)
	url := "http://" + e.Addr().String() + protocol.SDKPath
	if status, body := get(t, url); status != http.StatusUpgradeRequired {
		t.Errorf("%d %s, want 426", status, body)
	}
	if status, _ := get(t, url+"/"); status != http.StatusNotFound {
		t.Errorf("%d for another path, want 404", status)
	}
}

// linked is a gateway.Server whose Upstream is a Links. The test acts as the connection and as the
// relay of each link.
type linked struct {
	mirrored
	server *gateway.Server
	net    *memnet.Listener
}

func newLinked(t *testing.T) *linked {
	m := newMirrored()
	l := &linked{mirrored: m, net: memnet.Listen(), server: gateway.NewServer(gateway.Config{
		MaxMessage: 1 << 10, MaxSessions: 10_000, Queue: 1 << 16, Auth: gateway.Auth{Open: true},
	}, m.hub, m.links)}
	ctx, cancel := context.WithCancel(context.Background())
	server := &http.Server{Handler: l.server}
	var running sync.WaitGroup
	running.Go(func() { server.Serve(l.net) })
	running.Go(func() { l.server.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		l.net.Close()
		server.Close()
		running.Wait()
	})
	return l
}

// client asks for an upgrade at protocol.SDKPath. If the upgrade succeeds, client sends the message
// as text. It returns the connection and the status of the answer.
func (l *linked) client(t *testing.T, message string) (c io.ReadWriteCloser, status int) {
	conn, err := l.net.Dial(t.Context())
	if err != nil {
		t.Error(err)
		return nil, 0
	}
	io.WriteString(conn, "GET "+protocol.SDKPath+" HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Error(err)
		return conn, 0
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		io.WriteString(conn, "\x81"+string([]byte{0x80 | byte(len(message))})+"\x00\x00\x00\x00"+message)
	}
	return conn, res.StatusCode
}

// TestP9_NoRelayHearsOfASDKThatItCannotKnow begins and ends links while clients of SDKs connect,
// speak and go. Some of the links have link.FeatureSDK. On a link without the feature, nothing may
// be sent about these clients. On a link with the feature, a session's messages and its end must
// come after its Client.
func TestP9_NoRelayHearsOfASDKThatItCannotKnow(t *testing.T) {
	l := newLinked(t)
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for range 3 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(rand.N(20 * time.Millisecond)):
				}
				c, _ := l.client(t, "connect\nbehind")
				time.Sleep(rand.N(2 * time.Millisecond))
				c.Close()
			}
		})
	}
	with, without, refused, told := 0, 0, 0, 0
	enough := func() bool { return with >= 20 && without >= 20 && refused >= 5 && told >= 200 }
	for end := time.Now().Add(time.Minute); !enough() && time.Now().Before(end); {
		features := link.FeatureSDK * uint64(rand.IntN(2))
		k := uplink.NewLink(l.links, features, func() {})
		if k == nil {
			if features != 0 {
				t.Fatal("a link with the feature does not begin")
			}
			features, refused = link.FeatureSDK, refused+1
			k = uplink.NewLink(l.links, features, func() {})
		}
		if features == 0 {
			without++
		} else {
			with++
		}
		r := knowing{link: k, sdk: features != 0, known: map[uint64]bool{}}
		for range rand.IntN(20) {
			r.take(t)
			time.Sleep(rand.N(time.Millisecond))
		}
		told += len(r.known)
		k.Down()
	}
	close(stop)
	clients.Wait()
	if !enough() {
		t.Errorf("%d links with the feature, %d without, %d refused, %d sessions told", with, without, refused, told)
	}
}

// knowing is a relay. It fails the test if a frame names a session for which no Client frame came
// before. It confirms each connect, and acknowledges everything.
type knowing struct {
	link  *uplink.Link
	sdk   bool // the link has link.FeatureSDK
	known map[uint64]bool
}

// take receives all that the edge sends now, and answers it.
func (r *knowing) take(t *testing.T) {
	t.Helper()
	var confirmed []link.Confirmed
	var through uint64
	for batch := r.link.Fill(nil); len(batch) > 0; {
		typ, body, rest, err := link.Next(batch)
		if err != nil {
			t.Fatal(err)
		}
		if batch = rest; len(batch) == 0 {
			batch = r.link.Fill(nil)
		}
		var session uint64
		switch typ {
		case link.TypeClient:
			c, err := link.ParseClient(bytes.Clone(body))
			if session = c.ID; err != nil || !r.sdk {
				t.Fatalf("%+v on a link without the feature: %v", c, err)
			}
			r.known[c.ID] = true
		case link.TypeMessage:
			m, _ := link.ParseMessage(body)
			if session, through = m.Session, m.Number; string(m.Payload) == "connect" {
				confirmed = append(confirmed, link.Confirmed{Number: m.Number, Session: m.Session, User: "u"})
			}
		case link.TypeEnd:
			e, _ := link.ParseEnd(body)
			session, through = e.Session, e.Number
		case link.TypeSynced:
			continue
		}
		if !r.known[session] {
			t.Fatalf("%v of session %d, which was not told", typ, session)
		}
	}
	for _, c := range confirmed {
		tell(t, r.link, c)
	}
	if through > 0 {
		tell(t, r.link, link.Ack{Through: through})
	}
}

// tell gives a frame of the relay to a link.
func tell(t *testing.T, l *uplink.Link, frame interface{ Append([]byte) []byte }) {
	t.Helper()
	typ, body, _, err := link.Next(frame.Append(nil))
	if err == nil {
		err = l.HandleFrame(typ, body)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestP8_GuestsWithoutALinkLeaveNothing checks clients that come while there is no link. Such a
// client must be upgraded if the last relay knew SDKs. It must leave nothing in the tables or in
// the log. When it has gone, it must not keep the edge from a link without link.FeatureSDK.
func TestP8_GuestsWithoutALinkLeaveNothing(t *testing.T) {
	l := newLinked(t)
	if _, status := l.client(t, "connect"); status != http.StatusServiceUnavailable {
		t.Errorf("%d before the first link, want 503", status)
	}
	uplink.NewLink(l.links, 0, func() {}).Down()
	if _, status := l.client(t, "connect"); status != http.StatusServiceUnavailable {
		t.Errorf("%d after a relay without the feature, want 503", status)
	}
	uplink.NewLink(l.links, link.FeatureSDK, func() {}).Down()
	for range 100 {
		c, status := l.client(t, "connect")
		if status != http.StatusSwitchingProtocols {
			t.Errorf("%d, want 101", status)
		}
		c.Close()
	}
	now, cancel := context.WithCancel(t.Context())
	cancel()
	wantTables(t, l.mirrored, 0, 0)
	if left := l.links.Flush(now); left != 0 {
		t.Errorf("%d lines are in the log", left)
	}
	old := uplink.NewLink(l.links, 0, func() {})
	if old == nil {
		t.Fatal("guests that no relay knows keep the edge from a link")
	}
	old.Down()
}
