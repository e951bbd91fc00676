package gateway

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// TestMain fails when the tests leave goroutines behind.
func TestMain(m *testing.M) {
	code := m.Run()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	if code == 0 && !soon(func() bool { return runtime.NumGoroutine() <= 2 }) {
		fmt.Fprintln(os.Stderr, "goroutines are left:")
		pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
		code = 1
	}
	os.Exit(code)
}

// patience is how long a test waits for an event that must come. It is long, since only a test that
// fails waits that long.
const patience = time.Minute

// soon waits until f returns true, but no longer than the constant patience. It reports whether f
// returned true.
func soon(f func() bool) bool {
	for deadline := time.Now().Add(patience); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	if !soon(f) {
		t.Fatalf("never: %s", what)
	}
}

// fakeUpstream is an Upstream made of functions. Where a function is nil, the fakeUpstream behaves
// as if there were a link, and room for every message.
type fakeUpstream struct {
	open     func(link.Session)
	client   func(link.Client) // called by OpenClient
	enrol    func(link.Client) (again <-chan struct{})
	noSDK    bool // the relay does not know sessions of SDKs
	accept   func(session uint64, payload []byte) bool
	waitRoom func(ctx context.Context, session uint64, size int) bool
	linked   func() (now, ever bool)

	mu       sync.Mutex
	accepted []string
	ended    []uint64
}

var _ Upstream = (*fakeUpstream)(nil)

func (f *fakeUpstream) Open(s link.Session) (told bool) {
	if f.open != nil {
		f.open(s)
	}
	return true
}

func (f *fakeUpstream) OpenClient(c link.Client) (told bool) {
	if f.client != nil {
		f.client(c)
	}
	return true
}

func (f *fakeUpstream) Enrol(c link.Client) (again <-chan struct{}) {
	if f.enrol != nil {
		return f.enrol(c)
	}
	return nil
}

func (f *fakeUpstream) KnowsSDK() bool { return !f.noSDK }

func (f *fakeUpstream) Forget(uint64) {}

func (f *fakeUpstream) Holds(uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.accepted) > 0
}

func (f *fakeUpstream) Accept(session uint64, payload []byte) bool {
	if f.accept != nil && !f.accept(session, payload) {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.accepted = append(f.accepted, string(payload))
	return true
}

func (f *fakeUpstream) WaitRoom(ctx context.Context, session uint64, size int) bool {
	if f.waitRoom != nil {
		return f.waitRoom(ctx, session, size)
	}
	return true
}

func (f *fakeUpstream) End(session uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = append(f.ended, session)
}

func (f *fakeUpstream) Linked() (now, ever bool) {
	if f.linked != nil {
		return f.linked()
	}
	return true, true
}

func (f *fakeUpstream) messages() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.accepted...)
}

func (f *fakeUpstream) ends() []uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]uint64(nil), f.ended...)
}

// gateway is a Server behind a real port. By default, every session is bound to its topics as soon
// as it is opened. If a test sets fakeUpstream.open, that function is called instead.
type gateway struct {
	t      *testing.T
	hub    *mirror
	server *Server
	up     *fakeUpstream
	reg    *prometheus.Registry
	http   *httptest.Server
}

func start(t *testing.T, up *fakeUpstream, change func(*Config)) *gateway {
	t.Helper()
	reg := prometheus.NewRegistry()
	cfg := Config{
		MaxMessage: 64 << 10, MaxSessions: 1000, Queue: 256 << 10, Ping: 50 * time.Second,
		Auth: Auth{Open: true}, Metrics: reg,
	}
	if change != nil {
		change(&cfg)
	}
	hub := newMirror(HubConfig{Metrics: reg})
	if up == nil {
		up = &fakeUpstream{}
	}
	if up.open == nil {
		up.open = func(s link.Session) { bindAll(hub, s) }
	}
	g := &gateway{t: t, hub: hub, server: NewServer(cfg, hub.Hub, up), up: up, reg: reg}
	g.http = httptest.NewServer(g.server)
	t.Cleanup(func() {
		g.server.Close()
		g.http.Close()
	})
	return g
}

// mirror is a Hub with the Feed of a link.
type mirror struct {
	*Hub
	*Feed
}

func newMirror(cfg HubConfig) *mirror {
	m := &mirror{Hub: NewHub(cfg)}
	m.Feed = m.begin()
	return m
}

// begin begins a link. The relay of that link is not given the tables.
func (m *mirror) begin() *Feed {
	return m.Begin(func(link.Session) {}, func(link.Client) {}, func(link.Held) {}, func(link.Keep) {})
}

// LinkDown ends the link and begins the next one at once.
func (m *mirror) LinkDown() {
	m.Down()
	m.Feed = m.begin()
}

// numberOf gives each topic a fixed number.
func numberOf(t protocol.Topic) (n uint64) {
	for _, c := range []byte(t) {
		n = n*131 + uint64(c)
	}
	return n
}

// bindAll binds a new session to its topics, as a relay does.
func bindAll(hub *mirror, s link.Session) {
	opened := link.Opened{Session: s.ID, Confirmed: true}
	for _, topic := range s.Endpoint.Topics(s.User, s.Group) {
		hub.Topic(link.TopicNumber{ID: numberOf(topic), Topic: topic})
		opened.Topics = append(opened.Topics, numberOf(topic))
	}
	hub.Opened(opened)
}

// publish sends a text without a position to a topic.
func (g *gateway) publish(topic protocol.Topic, text string) {
	g.hub.Publication(link.Publication{Topic: numberOf(topic), Payload: []byte(text)})
}

// metric returns the value of a metric. The parameter name is the metric's name without the prefix
// edgerelay_edge_. The parameter label is the value of the metric's label, or "" if the metric has
// no label.
func (g *gateway) metric(name, label string) float64 {
	g.t.Helper()
	families, err := g.reg.Gather()
	if err != nil {
		g.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "edgerelay_edge_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			if labels := m.GetLabel(); len(labels) == 0 && label == "" || len(labels) == 1 && labels[0].GetValue() == label {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	g.t.Fatalf("no metric %s{%s}", name, label)
	return 0
}

func (g *gateway) endsWith(reason Reason) {
	g.t.Helper()
	eventually(g.t, "an end counted as "+reason.String(), func() bool {
		return g.metric("sessions_ended_total", reason.String()) == 1
	})
}

// dial connects with the client of the coder/websocket library.
func (g *gateway) dial(path string, opts *websocket.DialOptions) *websocket.Conn {
	g.t.Helper()
	c, res, err := websocket.Dial(g.t.Context(), "ws"+strings.TrimPrefix(g.http.URL, "http")+path, opts)
	if err != nil {
		g.t.Fatalf("dial %s: %v (%+v)", path, err, res)
	}
	g.t.Cleanup(func() { c.CloseNow() })
	return c
}

func send(t *testing.T, c *websocket.Conn, kind websocket.MessageType, message string) {
	t.Helper()
	if err := c.Write(t.Context(), kind, []byte(message)); err != nil {
		t.Fatal(err)
	}
}

func receive(t *testing.T, c *websocket.Conn) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, b, err := c.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func wantClose(t *testing.T, c *websocket.Conn, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, b, err := c.Read(ctx)
	if got := int(websocket.CloseStatus(err)); got != code {
		t.Fatalf("got message %q, error %v; want close %d", b, err, code)
	}
}

// signToken makes a token of the user sub. The token is valid for the duration ttl.
func signToken(t *testing.T, sub string, ttl time.Duration) string {
	t.Helper()
	text, err := testTokens.Sign(sub, time.Now(), ttl)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// rawClient is a client that sends arbitrary bytes. It has no goroutine.
type rawClient struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

const rawHandshake = "GET %s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

// raw connects a rawClient and awaits its upgrade. It sends the given bytes together with the
// request.
func (g *gateway) raw(path, early string) *rawClient {
	g.t.Helper()
	c := g.rawRequest(path, early)
	res, err := http.ReadResponse(c.r, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		g.t.Fatalf("handshake: %v, %+v", err, res)
	}
	return c
}

func (g *gateway) rawRequest(path, early string) *rawClient {
	g.t.Helper()
	conn, err := net.Dial("tcp", g.http.Listener.Addr().String())
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { conn.Close() })
	c := &rawClient{g.t, conn, bufio.NewReader(conn)}
	c.send(fmt.Sprintf(rawHandshake, path) + early)
	return c
}

func (c *rawClient) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c.Conn, s); err != nil {
		c.t.Fatal(err)
	}
}

// masked encodes a frame of a client with the zero mask.
func masked(first byte, payload string) string {
	f := []byte{first}
	switch n := len(payload); {
	case n < 126:
		f = append(f, 0x80|byte(n))
	case n < 1<<16:
		f = binary.BigEndian.AppendUint16(append(f, 0x80|126), uint16(n))
	default:
		f = binary.BigEndian.AppendUint64(append(f, 0x80|127), uint64(n))
	}
	return string(append(f, 0, 0, 0, 0)) + payload
}

// frame reads one frame of the server.
func (c *rawClient) frame() (first byte, payload string, err error) {
	c.SetReadDeadline(time.Now().Add(patience))
	var h [8]byte
	if _, err := io.ReadFull(c.r, h[:2]); err != nil {
		return 0, "", err
	}
	first = h[0]
	n := uint64(h[1])
	if h[1]&0x80 != 0 {
		return 0, "", errors.New("the server masks")
	}
	switch n {
	case 126:
		_, err = io.ReadFull(c.r, h[:2])
		n = uint64(binary.BigEndian.Uint16(h[:]))
	case 127:
		_, err = io.ReadFull(c.r, h[:8])
		n = binary.BigEndian.Uint64(h[:])
	}
	if err != nil {
		return 0, "", err
	}
	b := make([]byte, n)
	_, err = io.ReadFull(c.r, b)
	return first, string(b), err
}

// wantFrame reads one frame, which must be the given one.
func (c *rawClient) wantFrame(first byte, payload string) {
	c.t.Helper()
	f, p, err := c.frame()
	if err != nil || f != first || p != payload {
		c.t.Fatalf("got frame %#x %.60q, error %v; want %#x %.60q", f, p, err, first, payload)
	}
}

func (c *rawClient) wantCloseFrame(r Reason) {
	c.t.Helper()
	c.wantFrame(closeByte, string(payload(closeFrames[r])))
}

// awaitWritten waits until the queues of all sessions are empty. A client may already have read a
// frame that its queue still counts. If a ping is queued then, the ping seems to wait behind that
// frame, and the client gets more time to answer than a test expects.
func (g *gateway) awaitWritten() {
	g.t.Helper()
	eventually(g.t, "empty queues", func() bool {
		for _, s := range g.hub.living() {
			s.queue.mu.Lock()
			size := s.queue.size
			s.queue.mu.Unlock()
			if size > 0 {
				return false
			}
		}
		return true
	})
}
