package link

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// Source has the frames that a link's writer sends. One goroutine calls Fill.
type Source interface {
	// Fill appends frames that are to be sent, each one whole, until batch has about BatchTarget
	// bytes in all. It returns batch unchanged when there are no frames to send. It must not block
	// and must not keep batch. While the link lasts, it is called again after each batch, and after
	// Wake.
	Fill(batch []byte) []byte
}

// Sink takes the frames that a link's reader receives. One goroutine calls both methods. They may
// block. While one blocks, nothing is read from the peer. Batches that come after a call of
// Conn.Bye are discarded.
type Sink interface {
	// HandleFrame takes a frame other than Ping, Pong and Bye. The body is valid until EndBatch
	// returns. An error ends the link. If the error is a *CloseError, the peer is told the Code in
	// it, otherwise CodeProtocol.
	HandleFrame(t Type, body []byte) error
	// EndBatch is called after the last frame of a batch, unless an earlier error has ended the
	// batch. An error of EndBatch ends the link as an error of HandleFrame does. If the peer's Bye
	// has ended the batch, an error of EndBatch has no effect.
	EndBatch() error
}

// Stats counts what a link has carried. The bytes include what WebSocket adds, and at an edge also
// what TLS adds. The bytes of the handshake count too, but a relay counts neither the HTTP request
// nor its answer. Batches and frames are counted from the call of Run on.
type Stats struct {
	// RTT is smoothed; 0 means not measured yet. It includes the time for which Ping and Pong wait
	// behind batches that are under way.
	RTT             time.Duration
	ShortRTT        time.Duration // the shortest of the last eight round trips; 0: not measured
	LongestSilence  time.Duration // the longest time between two reads that brought bytes
	ReceivedBytes   uint64
	SentBytes       uint64
	ReceivedBatches uint64
	SentBatches     uint64
	ReceivedFrames  uint64
}

// Conn is a link after its handshake. Dial and Accept make it. The owner must call Run once, or
// CloseNow.
type Conn struct {
	side     Side
	ws       *websocket.Conn
	socket   *socket
	version  uint64
	features uint64

	talk *Talk
	wake chan struct{} // one slot; never closed
	done chan struct{} // closed by closeNow

	in []byte // the buffer of readBatch

	handling atomic.Bool
	handled  atomic.Int64

	receivedBatches atomic.Uint64
	sentBatches     atomic.Uint64

	closing sync.Once
}

func newConn(side Side, ws *websocket.Conn, s *socket, version, features uint64) *Conn {
	ws.SetReadLimit(maxBatch)
	c := &Conn{side: side, ws: ws, socket: s, version: version, features: features, wake: make(chan struct{}, 1), done: make(chan struct{})}
	c.talk = NewTalk(side, c.Wake)
	return c
}

// Version returns the negotiated protocol version.
func (c *Conn) Version() uint64 { return c.version }

// Features returns the features in force: those that both sides have.
func (c *Conn) Features() uint64 { return c.features }

// RemoteAddr returns the peer's network address, for logs.
func (c *Conn) RemoteAddr() string { return c.socket.RemoteAddr().String() }

// LastReceived returns when the last byte came from the peer.
func (c *Conn) LastReceived() time.Time {
	return c.socket.start.Add(time.Duration(c.socket.received.Load()))
}

// ShortRTT returns Stats.ShortRTT, for less than Stats costs.
func (c *Conn) ShortRTT() time.Duration { return c.talk.ShortRTT() }

// Stats returns what the link has carried so far. It may be called at any time, even after Run.
func (c *Conn) Stats() Stats {
	return Stats{
		RTT:             time.Duration(c.talk.rtt.Load()),
		ShortRTT:        c.talk.ShortRTT(),
		LongestSilence:  time.Duration(c.socket.longest.Load()),
		ReceivedBytes:   c.socket.receivedBytes.Load(),
		SentBytes:       c.socket.sentBytes.Load(),
		ReceivedBatches: c.receivedBatches.Load(),
		SentBatches:     c.sentBatches.Load(),
		ReceivedFrames:  c.talk.frames.Load(),
	}
}

// Run carries frames until the link ends, and returns the reason, which is always a *CloseError. It
// reads in the caller's goroutine, and starts goroutines for the writer and the watchdog. It
// returns after both have ended and the connection is closed. Cancelling ctx closes the connection
// without Bye. Neither src nor sink is called after Run has returned.
func (c *Conn) Run(ctx context.Context, src Source, sink Sink) error {
	defer c.ws.CloseNow()
	stop := context.AfterFunc(ctx, func() { c.end(&CloseError{Code: CodeNormal, Err: context.Cause(ctx)}) })
	defer stop()
	var children sync.WaitGroup
	children.Go(func() { c.write(src) })
	children.Go(c.watch)
	c.read(sink)
	children.Wait()
	return c.talk.Cause()
}

// Wake makes the writer call Source.Fill. It never blocks, and anyone may call it at any time.
func (c *Conn) Wake() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Bye begins to end the link with a reason. The writer sends what the Source still has, for about a
// second at most, and then a Bye frame. The peer should then close the connection. If the peer does
// not, this side closes the connection about two seconds after the call of Bye. Batches that come
// meanwhile are discarded. The method does not block. Only the first reason of a link counts.
func (c *Conn) Bye(code Code, text string) { c.talk.Bye(code, text, c.socket.now()) }

// CloseNow closes the connection at once, without Bye. It may be called while Run is running, or
// instead of Run.
func (c *Conn) CloseNow() {
	c.end(&CloseError{Code: CodeNormal})
	c.ws.CloseNow()
}

// Conn.end closes the connection, which unblocks reader and writer. Only the first cause of a link
// counts.
func (c *Conn) end(cause *CloseError) {
	c.talk.end(cause)
	c.closeNow()
}

func (c *Conn) closeNow() {
	c.closing.Do(func() {
		close(c.done)
		c.socket.Close()
	})
}

// Conn.watch ends the link when it is dead. It makes the writer send a Ping when one is due.
func (c *Conn) watch() {
	ticker := time.NewTicker(WatchEvery)
	defer ticker.Stop()
	for {
		select {
		case <-c.done:
			return
		case <-ticker.C:
		}
		if c.talk.Watch(c.signs()) {
			c.closeNow()
		}
	}
}

func (c *Conn) signs() Signs {
	c.socket.look(c.side)
	progress := time.Duration(c.socket.progress.Load())
	s := Signs{
		Received: time.Duration(c.socket.received.Load()),
		Handling: c.handling.Load(),
		Handled:  time.Duration(c.handled.Load()),
		Writing:  progress != 0,
		Progress: progress,
		Left:     c.socket.left,
		Drained:  c.socket.drained,
	}
	s.Now = c.socket.now()
	return s
}

// Doubt returns a channel that gets a value when an edge begins to doubt its relay. The edge should
// then look for another relay. Silent tells whether the doubt still lasts.
func (c *Conn) Doubt() <-chan struct{} { return c.talk.Doubt() }

// Silent reports whether the edge doubts its relay, and no byte has come since doubt began.
func (c *Conn) Silent() bool { return c.talk.Silent(time.Duration(c.socket.received.Load())) }

// SetPatience makes an edge doubt only after n times the usual silence. Anyone may call it at any
// time.
func (c *Conn) SetPatience(n int) { c.talk.SetPatience(n) }
