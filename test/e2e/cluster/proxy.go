package cluster

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// Proxy is a TCP proxy that a test owns: its address stays while what is behind it moves, and every connection through it can be reset, frozen,
// or cut after a number of bytes.
type Proxy struct {
	listener net.Listener
	running  sync.WaitGroup

	mu      sync.Mutex
	target  string
	refuse  bool
	rate    int64         // bytes a second, each way of each connection; 0: unlimited
	budget  int64         // bytes until the next cut, both directions together; negative: unlimited
	thawed  chan struct{} // closed unless frozen
	heard   chan struct{} // closed unless what the target sends is frozen
	pipes   map[*pipe]struct{}
	strays  []net.Conn // ends of stranded connections
	dialled int
	closed  bool
	onBack  func() io.Writer // sees what flows from the target, one Writer per connection
}

// pipe is one connection through the Proxy.
type pipe struct {
	front, back net.Conn
	began       time.Time
	stranded    bool // guarded by the Proxy's mu
}

// NewProxy starts a Proxy at addr to target. It is closed at the test's end.
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

// oldest returns when the oldest connection through the Proxy now began; the zero time: there is none.
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

// Dialled returns how many connections reached the target so far.
func (p *Proxy) Dialled() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dialled
}

// Reset ends every connection at once, as a machine does that has lost its state: RST to both sides. New ones are let through.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.resetLocked()
}

// Refuse resets every connection and all that come, until Allow.
func (p *Proxy) Refuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = true
	p.resetLocked()
}

// Allow ends Refuse.
func (p *Proxy) Allow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = false
}

// Strand resets the dialling side of every connection, refuses new ones, and leaves the target none the wiser: it still gets what a Freeze holds back, once
// there is a Thaw, and then nothing.
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

// Freeze lets no byte through, old connections and new ones alike, and breaks nothing: a black hole. Thaw ends it.
func (p *Proxy) Freeze() { p.freeze(&p.thawed) }

// FreezeBack is Freeze for what the target sends: it is sent everything, and nobody hears its answers.
func (p *Proxy) FreezeBack() { p.freeze(&p.heard) }

func (p *Proxy) freeze(gate *chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if isClosed(*gate) {
		*gate = make(chan struct{})
	}
}

// Thaw ends Freeze and FreezeBack; what was held flows on.
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

// Throttle lets so many bytes a second through, each way of each connection, as a slow network does; 0: all.
func (p *Proxy) Throttle(bytesPerSecond int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rate = bytesPerSecond
}

// CutAfter resets every connection once n more bytes have passed, both directions together, in the middle of whatever is being sent.
func (p *Proxy) CutAfter(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.budget = n
}

// Sniff gives what flows from the target on each later connection to a Writer of its own.
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
	for _, conn := range []net.Conn{c.front, c.back} {
		if tcp, ok := conn.(*net.TCPConn); ok {
			tcp.SetLinger(0)
		}
		conn.Close()
	}
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

// serve carries one connection both ways until either side ends it.
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

// carry copies from src to dst, and passes the end of src on: a reset as a reset, an orderly end as one.
func (p *Proxy) carry(c *pipe, dst, src net.Conn, sniff io.Writer) {
	buf := make([]byte, 32<<10)
	for {
		n, err := src.Read(buf[:p.slowly(len(buf))])
		p.wait(dst == c.front)
		if n > 0 {
			keep, cut := p.spend(n)
			sniff.Write(buf[:keep])
			if _, werr := dst.Write(buf[:keep]); werr != nil {
				p.abort(c, src)
				return
			}
			if cut {
				p.Reset()
				return
			}
		}
		if err == io.EOF {
			if tcp, ok := dst.(*net.TCPConn); ok {
				tcp.CloseWrite()
			}
			return
		}
		if err != nil {
			p.abort(c, dst)
			return
		}
	}
}

// abort breaks one side of a connection because the other has ended, unless it was stranded.
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

// wait blocks while the Proxy is frozen; back: on what the target sends.
func (p *Proxy) wait(back bool) {
	p.mu.Lock()
	thawed, heard := p.thawed, p.heard
	p.mu.Unlock()
	<-thawed
	if back {
		<-heard
	}
}

// slowly returns how many of n bytes may be carried next, and takes the time for them when the Proxy is throttled.
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

// spend takes n bytes off the budget; it returns how many of them may still pass, and whether that was the last.
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
