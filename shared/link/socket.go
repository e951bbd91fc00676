package link

import (
	"bufio"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// writePiece bounds one write to the network, in bytes: even at 2 KB/s it ends within the time after which a write without progress is stuck. A full
// batch costs four system calls instead of one, about 50 ns for each of its frames.
const writePiece = 16 << 10

// socket is the net.Conn under a link's WebSocket (and TLS). It notes when bytes come and go, whatever message they are part of, so that a slow
// link is told from a dead one; and it gathers what the WebSocket layer writes in 4 KiB bits.
type socket struct {
	net.Conn
	start time.Time // all durations count from here, on the monotonic clock

	inside        bool         // a batch was begun and is not complete; the reader's own
	received      atomic.Int64 // when the last byte came
	receivedBytes atomic.Uint64
	progress      atomic.Int64 // when the last byte went, or a batch began; 0: no batch is being written
	sentBytes     atomic.Uint64
	unsent        int // bytes in the kernel's buffer when the watchdog looked last; its own

	// mu serialises writes. Only the answer to a WebSocket close, at the end of the link, ever competes with the writer.
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

// stamp is now for progress, where 0 means something else.
func (s *socket) stamp() int64 { return max(1, int64(s.now())) }

// Read stamps received. The end of the connection is not that of a batch, which the WebSocket layer would take io.EOF for.
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

// Write writes through, except between cork and uncork, when it may keep up to writePiece bytes.
func (s *socket) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := s.out.Write(p)
	if err == nil && !s.corked {
		err = s.out.Flush()
	}
	return n, err
}

// look notes progress that no Write tells: the kernel wakes a writer only when a third of its buffer is free, which may be megabytes and, on a slow link, minutes. It is for
// the watchdog.
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

// uncork ends a batch: what is left of it is written.
func (s *socket) uncork() error {
	s.mu.Lock()
	s.corked = false
	err := s.out.Flush()
	s.mu.Unlock()
	s.progress.Store(0)
	return err
}

// pieces writes to the network at most writePiece bytes at a time and stamps progress.
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
