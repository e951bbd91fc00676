// Package memnet is a network in memory. It joins the parts of a cluster that runs in one process.
// Tests can freeze its connections, slow them down, and cut them at any byte. Its functions wait on
// conditions and channels only, and the package has no global state. So it works in bubbles of
// testing/synctest.
package memnet

import (
	"context"
	"net"
	"strconv"
	"sync"
	"syscall"
)

// backlog bounds the dialled connections that wait for Accept. Further dials block.
const backlog = 128

// Addr is the address of a Listener or of one end of a connection. Every Listener and every
// accepted end has "memnet:0". The dialled ends of one Listener are numbered in the order of their
// dials: the first is "memnet:1". The ends of a Pipe are "memnet:1" and "memnet:2".
type Addr uint64

// Network returns "memnet".
func (Addr) Network() string { return "memnet" }

// String returns the address in the form host:port.
func (a Addr) String() string { return "memnet:" + strconv.FormatUint(uint64(a), 10) }

// Listener accepts connections that its own Dial makes. All methods may be called concurrently.
type Listener struct {
	pending chan *Conn    // never closed
	closed  chan struct{} // closed by Close
	once    sync.Once

	mu     sync.Mutex // guards the following fields
	dialed uint64
	live   map[*Conn]struct{} // dialled ends of the connections that Conns lists
}

var _ net.Listener = (*Listener)(nil)

// Listen returns a Listener. Connections to it are made only by its methods Dial and DialContext:
// its address cannot be dialled.
func Listen() *Listener {
	return &Listener{
		pending: make(chan *Conn, backlog),
		closed:  make(chan struct{}),
		live:    make(map[*Conn]struct{}),
	}
}

// Dial makes a connection and returns its dialled end, a *Conn. Dial blocks while 128 connections
// already wait for Accept. It stops waiting when ctx is done or the Listener is closed. It fails
// with syscall.ECONNREFUSED once the Listener is closed. If Close is called during Dial, the
// returned connection may be cut.
func (l *Listener) Dial(ctx context.Context) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, l.opError("dial", err)
	}
	if l.isClosed() {
		return nil, l.opError("dial", syscall.ECONNREFUSED)
	}
	near, far := l.connect()
	select {
	case l.pending <- far:
	case <-l.closed:
		near.Cut()
		return nil, l.opError("dial", syscall.ECONNREFUSED)
	case <-ctx.Done():
		near.Cut()
		return nil, l.opError("dial", ctx.Err())
	}
	if l.isClosed() {
		near.Cut() // Close may have emptied the backlog before this connection was in it
	}
	return near, nil
}

// DialContext is Dial with the signature that net/http.Transport wants. It ignores the network and
// the address.
func (l *Listener) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	return l.Dial(ctx)
}

// Accept waits for a connection and returns its accepted end, a *Conn. It fails with net.ErrClosed
// once the Listener is closed.
func (l *Listener) Accept() (net.Conn, error) {
	if l.isClosed() {
		return nil, l.opError("accept", net.ErrClosed)
	}
	select {
	case c := <-l.pending:
		return c, nil
	case <-l.closed:
		return nil, l.opError("accept", net.ErrClosed)
	}
}

// Close refuses further connections and cuts those that wait for Accept. Accepted connections stay.
// A second Close fails with net.ErrClosed.
func (l *Listener) Close() error {
	err := l.opError("close", net.ErrClosed)
	l.once.Do(func() {
		close(l.closed)
		err = nil
	})
	for {
		select {
		case c := <-l.pending:
			c.Cut()
		default:
			return err
		}
	}
}

// Addr returns the Listener's Addr.
func (l *Listener) Addr() net.Addr { return Addr(0) }

// Conns returns the dialled ends of all connections that are not cut and have an open end. They may
// be in any order.
func (l *Listener) Conns() []*Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	conns := make([]*Conn, 0, len(l.live))
	for c := range l.live {
		conns = append(conns, c)
	}
	return conns
}

// CutAll cuts all connections that Conns returns.
func (l *Listener) CutAll() {
	for _, c := range l.Conns() {
		c.Cut()
	}
}

func (l *Listener) connect() (near, far *Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dialed++
	near, far = newConns(Addr(l.dialed), Addr(0))
	near.wire.gone = func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.live, near)
	}
	l.live[near] = struct{}{}
	return near, far
}

func (l *Listener) isClosed() bool {
	select {
	case <-l.closed:
		return true
	default:
		return false
	}
}

func (l *Listener) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: "memnet", Addr: l.Addr(), Err: err}
}
