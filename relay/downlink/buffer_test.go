package downlink

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/edgerelay/edgerelay/shared/link"
)

// TestBufferKeepsFrames: any appends come out in order, whole, in batches near the target, and the count of bytes ends at zero.
func TestBufferKeepsFrames(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	b := buffer{full: 1 << 20, limit: 1 << 30}
	var want, got []byte
	drain := func() {
		batch, _ := b.fill(nil)
		got = append(got, batch...)
		frames := 0
		for rest := batch; len(rest) > 0; frames++ {
			var err error
			if _, _, rest, err = link.Next(rest); err != nil {
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

// TestBufferWritable: drained is told once, below full, and only after full was reached.
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

func TestBufferNoAlloc(t *testing.T) {
	b := buffer{full: 1 << 20, limit: 1 << 30}
	frame := link.Publication{Payload: make([]byte, 200)}.Append(nil)
	batch := make([]byte, 0, 2*chunkSize)
	b.append(frame) // the first chunk
	if n := testing.AllocsPerRun(200, func() { b.append(frame) }); n > 0 {
		t.Errorf("append: %v allocations", n)
	}
	b.fill(batch)
}
