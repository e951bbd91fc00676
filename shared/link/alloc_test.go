package link

import (
	"bytes"
	"fmt"
	"math"
	"testing"

	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/test/race"
)

// feeder is one end of a link, and sends frames of one kind. It parses the frames that it receives
// as an edge or a relay does, and keeps nothing.
type feeder struct {
	conn  *Conn
	frame func(batch []byte, n uint64) []byte
	take  func(t Type, body []byte) error

	order chan int      // number of frames to send; one slot
	left  int           // only the writer uses it
	sent  uint64        // only the writer uses it
	taken int           // only the reader uses it
	came  chan struct{} // one item for each frame received
}

func (c *feeder) Fill(batch []byte) []byte {
	select {
	case n := <-c.order:
		c.left += n
	default:
	}
	for ; c.left > 0; c.left-- {
		c.sent++
		batch = c.frame(batch, c.sent)
	}
	return batch
}

func (c *feeder) HandleFrame(t Type, body []byte) error {
	c.taken++
	return c.take(t, body)
}

func (c *feeder) EndBatch() error {
	for ; c.taken > 0; c.taken-- {
		c.came <- struct{}{}
	}
	return nil
}

// joinFeeders runs a link between up and down. It returns the function send, which sends n frames
// from one of them, and returns when the peer has received these frames.
func joinFeeders(tb testing.TB, up, down *feeder) (send func(from *feeder, n int)) {
	edge, relay, _ := join(tb)
	up.conn, down.conn = edge, relay
	for _, end := range []*feeder{up, down} {
		end.order, end.came = make(chan int, 1), make(chan struct{}, 1024)
		done := make(chan struct{})
		go func() {
			defer close(done)
			end.conn.Run(tb.Context(), end, end)
		}()
		tb.Cleanup(func() { <-done })
	}
	return func(from *feeder, n int) {
		to := up
		if from == up {
			to = down
		}
		from.order <- n
		from.conn.Wake()
		for range n {
			<-to.came
		}
	}
}

// forwarding returns the two ends of a link, which are an edge and a relay. The edge sends
// Messages. The relay sends Publications of one group. All Publications are the same bytes, which
// are encoded beforehand.
func forwarding(size int) (up, down *feeder) {
	payload := bytes.Repeat([]byte("x"), size)
	publication := Publication{Topic: 3, Position: protocol.Position{Epoch: 1 << 50, Offset: 7}, ID: 9, Except: "somebody", Payload: payload}.Append(nil)
	var names Names
	up = &feeder{
		frame: func(batch []byte, n uint64) []byte {
			return Message{Number: n, Session: 70_000, Payload: payload}.Append(batch)
		},
		take: func(t Type, body []byte) error {
			p, err := names.ParsePublication(body)
			if err == nil && (t != TypePublication || p.Except != "somebody" || len(p.Payload) != size) {
				err = fmt.Errorf("%v: %+v", t, p)
			}
			return err
		},
	}
	down = &feeder{
		frame: func(batch []byte, _ uint64) []byte { return append(batch, publication...) },
		take: func(t Type, body []byte) error {
			m, err := ParseMessage(body)
			if err == nil && (t != TypeMessage || m.Session != 70_000 || len(m.Payload) != size) {
				err = fmt.Errorf("%v: %+v", t, m)
			}
			return err
		},
	}
	return up, down
}

// TestNoAllocPerForwardedFrame checks that frames cost next to no allocations on their way over a
// link, in a batch or alone. The way leads from Source.Fill through the WebSocket to the parsed
// frame in the Sink. The allocations of both ends count.
func TestNoAllocPerForwardedFrame(t *testing.T) {
	for _, batch := range []int{1, 50} {
		up, down := forwarding(128)
		send := joinFeeders(t, up, down)
		for _, way := range []struct {
			name string
			from *feeder
		}{{"message", up}, {"publication", down}} {
			const runs = 200 // a run has many batches, since AllocsPerRun rounds down
			if n := testing.AllocsPerRun(1, func() {
				for range runs {
					send(way.from, batch)
				}
			}); n > runs/20 { // a new link allocates a few times for itself
				t.Errorf("%d of %s: %v allocations in %d batches", batch, way.name, n, runs)
			}
		}
	}
}

// BenchmarkForward carries frames with payloads of 128 bytes over a whole link in memory, in
// batches of 1 and of 50.
func BenchmarkForward(b *testing.B) {
	for _, batch := range []int{1, 50} {
		for _, way := range []string{"message", "publication"} {
			b.Run(fmt.Sprintf("%s/batch=%d", way, batch), func(b *testing.B) {
				up, down := forwarding(128)
				send := joinFeeders(b, up, down)
				from := up
				if way == "publication" {
					from = down
				}
				b.ReportAllocs()
				for b.Loop() {
					send(from, batch)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch), "ns/frame")
			})
		}
	}
}

// TestOneAllocPerFrameThatIsKept checks that encoding a Publication, Forms or AheadForms into new
// memory allocates once. It tries payloads of up to 20,000 bytes.
func TestOneAllocPerFrameThatIsKept(t *testing.T) {
	if race.Enabled { // under the race detector slices.Grow allocates twice
		t.Skip("counts without the race detector")
	}
	p := Publication{
		Topic: math.MaxUint32, Position: protocol.Position{Epoch: protocol.MaxEpoch, Offset: math.MaxUint32}, ID: 9, Except: "somebody",
		Payload: bytes.Repeat([]byte("x"), 20_000),
	}
	var kept []byte
	for size := 0; size <= len(p.Payload); size += 97 {
		one := p
		one.Payload = p.Payload[:size]
		forms := Forms{Topic: p.Topic, Position: p.Position, ID: p.ID, Except: p.Except, Texts: []Rendering{{FormChat, one.Payload}, {FormJSON, one.Payload}}}
		ahead := AheadForms{Topic: p.Topic, ID: p.ID, Except: p.Except, Texts: forms.Texts}
		for _, f := range []frame{one, forms, ahead} {
			if n := testing.AllocsPerRun(10, func() { kept = f.Append(nil) }); n != 1 {
				t.Fatalf("%T with %d bytes: %v allocations, and %d bytes of %d used", f, size, n, len(kept), cap(kept))
			}
		}
	}
}
