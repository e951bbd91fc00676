package link

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/edgerelay/edgerelay/shared/memnet"
)

// peer is one end of a running link, and is the Source and the Sink of that end.
type peer struct {
	conn *Conn
	end  chan error // result of Run

	mu      sync.Mutex // guards the fields below
	queue   [][]byte   // each element is one encoded frame
	frames  []any
	batches int
	changed chan struct{} // closed and replaced at the end of a batch
	handle  func(Type) error
}

// start runs one end of a link. The caller must call wait.
func start(ctx context.Context, c *Conn) *peer {
	p := &peer{conn: c, end: make(chan error, 1), changed: make(chan struct{})}
	go func() { p.end <- c.Run(ctx, p, p) }()
	return p
}

func start2(t *testing.T, edge, relay *Conn) (e, r *peer) {
	return start(t.Context(), edge), start(t.Context(), relay)
}

func (p *peer) send(frames ...[]byte) {
	p.mu.Lock()
	p.queue = append(p.queue, frames...)
	p.mu.Unlock()
	p.conn.Wake()
}

func (p *peer) Fill(batch []byte) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.queue) > 0 && (len(batch) == 0 || len(batch)+len(p.queue[0]) <= BatchTarget) {
		batch = append(batch, p.queue[0]...)
		p.queue = p.queue[1:]
	}
	return batch
}

func (p *peer) HandleFrame(t Type, body []byte) error {
	p.mu.Lock()
	handle := p.handle
	p.mu.Unlock()
	if handle != nil {
		if err := handle(t); err != nil {
			return err
		}
	}
	f, err := parse(t, bytes.Clone(body))
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.frames = append(p.frames, f)
	p.mu.Unlock()
	return nil
}

func (p *peer) EndBatch() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.batches++
	close(p.changed)
	p.changed = make(chan struct{})
	return nil
}

// await waits until n frames have been received, and returns all received frames.
func (p *peer) await(t *testing.T, n int) []any {
	t.Helper()
	for {
		p.mu.Lock()
		frames, changed := p.frames, p.changed
		p.mu.Unlock()
		if len(frames) >= n {
			return frames
		}
		select {
		case <-changed:
		case err := <-p.end:
			p.end <- err
			t.Fatalf("link ended after %d of %d frames: %v", len(frames), n, err)
		}
	}
}

// wait waits for the link to end, and returns why it ended.
func (p *peer) wait(t *testing.T) *CloseError {
	t.Helper()
	var end *CloseError
	if err := <-p.end; !errors.As(err, &end) {
		t.Fatalf("Run returned %v", err)
	}
	return end
}

// join makes a link over a network in memory. It returns the two ends of the link and its network
// connection.
func join(t testing.TB) (edge, relay *Conn, wire *memnet.Conn) {
	t.Helper()
	keys := keysOf(t, ringA)
	l, results := serve(t, AcceptConfig{Keys: keys})
	edge, _, err := dialTo(t.Context(), l, keys)
	if err != nil {
		t.Fatal(err)
	}
	got := <-results
	if got.err != nil {
		t.Fatal(got.err)
	}
	return edge, got.conn, l.Conns()[0]
}

// bubble calls f in a synctest bubble, with the two ends of a running link and the link's network
// connection.
func bubble(t *testing.T, f func(t *testing.T, e, r *peer, wire *memnet.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		edge, relay, wire := join(t)
		e, r := start2(t, edge, relay)
		f(t, e, r, wire)
	})
}

func message(n int, size int) Message {
	return Message{Number: uint64(n), Session: 1, Payload: bytes.Repeat([]byte{byte('a' + n%26)}, size)}
}
