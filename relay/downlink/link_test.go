package downlink

import (
	"bytes"
	"runtime"
	"testing"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// smallFrames maps names to functions that encode a frame. Most of these frames take many more
// bytes of memory, once decoded, than they have on a link.
var smallFrames = map[string]func(i uint64) []byte{
	"end":     func(i uint64) []byte { return link.End{Number: i, Session: 1}.Append(nil) },
	"message": func(i uint64) []byte { return link.Message{Number: i, Session: 1, Payload: []byte("x")}.Append(nil) },
	"longer":  func(i uint64) []byte { return link.Message{Number: i, Payload: make([]byte, 1000)}.Append(nil) },
	"session": func(i uint64) []byte {
		return link.Session{ID: i, Endpoint: protocol.EndpointGroup, User: "1", Group: "g"}.Append(nil)
	},
	"held":     func(i uint64) []byte { return link.Held{Topic: "all", Sessions: []uint64{i}}.Append(nil) },
	"held all": func(i uint64) []byte { return link.Held{Topic: "all", Sessions: make([]uint64, 2000)}.Append(nil) },
	"moved":    func(i uint64) []byte { return link.Moved{}.Append(nil) },
}

// The type portions is a Handler that keeps the portions that a Link hands on.
type portions struct {
	Handler
	frames [][]any
	sizes  []int
}

func (p *portions) Connected(*Link, link.Hello) error { return nil }

func (p *portions) Received(_ *Link, frames []any, size int) error {
	p.frames, p.sizes = append(p.frames, frames), append(p.sizes, size)
	return nil
}

// TestP8_DecodedFramesAreHandedOnInPortionsThatCountWhatTheyHold checks the portions in which a
// batch is handed on. The size of a portion may exceed the constant portion, but by less than one
// frame. The memory that the frames hold may exceed the sum of the sizes, but by an eighth at most.
func TestP8_DecodedFramesAreHandedOnInPortionsThatCountWhatTheyHold(t *testing.T) {
	const batch = 1 << 20
	for name, frame := range smallFrames {
		var encoded []byte
		count := 0
		for len(encoded) < batch {
			count++
			encoded = append(encoded, frame(uint64(count))...)
		}
		var got portions
		l := NewLink(&got, nil, link.Hello{}, DefaultBuffer)
		before := heap()
		talk := link.NewTalk(link.Edge, func() {})
		if talk.Take(encoded, l, 0) {
			t.Fatal("ended")
		}
		held := heap() - before
		counted, frames, most := 0, 0, 0
		for i, size := range got.sizes {
			counted += size
			frames += len(got.frames[i])
			most = max(most, size)
		}
		if frames != count {
			t.Errorf("%s: %d of %d frames", name, frames, count)
		}
		if one := cost(got.frames[0][0]); most >= portion+one {
			t.Errorf("%s: a portion of %d bytes, want less than one frame above %d", name, most, portion)
		}
		if held > counted+counted/8 || name == "end" && counted > 8*held {
			t.Errorf("%s: %d bytes counted for %d", name, counted, held)
		}
		var again []byte
		for _, frames := range got.frames {
			for _, f := range frames {
				again = f.(interface{ Append([]byte) []byte }).Append(again)
			}
		}
		if !bytes.Equal(again, encoded) {
			t.Errorf("%s: %d frames are not those that came", name, count)
		}
	}
}

// heap returns the size of the heap after a garbage collection, in bytes.
func heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// handedOn is a Handler that forgets the frames that a Link hands on.
type handedOn struct{ Handler }

func (handedOn) Connected(*Link, link.Hello) error { return nil }
func (handedOn) Received(*Link, []any, int) error  { return nil }

// TestDecodeAllocatesTheCopyOnly checks that a batch of messages costs one allocation for its
// slice. Each message must cost two more: one for the message, and one for its payload. The test
// TestNoAllocPerForwardedFrame of package link checks the way from the edge's encoder to
// HandleFrame.
func TestDecodeAllocatesTheCopyOnly(t *testing.T) {
	for _, count := range []int{1, 30} {
		var encoded []byte
		for i := range count {
			encoded = link.Message{Number: uint64(i + 1), Session: 1, Payload: make([]byte, 128)}.Append(encoded)
		}
		l := NewLink(handedOn{}, nil, link.Hello{}, DefaultBuffer)
		talk := link.NewTalk(link.Edge, func() {})
		take := func() { talk.Take(encoded, l, 0) }
		take()
		if got := testing.AllocsPerRun(100, take); got != float64(1+2*count) {
			t.Errorf("%v allocations for a batch of %d messages, want 1 and 2 for each", got, count)
		}
	}
}

// BenchmarkDecode decodes a batch of 30 messages of 128 bytes and hands it on.
func BenchmarkDecode(b *testing.B) {
	var encoded []byte
	for i := range 30 {
		encoded = link.Message{Number: uint64(i + 1), Session: 1, Payload: make([]byte, 128)}.Append(encoded)
	}
	l := NewLink(handedOn{}, nil, link.Hello{}, DefaultBuffer)
	talk := link.NewTalk(link.Edge, func() {})
	b.ReportAllocs()
	for b.Loop() {
		talk.Take(encoded, l, 0)
	}
}
