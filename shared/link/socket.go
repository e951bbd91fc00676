package link

import (
	"bufio"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// writePiece bounds one write to the network, in bytes. Even at 2 KB/s such a write takes less than
// stuckAfter, so a slow link does not count as stuck. A batch of BatchTarget bytes therefore takes
// four or five system calls instead of one.
const writePiece = 16 << 10

// socket is the net.Conn under a link's WebSocket (and TLS). It records when bytes come and go,
// whatever message they belong to. The watchdog can thus tell a slow link from a dead one. The
// socket also gathers the 4 KiB pieces that the WebSocket layer writes.
type socket struct {
	net.Conn
	start time.Time // all durations count from here; has a monotonic clock reading

	inside        bool         // a batch has been read in part; owned by the reader
	received      atomic.Int64 // when the last byte came
	longest       atomic.Int64 // the longest time between two reads that brought something
	receivedBytes atomic.Uint64
	// progress is when the current batch began or last made progress. It is 0 while no batch is
	// being written.
	progress  atomic.Int64
	sentBytes atomic.Uint64

	// Only the watchdog uses the fields kernel, left and drained. Its calls of look set them.
	kernel  queued
	left    uint64        // bytes that have left this machine
	drained time.Duration // when the kernel's queue was last seen to shrink

	// mu serialises writes: the WebSocket layer may answer a close while the writer writes.
	mu     sync.Mutex
	out    *bufio.Writer
	corked bool
}

func newSocket(c net.Conn) *socket {
	s := &socket{Conn: c, start: time.Now()}
	s.out = bufio.NewWriterSize(pieces{s}, writePiece)
	return s
}

func (s *socket) now() time.Duration { return time.Since(s.start) }

// stamp returns the time to store in the field progress. It is at least 1, since 0 means that no
// batch is being written.
func (s *socket) stamp() int64 { return max(1, int64(s.now())) }

// Read sets the field received to the time at which bytes came. It turns io.EOF inside a batch into
// another error, since the WebSocket layer would take io.EOF for the batch's end.
func (s *socket) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if s.inside && err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if n > 0 {
		s.receivedBytes.Add(uint64(n))
		now := int64(s.now())
		s.longest.Store(max(s.longest.Load(), now-s.received.Load()))
		s.received.Store(now)
	}
	return n, err
}

// Write passes bytes on to the network. Between cork and uncork it may keep up to writePiece bytes.
func (s *socket) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := s.out.Write(p)
	if err == nil && !s.corked {
		err = s.out.Flush()
	}
	return n, err
}

// socket.look notes how many bytes have left this machine. If the kernel does not tell what it
// holds, look assumes that all sent bytes have left. On a relay that is not writing a batch, look
// only resets the field kernel. Only the watchdog calls look.
//
// While a batch is being written, look also updates the field progress if the kernel's queue has
// shrunk. Write would report that too late, since the kernel wakes a writer only when a third of
// the send buffer is free. That third may be megabytes, which take minutes on a slow link.
func (s *socket) look(side Side) {
	writing := s.progress.Load() != 0
	if side == Relay && !writing {
		s.kernel = queued{}
		return
	}
	sent := s.sentBytes.Load() // read before the queue: bytes sent later must not count as left
	before := s.kernel
	now, ok := kernelQueue(s.Conn)
	if !ok {
		s.left = sent
		return
	}
	s.kernel = now
	s.left = sent - min(sent, uint64(now.unsent))
	if now.unacknowledged < before.unacknowledged || now.unsent < before.unsent {
		s.drained = s.now()
		if writing {
			s.progress.Store(s.stamp())
		}
	}
}

// queued counts the written bytes that the kernel still holds.
type queued struct {
	unacknowledged int // bytes that the peer's kernel has not acknowledged, the unsent included
	unsent         int // bytes that have not left this machine
}

// cork begins a batch. Until uncork, Write may gather bytes.
func (s *socket) cork() {
	s.progress.Store(s.stamp())
	s.mu.Lock()
	s.corked = true
	s.mu.Unlock()
}

// uncork ends a batch and writes the bytes that were gathered.
func (s *socket) uncork() error {
	s.mu.Lock()
	s.corked = false
	err := s.out.Flush()
	s.mu.Unlock()
	s.progress.Store(0)
	return err
}

// pieces is a writer to the network. It writes at most writePiece bytes at a time. During a batch
// it updates the field progress after each write.
type pieces struct{ *socket }

func (w pieces) Write(p []byte) (written int, err error) {
	for len(p) > 0 {
		n, err := w.Conn.Write(p[:min(len(p), writePiece)])
		written += n
		w.sentBytes.Add(uint64(n))
		if w.progress.Load() != 0 {
			w.progress.Store(w.stamp())
		}
		if err != nil {
			return written, err
		}
		p = p[n:]
	}
	return written, nil
}
