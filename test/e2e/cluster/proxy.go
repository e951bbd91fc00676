package cluster

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// Proxy is a TCP proxy that a test controls. Its address stays the same when its target changes. A
// test can reset, freeze or throttle all connections through the Proxy, or cut them after a number
// of bytes.
type Proxy struct {
	listener net.Listener
	running  sync.WaitGroup

	mu      sync.Mutex
	target  string
	refuse  bool
	rate    int64         // bytes a second, each way of each connection; 0: unlimited
	budget  int64         // bytes of all connections until the next cut; negative: no cut
	thawed  chan struct{} // closed, except from Freeze to Thaw
	heard   chan struct{} // closed, except from FreezeBack to Thaw
	pipes   map[*pipe]struct{}
	strays  []net.Conn // connections to the target that Strand left open
	dialled int
	closed  bool
	onBack  func() io.Writer // opens a Writer for a copy of the bytes from the target; nil: no copy
}

// pipe is one connection through the Proxy.
type pipe struct {
	front, back net.Conn
	began       time.Time
	stranded    bool // guarded by the Proxy's mu
}

// NewProxy starts a Proxy that listens at addr and dials target. It is closed at the test's end.
func NewProxy(t testing.TB, addr, target string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{listener: l, target: target, budget: -1, thawed: make(chan struct{}), heard: make(chan struct{}), pipes: map[*pipe]struct{}{}}
	close(p.thawed)
	close(p.heard)
	p.running.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

// Addr returns the address to dial.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// SetTarget sends later connections to another address.
func (p *Proxy) SetTarget(addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = addr
}

// Live returns the number of connections through the Proxy now.
func (p *Proxy) Live() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.pipes)
}

// Proxy.oldest returns when the oldest open connection through the Proxy began, or the zero time if
// there is none.
func (p *Proxy) oldest() (began time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.pipes {
		if began.IsZero() || c.began.Before(began) {
			began = c.began
		}
	}
	return began
}

// Dialled returns how many connections the Proxy has carried so far, whether or not they have
// ended.
func (p *Proxy) Dialled() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dialled
}

// Reset breaks the present connections, as when a machine has lost its state: both sides get RST.
// New connections are let through, unless Refuse or Strand refuses them.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.resetLocked()
}

// Refuse resets the present connections. Until Allow is called, it also resets new ones.
func (p *Proxy) Refuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = true
	p.resetLocked()
}

// Allow ends Refuse, and the refusal that Strand began.
func (p *Proxy) Allow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = false
}

// Strand resets the dialling side of the present connections, and refuses new ones. The target's
// side of the present connections stays open, and gets only the bytes that the Proxy has already
// read. A frozen Proxy sends these bytes after Thaw.
func (p *Proxy) Strand() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = true
	for c := range p.pipes {
		c.stranded = true
		p.strays = append(p.strays, c.back)
		abort(c.front)
		delete(p.pipes, c)
	}
}

// Freeze makes the Proxy a black hole until Thaw: bytes do not pass on, and connections stay open.
func (p *Proxy) Freeze() { p.freeze(&p.thawed) }

// FreezeBack freezes only the bytes that the target sends, until Thaw. Bytes to the target still
// pass.
func (p *Proxy) FreezeBack() { p.freeze(&p.heard) }

func (p *Proxy) freeze(gate *chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if isClosed(*gate) {
		*gate = make(chan struct{})
	}
}

// Thaw ends Freeze and FreezeBack. Connections that are still open then carry the bytes that were
// held back.
func (p *Proxy) Thaw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, gate := range []chan struct{}{p.thawed, p.heard} {
		if !isClosed(gate) {
			close(gate)
		}
	}
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// Throttle limits each direction of each connection to a number of bytes a second, like a slow
// network. A limit from 1 to 19 counts as 20, and a limit above 640 KiB as 640 KiB. 0 removes the
// limit.
func (p *Proxy) Throttle(bytesPerSecond int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rate = bytesPerSecond
}

// CutAfter resets the open connections once n more bytes have passed, counted over both directions
// of all connections. The cut may fall in the middle of a frame.
func (p *Proxy) CutAfter(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.budget = n
}

// Sniff makes the Proxy copy the bytes that the target sends on later connections. The Proxy calls
// the given function once for each of these connections, and writes the copy to the Writer that the
// function returns.
func (p *Proxy) Sniff(open func() io.Writer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.onBack = open
}

func (p *Proxy) close() {
	p.mu.Lock()
	p.closed = true
	p.resetLocked()
	for _, c := range p.strays {
		c.Close()
	}
	p.mu.Unlock()
	p.Thaw()
	p.listener.Close()
	p.running.Wait()
}

func (p *Proxy) resetLocked() {
	for c := range p.pipes {
		c.reset()
		delete(p.pipes, c)
	}
}

func (c *pipe) reset() {
	abort(c.front)
	abort(c.back)
}

func (p *Proxy) accept() {
	for {
		front, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.serve(front) })
	}
}

// Proxy.serve carries one connection both ways until both directions have ended. It resets a
// connection that is refused.
func (p *Proxy) serve(front net.Conn) {
	p.mu.Lock()
	target, refuse := p.target, p.refuse || p.closed
	p.mu.Unlock()
	c := &pipe{front: front, back: front, began: time.Now()}
	if !refuse {
		back, err := net.Dial("tcp", target)
		if refuse = err != nil; !refuse {
			c.back = back
		}
	}
	sniff := io.Discard
	p.mu.Lock()
	if refuse || p.refuse || p.closed {
		p.mu.Unlock()
		c.reset()
		return
	}
	p.pipes[c] = struct{}{}
	p.dialled++
	if p.onBack != nil {
		sniff = p.onBack()
	}
	p.mu.Unlock()

	var both sync.WaitGroup
	both.Go(func() { p.carry(c, c.back, c.front, io.Discard) })
	both.Go(func() { p.carry(c, c.front, c.back, sniff) })
	both.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.pipes, c)
	front.Close()
	if !c.stranded {
		c.back.Close()
	}
}

// Proxy.carry copies from src to dst and to sniff until src ends, a write to dst fails, or CutAfter
// cuts. An orderly end of src becomes an orderly end of dst. A reset of src becomes a reset of dst,
// unless the connection is stranded.
func (p *Proxy) carry(c *pipe, dst, src net.Conn, sniff io.Writer) {
	pieces, done := make(chan piece, heldPieces), make(chan struct{})
	var reading sync.WaitGroup
	defer reading.Wait()
	defer close(done)
	reading.Go(func() { p.read(src, pieces, done) })
	for in := range pieces {
		p.wait(dst == c.front)
		if len(in.bytes) > 0 {
			keep, cut := p.spend(len(in.bytes))
			sniff.Write(in.bytes[:keep])
			if _, err := dst.Write(in.bytes[:keep]); err != nil {
				p.abort(c, src)
				return
			}
			if cut {
				p.Reset()
				return
			}
		}
		if in.err == io.EOF {
			if tcp, ok := dst.(*net.TCPConn); ok {
				tcp.CloseWrite()
			}
			return
		}
		if in.err != nil {
			p.abort(c, dst)
			return
		}
	}
}

// heldPieces is how many pieces may wait to be written, in each direction of a connection. Pieces
// wait, for instance, while the Proxy is frozen.
const heldPieces = 16

// piece is the result of one read from a connection.
type piece struct {
	bytes []byte
	err   error
}

// Proxy.read reads from src, and sends each piece to the channel pieces. It ends when a read fails,
// or when the channel done is closed. Then it closes the channel pieces.
func (p *Proxy) read(src net.Conn, pieces chan<- piece, done <-chan struct{}) {
	defer close(pieces)
	buf := make([]byte, 32<<10)
	for {
		n, err := src.Read(buf[:p.slowly(len(buf))])
		select {
		case pieces <- piece{bytes.Clone(buf[:n]), err}:
		case <-done:
			return
		}
		if err != nil {
			return
		}
	}
}

// Proxy.abort breaks one side of a connection because the other side has ended. It does nothing to
// a stranded connection.
func (p *Proxy) abort(c *pipe, side net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !c.stranded {
		abort(side)
	}
}

func abort(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	c.Close()
}

// Proxy.wait blocks between Freeze and Thaw. If the argument is true, which means that the bytes
// are from the target, Proxy.wait also blocks between FreezeBack and Thaw.
func (p *Proxy) wait(back bool) {
	p.mu.Lock()
	thawed, heard := p.thawed, p.heard
	p.mu.Unlock()
	<-thawed
	if back {
		<-heard
	}
}

// Proxy.slowly is called before each read. It returns how many bytes may be read, n at most. When
// the Proxy is throttled, it first blocks for 50 ms.
func (p *Proxy) slowly(n int) int {
	p.mu.Lock()
	rate := p.rate
	p.mu.Unlock()
	if rate == 0 {
		return n
	}
	const pause = 50 * time.Millisecond
	time.Sleep(pause)
	return min(n, max(1, int(rate*int64(pause)/int64(time.Second))))
}

// Proxy.spend takes n bytes off the budget of CutAfter. It returns how many of the n bytes may
// still pass, and whether the connections must be cut after that.
func (p *Proxy) spend(n int) (keep int, cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.budget < 0 {
		return n, false
	}
	if int64(n) < p.budget {
		p.budget -= int64(n)
		return n, false
	}
	keep = int(p.budget)
	p.budget = -1
	return keep, true
}
