package downlink

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/test/race"
)

// TestBufferKeepsFrames queues frames of random sizes. They must come out whole and in order, and a
// batch of several frames must not exceed chunkSize. In the end the buffer must hold no chunk.
func TestBufferKeepsFrames(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	b := buffer{full: 1 << 20, limit: 1 << 30}
	var want, got []byte
	drain := func() {
		batch, _ := b.fill(nil)
		got = append(got, batch...)
		frames := 0
		for remainder := batch; len(remainder) > 0; frames++ {
			var err error
			if _, _, remainder, err = link.Next(remainder); err != nil {
				t.Fatal(err)
			}
		}
		if frames > 1 && len(batch) > chunkSize {
			t.Fatalf("%d frames in a batch of %d bytes", frames, len(batch))
		}
	}
	for range 2000 {
		var frames []byte
		for range 1 + random.IntN(3) {
			size := random.IntN(200)
			if random.IntN(50) == 0 {
				size = random.IntN(3 * chunkSize)
			}
			frames = link.Answer{Number: random.Uint64(), Text: bytes.Repeat([]byte("x"), size)}.Append(frames)
		}
		want = append(want, frames...)
		if !b.append(frames) {
			t.Fatal("append refused")
		}
		if random.IntN(10) == 0 {
			drain()
		}
	}
	for b.queued() > 0 {
		drain()
	}
	if !bytes.Equal(got, want) {
		t.Error("what came out is not what went in")
	}
	if len(b.chunks) != 0 {
		t.Errorf("an empty buffer holds %d chunks", len(b.chunks))
	}
}

// TestBufferWritable queues bytes up to the bound in the field full, and then empties the buffer.
// Exactly one call of fill must report that the buffer has drained. If the queued bytes have not
// reached the bound, no call may report it.
func TestBufferWritable(t *testing.T) {
	b := buffer{full: 2 * chunkSize, limit: 1 << 30}
	frame := link.Answer{Text: make([]byte, chunkSize-20)}.Append(nil)
	told := 0
	fill := func() {
		if _, drained := b.fill(nil); drained {
			told++
			if b.queued() >= b.full {
				t.Errorf("drained with %d bytes", b.queued())
			}
		}
	}
	b.append(frame)
	fill()
	fill()
	if told != 0 {
		t.Error("drained without having been full")
	}
	for range 2 {
		told = 0
		for range 5 {
			b.append(frame)
		}
		for b.queued() > 0 {
			fill()
		}
		if told != 1 {
			t.Errorf("drained %d times", told)
		}
	}
}

// TestBufferShorter asks once to be told when few bytes are queued. The call of fill that leaves
// fewer must report it, and no later one.
func TestBufferShorter(t *testing.T) {
	b := buffer{full: 1 << 20, limit: 1 << 30}
	frame := link.Answer{Text: make([]byte, chunkSize-20)}.Append(nil)
	for range 2 {
		for range 5 {
			b.append(frame)
		}
		b.shorter(2 * len(frame))
		for b.queued() > 0 {
			before := b.queued()
			if _, drained := b.fill(nil); drained != (b.queued() < 2*len(frame) && before >= 2*len(frame)) {
				t.Errorf("with %d bytes, and %d before: %v", b.queued(), before, drained)
			}
		}
	}
}

// awake is a Conn whose method Wake does nothing. Its other methods must not be called.
type awake struct{ Conn }

func (awake) Wake() {}

// The function named publishing returns a step. The step encodes publications, appends each to all
// links, and then empties the buffers of the links.
func publishing(links, frames, size int) (step func()) {
	all := make([]*Link, links)
	for i := range all {
		all[i] = NewLink(nil, awake{}, link.Hello{}, DefaultBuffer)
	}
	publication := link.Publication{Topic: 7, Position: protocol.Position{Epoch: 1 << 50, Offset: 7}, Except: "somebody", Payload: make([]byte, size)}
	var frame, batch []byte
	return func() {
		for range frames {
			frame = publication.Append(frame[:0])
			for _, l := range all {
				l.Append(frame)
			}
		}
		for _, l := range all {
			for {
				if batch = l.Fill(batch[:0]); len(batch) == 0 {
					break
				}
			}
		}
	}
}

// TestNoAllocPerPublicationAndLink queues publications for ten links and takes them out again, one
// at a time and 1000 at a time. In both cases, only the first step may allocate.
func TestNoAllocPerPublicationAndLink(t *testing.T) {
	if race.Enabled { // the detector makes a sync.Pool drop some of its items
		t.Skip("counts without the race detector")
	}
	for _, frames := range []int{1, 1000} {
		step := publishing(10, frames, 128)
		step()
		if n := testing.AllocsPerRun(100, step); n != 0 {
			t.Errorf("%d publications to 10 links: %v allocations", frames, n)
		}
	}
}

// BenchmarkBuffer queues publications of 128 bytes for 10 links and takes them out again, one at a
// time and 100 at a time.
func BenchmarkBuffer(b *testing.B) {
	for _, frames := range []int{1, 100} {
		b.Run(fmt.Sprint("queued=", frames), func(b *testing.B) {
			step := publishing(10, frames, 128)
			b.ReportAllocs()
			for b.Loop() {
				step()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*frames*10), "ns/append")
		})
	}
}
