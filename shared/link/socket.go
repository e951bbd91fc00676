package link

import (
	"bufio"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// writePiece bounds one write to the network, in bytes. Even at 2 KB/s such a write ends before a
// write without progress counts as stuck. A batch of BatchTarget bytes therefore takes four system
// calls instead of one, which costs about 50 ns more for each of its frames.
const writePiece = 16 << 10

// socket is the net.Conn under a link's WebSocket (and TLS). It records when bytes come and go,
// whatever message they belong to. The watchdog can thus tell a slow link from a dead one. The
// socket also gathers the 4 KiB pieces that the WebSocket layer writes.
type socket struct {
	net.Conn
	start time.Time // all durations count from here; a monotonic clock

	inside        bool         // a batch has been read in part; owned by the reader
	received      atomic.Int64 // when the last byte came
	receivedBytes atomic.Uint64
	// progress is when the latest byte of a batch went, or else when the batch began. It is 0 while
	// no batch is written.
	progress  atomic.Int64
	sentBytes atomic.Uint64
	// unsent is how many bytes the kernel's buffer held at the watchdog's last look. The watchdog
	// owns it.
	unsent int

	// mu serialises writes. Only the answer to a WebSocket close, at the end of the link, ever
	// competes with the writer.
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

// stamp returns the time for progress. It is at least 1, since a progress of 0 means that no batch
// is written.
func (s *socket) stamp() int64 { return max(1, int64(s.now())) }

// Read stamps received. It turns io.EOF inside a batch into another error, since the WebSocket
// layer would take io.EOF for the batch's end.
func (s *socket) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if s.inside && err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if n > 0 {
		s.receivedBytes.Add(uint64(n))
		s.received.Store(int64(s.now()))
	}
	return n, err
}

// Write writes through to the network. Between cork and uncork it may keep up to writePiece bytes.
func (s *socket) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := s.out.Write(p)
	if err == nil && !s.corked {
		err = s.out.Flush()
	}
	return n, err
}

// look stamps progress if the kernel's buffer has shrunk, which no Write reports. The kernel wakes
// a writer only when a third of that buffer is free. The third may be megabytes and, on a slow
// link, take minutes. Only the watchdog calls look.
func (s *socket) look() {
	if s.progress.Load() == 0 {
		s.unsent = 0
		return
	}
	before := s.unsent
	if n, ok := unsent(s.Conn); ok {
		s.unsent = n
		if n < before {
			s.progress.Store(s.stamp())
		}
	}
}

// cork begins a batch.
func (s *socket) cork() {
	s.progress.Store(s.stamp())
	s.mu.Lock()
	s.corked = true
	s.mu.Unlock()
}

// uncork ends a batch and writes what is left of it.
func (s *socket) uncork() error {
	s.mu.Lock()
	s.corked = false
	err := s.out.Flush()
	s.mu.Unlock()
	s.progress.Store(0)
	return err
}

// pieces writes at most writePiece bytes at a time to the network, and stamps progress.
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
