package gateway

import (
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// conn is a session's socket. A reader reads it, while there is something to read or was lately; at rest it has none, and is watched by the Server's poller.
// Whatever is written to the client goes through the session's queue, so that only the session's writer ever blocks on writing.
type conn struct {
	net.Conn                 // the socket
	raw      syscall.RawConn // of it; nil where it is not the kernel's (TLS, pipes), or is not used as such
	server   *Server
	session  *Session
	next     *conn // guarded by writers.mu

	seen    atomic.Int64  // Server.now of the last byte received
	expires time.Duration // Server.now at which the session must end, or before; 0: never
	until   time.Duration // Server.wallSince at which it must, when expires is set
	begun   atomic.Int64  // Server.now at which the reader first waited for the rest of the present message, else 0; written by the reader
	pinged  atomic.Int64  // Server.now of a ping without a sign of life since, else 0; written by the clock

	deadline atomic.Int64 // Unix nanoseconds, of reading, once the session ends; else 0
	watched  watched
}

// stamp notes a sign of life.
func (c *conn) stamp() { c.seen.Store(int64(c.server.now())) }

// endBy bounds reading and writing once the session ends, and wakes who must end it. It does not block.
func (c *conn) endBy(at time.Time) {
	c.deadline.Store(at.UnixNano())
	c.Conn.SetDeadline(at)
	c.wake()
}

// endNow lets reading fail at once. It does not block.
func (c *conn) endNow() {
	c.deadline.Store(1)
	c.Conn.SetReadDeadline(time.Unix(0, 1))
	c.wake()
}

// ending reports whether endBy or endNow was called: reading may fail by its deadline.
func (c *conn) ending() bool { return c.deadline.Load() != 0 }

// setReadDeadline is for the reader's own waits; that of the end goes before it. Zero: none.
func (c *conn) setReadDeadline(at time.Time) {
	c.Conn.SetReadDeadline(at)
	for set := int64(0); ; { // endBy and endNow may come at any moment
		ns := c.deadline.Load()
		if ns == set {
			return
		}
		c.Conn.SetReadDeadline(time.Unix(0, ns))
		set = ns
	}
}
