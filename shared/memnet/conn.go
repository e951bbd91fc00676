package memnet

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// Buffer bounds the bytes of one direction of a connection that are written and not yet read. At
// the bound, Write blocks.
const Buffer = 256 << 10

// Conn is one end of a connection, and behaves much like an end of a TCP connection. Write returns
// when the bytes are buffered. After the peer has closed, Read returns io.EOF once everything is
// read, and Write fails. A Write also fails if it is blocked when the peer closes. All methods may
// be called concurrently. In particular, deadlines may be set and Close may be called while other
// goroutines read or write.
type Conn struct {
	wire          *wire
	local, remote Addr
	in, out       *stream
}

var _ net.Conn = (*Conn)(nil)

// wire is the state that the two ends of a connection share.
type wire struct {
	mu      sync.Mutex // guards everything below, and both streams
	streams [2]*stream
	cut     bool
	frozen  bool
	// gone is called once, without mu, when both ends are closed or the wire is cut. If gone is
	// nil, nothing is called.
	gone func()
}

// Pipe returns the two ends of a new connection.
func Pipe() (*Conn, *Conn) { return newConns(1, 2) }

func newConns(a, b Addr) (*Conn, *Conn) {
	w := &wire{}
	w.streams = [2]*stream{newStream(w), newStream(w)}
	return &Conn{w, a, b, w.streams[0], w.streams[1]}, &Conn{w, b, a, w.streams[1], w.streams[0]}
}

// Read reads at least one byte, unless p is empty. It blocks while there is no byte to read. Its
// error is io.EOF when the peer has closed and everything that the peer wrote is read. Other errors
// wrap os.ErrDeadlineExceeded, net.ErrClosed or, after a cut, syscall.ECONNRESET.
func (c *Conn) Read(p []byte) (int, error) {
	n, cut, err := c.in.read(p)
	if cut {
		c.Cut()
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = c.opError("read", err)
	}
	return n, err
}

// Write buffers all of p. It blocks while the buffer is full or another Write at this end is under
// way. Its error wraps os.ErrDeadlineExceeded, net.ErrClosed, syscall.EPIPE (the peer closed) or
// syscall.ECONNRESET (a cut). A Write that fails returns how many bytes it buffered, and the peer
// may get those bytes.
func (c *Conn) Write(p []byte) (int, error) {
	n, err := c.out.write(p)
	if err != nil {
		err = c.opError("write", err)
	}
	return n, err
}

// Close closes this end. From then on its Reads and Writes fail with net.ErrClosed, blocked ones
// too. So do the methods that set deadlines, and a second Close. The peer can still read what this
// end wrote.
func (c *Conn) Close() error {
	w := c.wire
	w.mu.Lock()
	if c.out.finished {
		w.mu.Unlock()
		return c.opError("close", net.ErrClosed)
	}
	c.out.finished = true
	c.in.abandoned = true
	if !w.frozen {
		c.in.release()
	}
	gone := w.takeGone()
	w.wake()
	w.mu.Unlock()
	if gone != nil {
		gone()
	}
	return nil
}

// LocalAddr returns this end's Addr.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the peer's Addr.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline calls SetReadDeadline and SetWriteDeadline with t.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline sets the time from which Reads fail, even if there are bytes to read. A Read that
// is blocked at that time fails too. A zero time means never.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadline(&c.in.reader, t) }

// SetWriteDeadline sets the time from which Writes fail, even if there is room. A Write that is
// blocked at that time fails too. A zero time means never.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadline(&c.out.writer, t) }

func (c *Conn) setDeadline(s *side, t time.Time) error {
	c.wire.mu.Lock()
	defer c.wire.mu.Unlock()
	if c.out.finished {
		return c.opError("set", net.ErrClosed)
	}
	s.setDeadline(t)
	return nil
}

func (c *Conn) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: "memnet", Source: c.local, Addr: c.remote, Err: err}
}

// wake makes all blocked Reads and Writes check again whether they can go on. The caller holds mu.
func (w *wire) wake() {
	for _, s := range w.streams {
		s.reader.changed.Broadcast()
		s.writer.changed.Broadcast()
	}
}

// takeGone does nothing and returns nil while the connection has not ended. A connection ends when
// it is cut, or when both ends are closed. After that, takeGone stops all timers. It returns w.gone
// at the first call after the end, and nil at later calls. The caller holds mu.
func (w *wire) takeGone() func() {
	if !w.cut && !(w.streams[0].finished && w.streams[1].finished) {
		return nil
	}
	for _, s := range w.streams {
		s.stopTimers()
	}
	gone := w.gone
	w.gone = nil
	return gone
}
