package simulation

import (
	"encoding/binary"
	"time"

	"github.com/edgerelay/edgerelay/relay/downlink"
	"github.com/edgerelay/edgerelay/shared/link"
)

// conn is the connection under one link. Each of its two directions is a stream of bytes, which
// arrive in order, in pieces and late. When the conn is cut, a random number of the bytes in flight
// still arrives.
type conn struct {
	w     *world
	name  string
	edge  *end
	relay *end
	cut   bool // bytes that are sent after the cut do not arrive
}

// end is one end of a conn. It takes the place of a link.Conn.
type end struct {
	w     *world
	conn  *conn
	side  link.Side
	name  string
	peer  *end
	talk  *link.Talk
	src   link.Source
	sink  link.Sink
	began time.Time
	ended func(cause *link.CloseError, lastReceived time.Time) // called when the link ends, if set
	doubt func()                                               // called when a doubt begins

	woken    bool
	spoken   bool // Bye was sent
	closed   bool
	paused   bool          // while set: no reads, no writes, no watching
	received time.Duration // time from end.began to the last byte that came
	progress time.Duration // time from end.began to the last send or the peer's last read
	sent     uint64
	flying   int       // bytes sent that the peer has not read
	arrives  int       // after a cut: how many bytes in flight still arrive
	last     time.Time // arrival time of the last byte that was sent so far
	waiting  []byte    // bytes that arrived while paused
	lost     bool      // the connection ended while paused
	in       []byte    // bytes read of an incomplete batch
	features uint64    // in force on the link
}

var _ downlink.Conn = (*end)(nil)

func (w *world) newConn(name string, edgeName, relayName string, features uint64) *conn {
	c := &conn{w: w, name: name}
	newEnd := func(side link.Side, name string) *end {
		e := &end{w: w, conn: c, side: side, name: name, began: w.now, features: features}
		e.talk = link.NewTalk(side, e.Wake)
		return e
	}
	c.edge, c.relay = newEnd(link.Edge, edgeName), newEnd(link.Relay, relayName)
	c.edge.peer, c.relay.peer = c.relay, c.edge
	w.conns = append(w.conns, c)
	return c
}

func (e *end) now() time.Duration { return e.w.now.Sub(e.began) }

// open begins to carry frames.
func (e *end) open(src link.Source, sink link.Sink, ended func(*link.CloseError, time.Time)) {
	e.src, e.sink, e.ended = src, sink, ended
	e.received = e.now()
	e.watch()
	e.Wake()
}

// Wake implements downlink.Conn. An uplink.Link calls it as well.
func (e *end) Wake() {
	if !e.woken && !e.closed {
		e.woken = true
		e.w.after(e.w.between(0, 2*time.Millisecond), e.write)
	}
}

// Bye implements downlink.Conn.
func (e *end) ShortRTT() time.Duration { return e.talk.ShortRTT() }

func (e *end) Bye(code link.Code, text string) { e.talk.Bye(code, text, e.now()) }

// Features implements downlink.Conn.
func (e *end) Features() uint64 { return e.features }

// write sends batches until no batch is left, or until this end can send no more.
func (e *end) write() {
	e.woken = false
	for !e.closed && !e.spoken && !e.paused && e.src != nil && !e.full() {
		batch, last := e.talk.Next(nil, e.src, e.now())
		if len(batch) == 0 {
			return
		}
		e.spoken = last
		e.send(batch)
	}
}

func (e *end) full() bool { return e.flying >= e.w.config.window }

// send puts a batch on its way in pieces. The peer takes the batch when the last byte has come.
func (e *end) send(batch []byte) {
	w := e.w
	e.trace("sends", batch)
	message := append(binary.BigEndian.AppendUint32(nil, uint32(len(batch))), batch...)
	e.progress = e.now()
	e.flying += len(message)
	e.sent += uint64(len(message))
	e.talk.Wrote(e.sent, e.now())
	at := w.now.Add(w.between(100*time.Microsecond, 4*time.Millisecond))
	if w.chance(3) {
		at = w.now.Add(w.between(0, 200*time.Millisecond))
	}
	for len(message) > 0 {
		n := len(message)
		if w.chance(20) {
			n = 1 + w.rnd.IntN(n)
		}
		piece := message[:n]
		message = message[n:]
		if at.Before(e.last) {
			at = e.last
		}
		e.last = at
		w.at(at, func() { e.arrive(piece) })
		at = at.Add(w.between(0, 3*time.Millisecond))
	}
}

// arrive brings a piece to the peer.
func (e *end) arrive(piece []byte) {
	if e.conn.cut {
		piece = piece[:min(len(piece), e.arrives)]
		e.arrives -= len(piece)
	}
	p := e.peer
	switch {
	case len(piece) == 0 || p.closed:
	case p.paused:
		p.waiting = append(p.waiting, piece...)
	default:
		p.take(piece)
	}
}

// take reads a piece, and hands on each batch that is now whole.
func (e *end) take(piece []byte) {
	sender := e.peer
	sender.flying -= len(piece)
	sender.progress = sender.now()
	sender.Wake()
	e.received = e.now()
	e.in = append(e.in, piece...)
	for len(e.in) >= 4 && !e.closed {
		size := int(binary.BigEndian.Uint32(e.in))
		if len(e.in) < 4+size {
			return
		}
		batch := e.in[4 : 4+size]
		e.in = e.in[4+size:]
		e.w.note(e.name, batch)
		e.trace("takes", batch)
		if e.talk.Take(batch, e.sink, e.now()) {
			e.shut()
		}
	}
}

// watch checks every link.WatchEvery whether the link is alive, and whether a doubt has begun.
func (e *end) watch() {
	e.w.after(link.WatchEvery, func() {
		if e.closed {
			return
		}
		if !e.paused && e.talk.Watch(link.Signs{
			Now: e.now(), Received: e.received, Handled: e.received, Writing: e.full(), Progress: e.progress,
			Left: e.sent, Drained: e.progress,
		}) {
			e.shut()
			return
		}
		select {
		case <-e.talk.Doubt():
			e.doubt()
		default:
		}
		e.watch()
	})
}

// silent reports whether the edge doubts its relay, and no byte has come since the doubt began.
func (e *end) silent() bool { return e.talk.Silent(e.received) }

// pause stops the process at this end. The method resume lets the process go on.
func (e *end) pause() { e.paused = true }

func (e *end) resume() {
	if !e.paused {
		return
	}
	e.paused = false
	waiting := e.waiting
	e.waiting = nil
	if len(waiting) > 0 && !e.closed {
		e.take(waiting)
	}
	if e.lost {
		e.shut()
	}
	e.Wake()
}

// shut closes this end. The peer learns of the end when it has received the last byte that was
// sent. If the conn is cut, the peer does not learn of the end.
func (e *end) shut() {
	if e.closed {
		return
	}
	e.closed = true
	cause := e.talk.Cause()
	if cause == nil {
		cause = &link.CloseError{Code: link.CodeLost}
	}
	e.w.tracef("%s: link ended: %v", e.name, cause)
	if !e.conn.cut {
		at := e.w.now.Add(e.w.between(0, 5*time.Millisecond))
		if at.Before(e.last) {
			at = e.last
		}
		e.w.at(at, e.peer.lose)
	}
	if e.ended != nil {
		e.ended(cause, e.began.Add(e.received))
	}
}

// lose tells this end that the connection has ended.
func (e *end) lose() {
	if e.paused {
		e.lost = true
		return
	}
	e.shut()
}

// sever cuts the connection at some byte in each direction. The parameters say which ends are
// told of the cut within 30 ms. An end that is not told notices when no byte has come for too long.
func (c *conn) sever(edgeSees, relaySees bool) {
	if c.cut {
		return
	}
	c.cut = true
	for _, e := range []*end{c.edge, c.relay} {
		e.arrives = c.w.rnd.IntN(max(0, e.flying-len(e.peer.waiting)) + 1)
		if c.w.chance(30) {
			e.arrives = 0
		}
	}
	c.w.tracef("%s: cut, %d bytes arrive at the edge and %d at the relay; edge sees it %v, relay %v", c.name, c.relay.arrives, c.edge.arrives, edgeSees, relaySees)
	if edgeSees {
		c.w.after(c.w.between(0, 30*time.Millisecond), c.edge.lose)
	}
	if relaySees {
		c.w.after(c.w.between(0, 30*time.Millisecond), c.relay.lose)
	}
}

// trace records the frames of a batch for the reader of a trace.
func (e *end) trace(verb string, batch []byte) {
	if !e.w.tracing {
		return
	}
	if frames := told(batch); frames != "" {
		e.w.tracef("%s %s %d bytes: %s", e.name, verb, len(batch), frames)
	}
}
