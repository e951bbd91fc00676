package downlink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/prometheus/client_golang/prometheus"
)

// routerLink has the methods of the router's Link, except Moves and SDK.
type routerLink interface {
	Append(frames []byte)
	Queued() int
	Close(code link.Code, text string)
	String() string
}

var _ routerLink = (*Link)(nil)

// patience bounds a wait of a test. It is much longer than such a wait should take.
const patience = 20 * time.Second

type gone struct {
	link *Link
	last time.Time
	err  error
}

// recorder is a Handler that hands everything to the test.
type recorder struct {
	refuse   error
	up       chan *Link
	down     chan gone
	writable chan *Link

	mu     sync.Mutex // guards the following
	frames map[*Link][]any
	size   int
	came   chan struct{} // tells that frames came; one slot
}

func newRecorder() *recorder {
	return &recorder{
		up: make(chan *Link, 16), down: make(chan gone, 16), writable: make(chan *Link, 16),
		frames: make(map[*Link][]any), came: make(chan struct{}, 1),
	}
}

func (r *recorder) Connected(l *Link, h link.Hello) error {
	if r.refuse != nil {
		return r.refuse
	}
	r.up <- l
	return nil
}

// Received keeps the frames except Moved, which edges of these tests send first.
func (r *recorder) Received(l *Link, frames []any, size int) error {
	r.mu.Lock()
	frames = slices.DeleteFunc(frames, func(f any) bool { return f == any(link.Moved{}) })
	r.frames[l] = append(r.frames[l], frames...)
	r.size += size
	r.mu.Unlock()
	select {
	case r.came <- struct{}{}:
	default:
	}
	return nil
}

func (r *recorder) Writable(l *Link)                                { r.writable <- l }
func (r *recorder) Disconnected(l *Link, last time.Time, err error) { r.down <- gone{l, last, err} }

func (r *recorder) await(t *testing.T, l *Link, count int) []any {
	t.Helper()
	deadline := time.After(patience)
	for {
		r.mu.Lock()
		frames := r.frames[l]
		r.mu.Unlock()
		if len(frames) >= count {
			return frames
		}
		select {
		case <-r.came:
		case <-deadline:
			t.Fatalf("%d of %d frames", len(frames), count)
		}
	}
}

func recv[T any](t *testing.T, what string, ch <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(patience):
		t.Fatalf("no %s", what)
	}
	return v
}

// edge is the peer of a Link. If the field stop is not nil, the edge handles no frame until that
// channel is closed.
type edge struct {
	conn *link.Conn
	end  chan error
	in   chan []byte // bodies of the frames that came
	stop chan struct{}
	out  chan []byte
}

func (e *edge) Fill(batch []byte) []byte {
	for {
		select {
		case f := <-e.out:
			batch = append(batch, f...)
		default:
			return batch
		}
	}
}

func (e *edge) HandleFrame(t link.Type, body []byte) error {
	if e.stop != nil {
		<-e.stop
	}
	e.in <- bytes.Clone(body)
	return nil
}

func (e *edge) EndBatch() error { return nil }

func (e *edge) send(frames ...[]byte) {
	e.out <- bytes.Join(frames, nil)
	e.conn.Wake()
}

func testKeys(t *testing.T) (k link.Keys) {
	t.Helper()
	if err := k.UnmarshalText([]byte("k1:0123456789abcdef")); err != nil {
		t.Fatal(err)
	}
	return k
}

type fixture struct {
	server  *Server
	handler *recorder
	url     string
	metrics *prometheus.Registry
}

func listen(t *testing.T, buffer int) *fixture {
	t.Helper()
	f := &fixture{handler: newRecorder(), metrics: prometheus.NewRegistry()}
	f.server = NewServer(Config{
		Keys: testKeys(t), Instance: protocol.Instance{9}, Name: "relay-1", Build: "test",
		Broker: func() string { return "memory" }, Metrics: f.metrics, Buffer: buffer,
	}, f.handler)
	http := httptest.NewServer(f.server)
	f.url = "ws" + strings.TrimPrefix(http.URL, "http")
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		f.server.Close(ctx)
		http.Close()
	})
	return f
}

// dial makes a link and returns its edge after the handshake. If the argument stop is not nil, the
// edge handles no frame until that channel is closed.
func (f *fixture) dial(t *testing.T, generation uint64, stop chan struct{}) (*edge, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, welcome, err := link.Dial(ctx, link.DialConfig{URL: f.url, Keys: testKeys(t), Hello: link.Hello{
		Generation: generation, LogSize: 1 << 20, Instance: protocol.Instance{byte(max(generation, 1))}, Node: "edge-1",
	}})
	if err != nil {
		return nil, err
	}
	if welcome.Instance != (protocol.Instance{9}) || welcome.Broker != "memory" || welcome.Relay != "relay-1" {
		t.Errorf("welcome %+v", welcome)
	}
	e := &edge{conn: conn, end: make(chan error, 1), in: make(chan []byte, 1<<14), out: make(chan []byte, 16), stop: stop}
	go func() { e.end <- conn.Run(context.Background(), e, e) }()
	t.Cleanup(conn.CloseNow)
	return e, nil
}

func (f *fixture) link(t *testing.T, generation uint64, stop chan struct{}) (*edge, *Link) {
	t.Helper()
	e, err := f.dial(t, generation, stop)
	if err != nil {
		t.Fatal(err)
	}
	e.send(link.Moved{}.Append(nil))
	return e, f.begun(t)
}

// begun waits for the next link of which the handler is told, and until that link has begun.
func (f *fixture) begun(t *testing.T) *Link {
	t.Helper()
	l := recv(t, "link", f.handler.up)
	for deadline := time.Now().Add(patience); !l.Began(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("the link does not begin")
		}
	}
	return l
}

func ended(t *testing.T, err error, code link.Code, remote bool) {
	t.Helper()
	var end *link.CloseError
	if !errors.As(err, &end) || end.Code != code || end.Remote != remote {
		t.Errorf("ended with %v, want %v, remote %v", err, code, remote)
	}
}

// series returns the value of the counter or gauge with the given name and values of labels. If no
// values are given, series returns the sum of all series of that name.
func (f *fixture) series(t *testing.T, name string, labels ...string) (v float64) {
	t.Helper()
	families, err := f.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			var values []string
			for _, l := range m.GetLabel() {
				values = append(values, l.GetValue())
			}
			if family.GetName() == name && (len(labels) == 0 || reflect.DeepEqual(values, labels)) {
				v += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return v
}

// awaitSeries waits until a counter or gauge has the value want. The server changes them beside the
// calls of the handler, so a test that looked once could be too early.
func (f *fixture) awaitSeries(t *testing.T, want float64, name string, labels ...string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		got := f.series(t, name, labels...)
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s %v is %v, want %v", name, labels, got, want)
		}
		runtime.Gosched()
	}
}

func TestFramesUp(t *testing.T) {
	f := listen(t, 0)
	e, l := f.link(t, 7, nil)
	if want := "edge-1 07000000000000000000000000000000 #7"; l.String() != want {
		t.Errorf("name %q, want %q", l, want)
	}
	want := []any{
		link.Session{ID: 1, Endpoint: protocol.EndpointChannel, User: "1"},
		link.Held{Topic: "all", Sessions: []uint64{1}},
		link.Synced{First: 1, Last: 0, Sessions: 1, Held: 1},
		link.Message{Number: 1, Session: 1, Payload: []byte("first")},
		link.Message{Number: 2, Session: 1, Payload: []byte("second")},
		link.End{Number: 3, Session: 1},
	}
	var batch []byte
	for _, frame := range want {
		batch = frame.(interface{ Append([]byte) []byte }).Append(batch)
	}
	e.send(batch)
	f.handler.await(t, l, len(want))
	// This message overwrites the reader's buffer. The frames that were handed on already must not
	// change.
	third := link.Message{Number: 4, Session: 1, Payload: bytes.Repeat([]byte("z"), 500)}
	e.send(third.Append(nil))
	want = append(want, third)
	if got := f.handler.await(t, l, len(want)); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	e.conn.Bye(link.CodeNormal, "done")
	g := recv(t, "end", f.handler.down)
	ended(t, g.err, link.CodeNormal, true)
	if g.link != l || time.Since(g.last) > patience || g.last.IsZero() {
		t.Errorf("end of %v, last received %v", g.link, g.last)
	}
	l.Append(link.Untopic{ID: 1}.Append(nil)) // has no effect, and does not panic
	if l.Queued() != 0 {
		t.Error("a link that ended queues")
	}
	f.awaitSeries(t, 1, "edgerelay_relay_link_ends_total", "edge", "normal")
}

func TestFramesDown(t *testing.T) {
	f := listen(t, 0)
	e, l := f.link(t, 1, nil)
	const count = 3000
	for i := range count {
		l.Append(link.Publication{Topic: uint64(i), Payload: bytes.Repeat([]byte("x"), i%300)}.Append(nil))
	}
	large := link.Publication{Topic: count, Payload: bytes.Repeat([]byte("y"), 3<<20)}.Append(nil)
	// These are two frames in one call, one of them over the chunk size.
	l.Append(link.Publication{Topic: count + 1}.Append(large))
	for i := range count + 2 {
		p, err := link.ParsePublication(recv(t, "publication", e.in))
		if err != nil || p.Topic != uint64(i) {
			t.Fatalf("publication %d: %d, %v", i, p.Topic, err)
		}
	}
	l.Append(link.Publication{Topic: 1}.Append(nil))
	l.Close(link.CodeSuperseded, "later link") // Bye goes behind the queued frames
	l.Append(link.Publication{Topic: 2}.Append(nil))
	ended(t, recv(t, "end", e.end), link.CodeSuperseded, true)
	ended(t, recv(t, "end", f.handler.down).err, link.CodeSuperseded, false)
	if len(e.in) != 1 {
		t.Errorf("%d publications around Close, want the one before", len(e.in))
	}
}

// TestRelayFrames sends frames that are malformed, or that only a relay may send. Each must end the
// link.
func TestRelayFrames(t *testing.T) {
	f := listen(t, 0)
	for _, frame := range [][]byte{
		link.Ack{Through: 1}.Append(nil), link.Publication{}.Append(nil), link.Status{}.Append(nil), link.Untopic{}.Append(nil),
		link.Digest{}.Append(nil), link.Answer{}.Append(nil), {byte(link.TypeMessage), 1, 0xff}, {0x7f, 0},
	} {
		e, l := f.link(t, 1, nil)
		e.send(link.End{Number: 1}.Append(nil), frame)
		ended(t, recv(t, "end", e.end), link.CodeProtocol, true)
		ended(t, recv(t, "end", f.handler.down).err, link.CodeProtocol, false)
		f.handler.mu.Lock()
		if got := f.handler.frames[l]; len(got) > 0 {
			t.Errorf("%x: %v was handled", frame, got)
		}
		f.handler.mu.Unlock()
	}
}

// TestStalledEdge stops reading at one of two edges. The other edge must still get its frames. Then
// the first edge reads again. Its link must be reported as writable, and the edge must get the
// queued frames.
func TestStalledEdge(t *testing.T) {
	const buffer = 4 << 20
	f := listen(t, buffer)
	stop := make(chan struct{})
	slow, slowLink := f.link(t, 1, stop)
	fast, l := f.link(t, 2, nil)

	frame := link.Publication{Topic: 1, Payload: bytes.Repeat([]byte("x"), 60_000)}.Append(nil)
	sent := 0
	// Both Queued and the metric must reach the size in the constant buffer. They may differ, since
	// the kernel takes bytes at any time.
	full := func() bool {
		const queued = "edgerelay_relay_link_queued_bytes"
		return slowLink.Queued() >= buffer && f.series(t, queued) >= buffer
	}
	for deadline := time.Now().Add(patience); !full(); sent++ {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes queued after %d frames", slowLink.Queued(), sent)
		}
		slowLink.Append(frame)
		l.Append(frame)
		recv(t, "publication for the other edge", fast.in)
	}
	close(stop)
	// The link may have been reported as writable earlier, when the kernel's buffers took what was
	// queued. Such reports are skipped.
	for recv(t, "writable", f.handler.writable) != slowLink || slowLink.Queued() >= buffer/2 {
	}
	for range sent {
		recv(t, "publication", slow.in)
	}
}

// TestP8_AnOverrunLinkIsClosed queues frames for an edge that reads nothing. The link must be
// closed with CodeLimit, and its queue must not exceed hardLimit times Config.Buffer.
func TestP8_AnOverrunLinkIsClosed(t *testing.T) {
	f := listen(t, 256<<10)
	stop := make(chan struct{})
	slow, l := f.link(t, 1, stop)
	defer close(stop)
	frame := link.Publication{Payload: bytes.Repeat([]byte("x"), 60_000)}.Append(nil)
	for range 400 {
		l.Append(frame)
		if q := l.Queued(); q > hardLimit*256<<10 {
			t.Fatalf("%d bytes queued", q)
		}
	}
	ended(t, recv(t, "end", f.handler.down).err, link.CodeLimit, false)
	slow.conn.CloseNow()
}

func TestHandlerRefuses(t *testing.T) {
	for _, tt := range []struct {
		err  error
		code link.Code
	}{
		{errors.New("full"), link.CodeLimit},
		{fmt.Errorf("log: %w", &link.CloseError{Code: link.CodeProtocol, Text: "log too large"}), link.CodeProtocol},
	} {
		f := listen(t, 0)
		f.handler.refuse = tt.err
		e, err := f.dial(t, 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		e.send(link.Moved{}.Append(nil))
		ended(t, recv(t, "end", e.end), tt.code, true)
		if err := f.server.Close(t.Context()); err != nil { // waits until the link has ended
			t.Fatal(err)
		}
		if len(f.handler.down) != 0 {
			t.Error("Disconnected was called for a refused link")
		}
	}
}

func TestRefused(t *testing.T) {
	f := listen(t, 0)
	var other link.Keys
	if err := other.UnmarshalText([]byte("k2:0123456789abcdef")); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		cfg  link.DialConfig
		want error // nil: any error
	}{
		{"key", link.DialConfig{Keys: other, Hello: link.Hello{Instance: protocol.Instance{1}}}, link.ErrKeyRefused},
		{"version", link.DialConfig{Keys: testKeys(t), Versions: link.Versions{Min: 2, Max: 2}}, link.ErrVersion},
		{"broken", link.DialConfig{Keys: testKeys(t)}, nil}, // no instance
	} {
		tt.cfg.URL = f.url
		if _, _, err := link.Dial(t.Context(), tt.cfg); err == nil || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
		f.awaitSeries(t, 1, "edgerelay_relay_link_refusals_total", tt.name)
	}
}

func TestClose(t *testing.T) {
	f := listen(t, 0)
	a, _ := f.link(t, 1, nil)
	b, _ := f.link(t, 2, nil)
	if got := f.series(t, "edgerelay_relay_links"); got != 2 {
		t.Errorf("%v links", got)
	}
	if err := f.server.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, e := range []*edge{a, b} {
		ended(t, recv(t, "end", e.end), link.CodeNormal, true)
		ended(t, recv(t, "end", f.handler.down).err, link.CodeNormal, false)
	}
	if _, err := f.dial(t, 3, nil); err == nil {
		t.Error("a closed server accepts")
	}
	f.awaitSeries(t, 0, "edgerelay_relay_links")
}
