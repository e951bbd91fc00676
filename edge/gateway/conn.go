package gateway

import (
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// conn is a session's socket. A reader goroutine reads the conn. While the conn is idle, it has no
// reader, and the Server's poller watches it. Frames for the client go through the session's queue,
// so the reader does not block on writing.
type conn struct {
	net.Conn
	raw     syscall.RawConn // access to the descriptor; nil: TLS, a pipe, or not Unix
	server  *Server
	session *Session
	next    *conn // the next conn in the writers' list; guarded by writers.mu

	// seen is the time of the client's last sign of life, by Server.now. The upgrade and each
	// received byte are signs of life. While a session of the chat waits for its user's allowance,
	// the conn is not read, and each call of Server.check counts as a sign of life.
	seen          atomic.Int64
	expires       atomic.Int64 // the session's end by Server.now; 0: never
	expiresByWall atomic.Int64 // the session's end by Server.wallSince
	// awaitedSince is the time, by Server.now, at which the reader began to wait for the remainder
	// of a message or of a control frame. It is 0 if no remainder is awaited.
	awaitedSince atomic.Int64
	// pinged is the time of the last ping, by Server.now. It is 0 if there was no ping, or if
	// Server.check has seen a sign of life or a resume after the ping. In a session of an SDK, the
	// field stays set, and the client must answer within sdkPongWait of this time. While a ping
	// waits behind other frames, pingHeld may set the field to a later time.
	pinged atomic.Int64

	deferred atomic.Pointer[deferredPong] // nil: no pong is deferred

	deadline atomic.Int64 // deadline of the session's end, in Unix nanoseconds; 0: none
	watched  watched
}

// stamp records a sign of life.
func (c *conn) stamp() { c.seen.Store(int64(c.server.now())) }

// endBy sets the deadline of the session's end: from the given time on, reading and writing fail.
// It wakes an idle conn, since only a reader can end the session. It does not block.
func (c *conn) endBy(at time.Time) {
	c.deadline.Store(at.UnixNano())
	c.Conn.SetDeadline(at)
	c.wake()
}

// endNow makes reading fail at once, and wakes an idle conn. It does not block.
func (c *conn) endNow() {
	c.deadline.Store(1)
	c.Conn.SetReadDeadline(time.Unix(0, 1))
	c.wake()
}

// ending reports whether endBy or endNow was called. After such a call, a read may fail because of
// the deadline of the session's end.
func (c *conn) ending() bool { return c.deadline.Load() != 0 }

// setReadDeadline sets a deadline for the reader's own waits. A deadline that endBy or endNow has
// set takes precedence. The zero time means no deadline.
func (c *conn) setReadDeadline(at time.Time) {
	c.Conn.SetReadDeadline(at)
	for set := int64(0); ; { // endBy and endNow may be called at any moment
		ns := c.deadline.Load()
		if ns == set {
			return
		}
		c.Conn.SetReadDeadline(time.Unix(0, ns))
		set = ns
	}
}
