package link

import (
	"bytes"
	"fmt"
	"math"
	"testing"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// carrier is an end of a link that sends frames of one kind and takes them as edge or relay do, keeping nothing.
type carrier struct {
	conn  *Conn
	frame func(batch []byte, n uint64) []byte
	take  func(t Type, body []byte) error

	order chan int      // how many frames to send; one slot
	left  int           // owned by the writer
	sent  uint64        // likewise
	taken int           // owned by the reader
	came  chan struct{} // one for each batch of the other end, as far as somebody waits
}

func (c *carrier) Fill(batch []byte) []byte {
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

func (c *carrier) HandleFrame(t Type, body []byte) error {
	c.taken++
	return c.take(t, body)
}

func (c *carrier) EndBatch() error {
	for ; c.taken > 0; c.taken-- {
		c.came <- struct{}{}
	}
	return nil
}

// joinCarriers runs a link. send has one end send n frames and returns when the other has them.
func joinCarriers(tb testing.TB, up, down *carrier) (send func(from *carrier, n int)) {
	edge, relay, _ := join(tb)
	up.conn, down.conn = edge, relay
	for _, end := range []*carrier{up, down} {
		end.order, end.came = make(chan int, 1), make(chan struct{}, 1024)
		done := make(chan struct{})
		go func() {
			defer close(done)
			end.conn.Run(tb.Context(), end, end)
		}()
		tb.Cleanup(func() { <-done })
	}
	return func(from *carrier, n int) {
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

// forwarding returns the two ends of a link as edge and relay are: messages go up, publications to a group, encoded once, down.
func forwarding(size int) (up, down *carrier) {
	payload := bytes.Repeat([]byte("x"), size)
	publication := Publication{Topic: 3, Position: protocol.Position{Epoch: 1 << 50, Offset: 7}, ID: 9, Except: "somebody", Payload: payload}.Append(nil)
	var names Names
	up = &carrier{
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
	down = &carrier{
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

// TestNoAllocPerForwardedFrame: a frame costs no allocation on its way over a link, in batches nor alone: from the Source's append by the WebSocket and back to what
// the Sink parsed. Both ends are counted.
func TestNoAllocPerForwardedFrame(t *testing.T) {
	for _, batch := range []int{1, 50} {
		up, down := forwarding(128)
		send := joinCarriers(t, up, down)
		for _, way := range []struct {
			name string
			from *carrier
		}{{"message", up}, {"publication", down}} {
			const runs = 200 // AllocsPerRun rounds down
			if n := testing.AllocsPerRun(1, func() {
				for range runs {
					send(way.from, batch)
				}
			}); n > runs/20 { // a link that begins has its own
				t.Errorf("%d of %s: %v allocations in %d batches", batch, way.name, n, runs)
			}
		}
	}
}

// BenchmarkForward carries frames of 128 bytes over a whole link in memory, in batches.
func BenchmarkForward(b *testing.B) {
	for _, batch := range []int{1, 50} {
		for _, way := range []string{"message", "publication"} {
			b.Run(fmt.Sprintf("%s/batch=%d", way, batch), func(b *testing.B) {
				up, down := forwarding(128)
				send := joinCarriers(b, up, down)
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

// TestOneAllocPerFrameThatIsKept: a frame that is encoded into memory of its own, as the relay does with a publication, grows once.
func TestOneAllocPerFrameThatIsKept(t *testing.T) {
	if raced {
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
		if n := testing.AllocsPerRun(10, func() { kept = one.Append(nil) }); n != 1 {
			t.Fatalf("payload of %d bytes: %v allocations, and %d bytes of %d used", size, n, len(kept), cap(kept))
		}
	}
}
