package downlink

import (
	"slices"
	"sync"

	"github.com/edgerelay/edgerelay/shared/link"
)

const (
	// chunkSize is the size of a chunk of small frames, in bytes. It is also the size that a batch
	// aims at.
	chunkSize = link.BatchTarget
	// hardLimit times Config.Buffer is the most that may be queued. Frames that would exceed it
	// close the link.
	hardLimit = 16
	// keepChunks is the largest capacity, in chunks, that the list of chunks keeps while the buffer
	// is empty.
	keepChunks = 16
)

// This pool has empty chunks for all links. An empty buffer holds no chunk.
var chunks = sync.Pool{New: func() any { return new([chunkSize]byte) }}

// buffer holds the frames queued for one link, in order, as chunks of whole frames. The router
// appends to it, and the link's writer empties it.
type buffer struct {
	full  int // bytes at which the link stops being writable
	limit int // the most bytes that may be queued

	mu      sync.Mutex // guards the following; never held across I/O
	chunks  [][]byte
	bytes   int  // bytes in chunks, and in the batch that is being written
	taken   int  // bytes in the batch that is being written
	wasFull bool // the link is not writable until fill reports it drained
	wanted  int  // fill reports when fewer bytes are queued; 0: nobody waits for that
	over    bool // frames that would exceed limit closed the buffer
	closed  bool
}

func newBuffer(size int) buffer { return buffer{full: size / 2, limit: hardLimit * size} }

// append copies whole frames. It returns false when the buffer is closed. Frames that would exceed
// the limit close the buffer.
func (b *buffer) append(frames []byte) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	if b.bytes+len(frames) > b.limit {
		b.closed, b.over = true, true
		return false
	}
	b.bytes += len(frames)
	b.wasFull = b.wasFull || b.bytes >= b.full
	for len(frames) > chunkSize { // rare: many frames in one call, or one large frame
		n := frameLen(frames)
		b.put(frames[:n])
		frames = frames[n:]
	}
	if len(frames) > 0 {
		b.put(frames)
	}
	return true
}

// put copies frames into the last chunk, or into a new one when they do not fit.
func (b *buffer) put(frames []byte) {
	last := len(b.chunks) - 1
	if last < 0 || cap(b.chunks[last])-len(b.chunks[last]) < len(frames) {
		b.chunks = append(b.chunks, newChunk(len(frames)))
		last++
	}
	b.chunks[last] = append(b.chunks[last], frames...)
}

// The method named fill moves queued chunks to the end of batch and returns the batch. It takes the
// first chunk in any case, and further ones while the batch stays within chunkSize bytes. The
// chunks of the previous call now count as written. The result drained says that the link has
// become writable again, or that its queue has become as short as shorter was told.
func (b *buffer) fill(batch []byte) (_ []byte, drained bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bytes -= b.taken
	b.taken = 0
	n := 0
	for n < len(b.chunks) && (n == 0 || len(batch)+len(b.chunks[n]) <= chunkSize) {
		chunk := b.chunks[n]
		batch = append(batch, chunk...)
		b.taken += len(chunk)
		recycle(chunk)
		n++
	}
	b.chunks = slices.Delete(b.chunks, 0, n)
	if len(b.chunks) == 0 && cap(b.chunks) > keepChunks {
		b.chunks = nil
	}
	if b.wasFull && b.bytes < b.full {
		b.wasFull, drained = false, true
	}
	if b.bytes < b.wanted {
		b.wanted, drained = 0, true
	}
	return batch, drained
}

// shorter makes fill report once when fewer than n bytes are queued.
func (b *buffer) shorter(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wanted = n
}

func (b *buffer) queued() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bytes
}

// overrun reports whether the limit closed the buffer.
func (b *buffer) overrun() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.over
}

// The method close makes the method append refuse frames from now on. Frames that are queued
// already stay.
func (b *buffer) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
}

// drop forgets the queued frames.
func (b *buffer) drop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, chunk := range b.chunks {
		recycle(chunk)
	}
	b.chunks, b.bytes, b.taken = nil, 0, 0
}

// newChunk returns an empty chunk with room for at least the given number of bytes.
func newChunk(size int) []byte {
	if size > chunkSize {
		return make([]byte, 0, size)
	}
	return chunks.Get().(*[chunkSize]byte)[:0]
}

// recycle puts a chunk of the standard size back into the pool. It leaves a larger one to the
// garbage collector.
func recycle(chunk []byte) {
	if cap(chunk) == chunkSize {
		chunks.Put((*[chunkSize]byte)(chunk[:chunkSize]))
	}
}

// frameLen returns the length of the first frame. If the bytes do not begin with a whole frame, it
// returns the length of all of them.
func frameLen(frames []byte) int {
	_, _, remainder, err := link.Next(frames)
	if err != nil {
		return len(frames)
	}
	return len(frames) - len(remainder)
}
