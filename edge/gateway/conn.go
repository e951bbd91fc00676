package gateway

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coder/websocket"
)

const (
	readAhead  = 16  // bytes of the buffer under ws; conn reads ahead itself, into a pooled buffer that an idle conn does not hold
	controlMax = 128 // bytes of the buffer that ws writes into: every control frame is one Write
)

// errBetween is what a read returns instead of waiting between two frames, so that the reader can wait with a small stack.
var errBetween = errors.New("between frames")

// conn is a session's socket. ws reads from it and writes control frames to it; whatever is written to the client goes through the
// session's queue, so that only the session's writer ever blocks on writing. ws never writes data.
type conn struct {
	net.Conn                 // the socket
	raw      syscall.RawConn // of it; nil where it has none
	fill     func(fd uintptr) bool
	server   *Server
	session  *Session
	ws       *websocket.Conn
	buffered *bufio.Reader // between ws and this

	seen    atomic.Int64  // Server.now of the last byte received
	expires time.Duration // Server.now at which the session must end, or before; 0: never
	until   time.Duration // Server.wallSince at which it must, when expires is set
	begun   atomic.Int64  // Server.now at which the reader first waited for the rest of the present message, else 0; written by the reader
	pinged  atomic.Int64  // Server.now of a ping without a sign of life since, else 0; written by the clock

	// Owned by the reader.
	ahead   []byte  // read from the socket and not yet by ws
	buf     *[]byte // pooled, under ahead; nil when ahead is empty or was read by the HTTP server
	err     error   // that ended reading from the socket
	inside  bool    // a message was begun and is not complete
	between bool    // the next Read is the first of a frame
	pongs   pongCount
	extras  extras
}

// Read is for ws. What it reads in small pieces is frame headers and control frames; payload that is longer it reads past its buffer.
func (c *conn) Read(p []byte) (n int, err error) {
	if len(p) > readAhead {
		return c.read(p)
	}
	if c.extras.tooMany(c.server.now) {
		return 0, errFlood
	}
	n, err = c.read(p)
	c.extras.bytes += n
	return n, err
}

func (c *conn) read(p []byte) (n int, err error) {
	if len(c.ahead) > 0 {
		n = copy(p, c.ahead)
		c.ahead = c.ahead[n:]
		if len(c.ahead) == 0 {
			c.putBuffer()
		}
		return n, nil
	}
	if c.between {
		c.between = false
		return 0, errBetween
	}
	if c.inside && c.begun.Load() == 0 {
		c.server.awaitRest(c)
	}
	n, err = c.Conn.Read(p)
	if n > 0 {
		c.stamp()
	}
	if err != nil {
		c.err = err
	}
	return n, err
}

// Write is for ws, which writes whole control frames. Pongs are queued; close frames are not ws' business.
func (c *conn) Write(p []byte) (int, error) {
	if len(p) > 0 && p[0] == pongByte {
		c.session.deliver(bytes.Clone(p))
	}
	return len(p), nil
}

// Close is for ws; the reader closes the socket when the last frame was written.
func (c *conn) Close() error { return nil }

// stamp notes a sign of life.
func (c *conn) stamp() { c.seen.Store(int64(c.server.now())) }

// onPing decides whether ws answers a ping.
func (c *conn) onPing(context.Context, []byte) bool {
	c.markBetween()
	if c.pongs.allow(c.server.now()) {
		return true
	}
	c.server.metrics.pongsWithheld.Inc()
	return false
}

func (c *conn) onPong(context.Context, []byte) { c.markBetween() }

// markBetween is called at the end of a control frame. When nothing was read beyond it and no message was begun, the next byte begins a frame.
func (c *conn) markBetween() {
	c.between = c.raw != nil && !c.inside && len(c.ahead) == 0 && c.buffered.Buffered() == 0
}

// pongsPerSecond bounds how many pings of one client are answered.
const pongsPerSecond = 10

// pongCount counts the pongs of the present second.
type pongCount struct {
	second int64
	n      int
}

func (p *pongCount) allow(now time.Duration) bool {
	if second := int64(now / time.Second); second != p.second {
		*p = pongCount{second: second}
	}
	p.n++
	return p.n <= pongsPerSecond
}
