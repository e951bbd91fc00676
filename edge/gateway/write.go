package gateway

import (
	"net"
	"runtime"
	"sync"
	"time"
)

const (
	// inlineMost is the largest number of conns to which the link's reader writes at the end of a
	// batch, in place of the writers. If more conns wait, the link's reader leaves all of them to
	// the writers. While the link's reader writes, nobody reads the link.
	inlineMost = 4
	// holdMost is the number of queued messages, counted over all members, at which a batch is
	// released before its end. To queue holdMost messages takes about a millisecond.
	holdMost = 16 << 10
	// A batch is also released before its end when its texts together have Config.Queue/holdShare
	// bytes. All of its texts may be for one member. The aim is that the writers begin before a
	// burst fills that member's queue.
	holdShare = 8
	// If gatherFrom conns or more wait, a round of writes begins only after a time of gathering:
	// gatherFor, or gatherBehind if a round has just ended. Messages that come for these conns in
	// that time can be written in the same system calls. If the number of these messages is at
	// least half the number of conns that wait, the gathering goes on for another gatherFor. In all
	// it lasts for gatherMost at most.
	gatherFrom   = 64
	gatherFor    = time.Millisecond
	gatherBehind = 2 * time.Millisecond
	gatherMost   = 5 * time.Millisecond
)

// writers write to the conns in a list, in the order of the list. A few goroutines serve all conns,
// and end when there is nothing to do. They do not wait for clients: if a socket does not take
// everything at once, a goroutine for that conn alone writes the remainder.
//
// While a conn waits for its turn, or for the end of a hold, its queue collects messages. They are
// then written together. This makes fan-out cheap: a write costs 5 to 9 µs, for one small message
// or for several.
//
// The list is written in rounds. A round is the conns that waited when it began. Conns that come
// into the list later belong to the next round. If many conns wait, a time of gathering comes
// before each round. This time brings together the messages to a busy group. A member often sends
// its next message when its last one has reached all members, which is when a round ends. Suppose
// that only half of the members have sent their next message when a round ends. Without gathering,
// the next round would begin at once, with the messages of that half alone. The other members send
// just after that round has begun, so their messages wait for the round after it. The two halves
// would stay apart for ever.
//
// A conn is in the list at most once. While the conn is in the list or is written to, queue.writing
// is set. The methods take and written of the queue clear queue.writing when nothing is left, and
// the method fail clears it in any case.
type writers struct {
	holdBytes int // bytes of fanned-out texts at which a batch is released; set by NewServer

	mu          sync.Mutex // guards the fields below; never held across I/O
	first, last *conn      // a list, linked by conn.next
	waiting     int        // conns in the list
	round       int        // conns of the present round that still wait; the list begins with them
	running     int        // goroutines that run writers.run
	holds       int        // number of unfinished batches
	gathering   gathering
	all         sync.WaitGroup
}

// gathering is the time of gathering before a round. writers.mu guards it.
type gathering struct {
	on      bool        // the time of gathering goes on, so no round begins
	waiting int         // value of writers.waiting when the timer was set
	given   int         // messages for topic members since the timer was set
	latest  time.Time   // when the round must begin
	timer   *time.Timer // calls writers.gathered; nil: never set yet
}

// add puts c into the list. It is called when c's queue has something to write. It does not block.
func (w *writers) add(c *conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.last == nil {
		w.first = c
	} else {
		w.last.next = c
	}
	w.last = c
	w.waiting++
	if w.holds == 0 {
		w.startLocked()
	}
}

// startLocked starts goroutines until w.waiting or GOMAXPROCS of them run, whichever is less.
// During gathering it does nothing. w.mu must be held.
func (w *writers) startLocked() {
	if w.gathering.on {
		return
	}
	for w.running < min(runtime.GOMAXPROCS(0), w.waiting) {
		w.running++
		w.all.Add(1)
		go w.run()
	}
}

// beginLocked begins a round at once, in place of the round that is under way, if any. w.mu must be
// held.
func (w *writers) beginLocked() {
	w.gathering.on = false
	w.round = w.waiting
	w.startLocked()
}

// gatherLocked begins a time of gathering, which lasts for the given duration or longer. w.mu must
// be held.
func (w *writers) gatherLocked(wait time.Duration) {
	w.gathering.on = true
	w.gathering.latest = time.Now().Add(gatherMost)
	w.awaitLocked(wait)
}

// awaitLocked sets the timer of gathering. w.mu must be held.
func (w *writers) awaitLocked(wait time.Duration) {
	g := &w.gathering
	g.waiting, g.given = w.waiting, 0
	if g.timer == nil {
		g.timer = time.AfterFunc(wait, w.gathered)
	} else {
		g.timer.Reset(wait)
	}
}

// gathered is called by the timer of gathering. It sets the timer once more, or begins the round.
func (w *writers) gathered() {
	w.mu.Lock()
	defer w.mu.Unlock()
	g := &w.gathering
	further := g.given - (w.waiting - g.waiting) // messages for conns that were in the list already
	switch {
	case !g.on: // release has begun the round
	case further >= w.waiting/2 && time.Until(g.latest) >= gatherFor:
		w.awaitLocked(gatherFor)
	default:
		w.beginLocked()
	}
}

// hold begins a hold, which release ends. During a hold the method add starts no goroutines, but
// the method relieve does. Goroutines that are running go on with the list.
func (w *writers) hold() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.holds++
}

// release ends a hold. If no more than inlineMost conns wait and no goroutine runs, the method
// release writes to these conns itself. Otherwise it starts the writers, unless another hold goes
// on. If gatherFrom conns or more wait and no goroutine runs, the writers start only after a time
// of gathering. If the parameter enough is true, there is no such time: a round of all conns that
// wait begins at once. The parameter given is the number of messages that the batch had for members
// of topics. The caller must hold no lock.
func (w *writers) release(given int, enough bool) {
	w.mu.Lock()
	w.holds--
	few := w.waiting <= inlineMost && w.running == 0
	switch {
	case few || w.holds > 0:
	case enough:
		w.beginLocked()
	case w.gathering.on:
		w.gathering.given += given
	case w.running == 0 && w.waiting >= gatherFrom:
		w.gatherLocked(gatherFor)
	default:
		w.startLocked()
	}
	n := w.waiting
	w.mu.Unlock()
	if !few || n == 0 {
		return
	}
	p := pens.Get().(*pen)
	defer pens.Put(p)
	for range n {
		if c := w.next(); c != nil {
			w.write(c, p)
		}
	}
}

// relieve starts the writers even during a hold. A batch may take long to end, since its link may
// stall. During gathering relieve does nothing: the timer starts the writers.
func (w *writers) relieve() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.startLocked()
}

// next removes the first conn from the list. It returns nil if the list is empty.
func (w *writers) next() *conn {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.nextLocked()
}

// nextLocked does the work of the method next. w.mu must be held.
func (w *writers) nextLocked() *conn {
	c := w.first
	if c == nil {
		return nil
	}
	w.first, c.next = c.next, nil
	if w.first == nil {
		w.last = nil
	}
	w.waiting--
	w.round = max(w.round-1, 0)
	return c
}

func (w *writers) run() {
	defer w.all.Done()
	p := pens.Get().(*pen)
	defer pens.Put(p)
	for c := w.nextOrEnd(); c != nil; c = w.nextOrEnd() {
		w.write(c, p)
	}
}

// nextOrEnd removes the first conn from the list, for a goroutine of writers.run. When a round is
// over, nextOrEnd begins the next round, or a time of gathering that comes before it. During
// gathering, and if the list is empty, it returns nil. The goroutine is then no longer counted, and
// must end.
func (w *writers) nextOrEnd() *conn {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.round > 0 || w.gathering.on:
	case w.waiting >= gatherFrom:
		w.gatherLocked(gatherBehind)
	default:
		w.round = w.waiting
	}
	if w.gathering.on || w.waiting == 0 {
		w.running--
		return nil
	}
	return w.nextLocked()
}

// write writes the frames that are queued for c. If the socket does not take everything at once,
// conn.patiently writes the remainder. If more was queued meanwhile, c goes to the end of the list.
func (w *writers) write(c *conn, p *pen) {
	if c.raw == nil {
		c.patiently(c.session.queue.take(nil))
		return
	}
	b := c.session.queue.take(nil)
	if b == nil {
		return
	}
	frames := len(b.frames)
	whole, err := p.write(c.raw, b)
	m := c.server.metrics
	switch {
	case err != nil:
		c.endNow() // the reader ends the session
		c.session.queue.fail(b)
	case !whole:
		m.framesWritten.Add(float64(frames - len(b.frames)))
		c.patiently(b)
	default:
		m.writes.Inc()
		m.framesWritten.Add(float64(frames))
		if c.session.queue.written(b) {
			w.add(c)
		}
	}
}

// close waits until no goroutine runs writers.run. No conn may be added any more.
func (w *writers) close() { w.all.Wait() }

// patiently starts a goroutine that writes b, and then the queued frames, one batch at a time. The
// goroutine blocks while the client does not read. It ends when nothing is queued, or when a write
// fails.
func (c *conn) patiently(b *batch) {
	go func() {
		q := &c.session.queue
		for ; b != nil; b = q.take(b) {
			frames := len(b.frames)
			write := b.writeTo
			if b.long > 0 {
				write = func(conn net.Conn) error { return b.writePieces(conn, q.progressed) }
			}
			if err := write(c.Conn); err != nil {
				c.endNow() // the reader ends the session
				q.fail(b)
				return
			}
			c.server.metrics.writes.Inc()
			c.server.metrics.framesWritten.Add(float64(frames))
		}
	}()
}

// copyLimit is the largest batch.size of a batch whose frames are copied together and written with
// one Write. For small frames that is cheaper than writev.
const copyLimit = 16 << 10

// pieceSize is how many bytes batch.writePieces gives to a socket at once.
const pieceSize = 32 << 10

// batchKeep is the largest capacity, in frames, that a released batch keeps.
const batchKeep = 256

// batch is a list of frames that are written together, with one system call if possible.
type batch struct {
	frames [][]byte
	size   int         // bytes, frameCost for each frame included
	long   int         // bytes of long answers; they are part of the field size
	done   []func()    // for each long answer, called when the batch was written or dropped
	torn   bool        // the first frame is the remainder of a message
	vec    net.Buffers // kept here so that writev needs no allocation
}

var (
	batches = sync.Pool{New: func() any { return new(batch) }}
	copies  = sync.Pool{New: func() any { b := make([]byte, 0, copyLimit); return &b }}
)

// messages returns how many of the frames are messages and not control frames.
func (b *batch) messages() (n int) {
	for i, f := range b.frames {
		if i == 0 && b.torn || len(f) > 0 && f[0] == textByte {
			n++
		}
	}
	return n
}

// release returns the batch to the pool. The caller must not use it afterwards.
func (b *batch) release() {
	clear(b.frames)
	if cap(b.frames) > batchKeep {
		b.frames = nil
	}
	*b = batch{frames: b.frames[:0]}
	batches.Put(b)
}

// skip drops the first n bytes of the batch, which were written. It returns how many frames are
// written completely. The field size stays as it is, so the queue counts these frames until the
// whole batch is written.
func (b *batch) skip(n int) (frames int) {
	for frames < len(b.frames) && n >= len(b.frames[frames]) {
		n -= len(b.frames[frames])
		frames++
	}
	left := copy(b.frames, b.frames[frames:])
	clear(b.frames[left:])
	b.frames = b.frames[:left]
	if n > 0 {
		b.torn = b.frames[0][0] == textByte
		b.frames[0] = b.frames[0][n:]
	}
	return frames
}

// join copies all frames into buf, one behind the other, and returns the result. The slice buf must
// have a capacity of copyLimit, and the frames must fit into it.
func (b *batch) join(buf []byte) []byte {
	buf = buf[:0]
	for _, f := range b.frames {
		buf = append(buf, f...)
	}
	return buf
}

// writePieces does what writeTo does, for a batch with a long answer. It calls progressed after
// each piece that it has given to the socket.
func (b *batch) writePieces(conn net.Conn, progressed func()) error {
	write := func(frames net.Buffers) error {
		if len(frames) == 0 {
			return nil
		}
		_, err := frames.WriteTo(conn)
		progressed()
		return err
	}
	var piece net.Buffers
	size := 0
	for _, f := range b.frames {
		for len(f) > 0 {
			n := min(len(f), pieceSize-size)
			piece, size, f = append(piece, f[:n]), size+n, f[n:]
			if size < pieceSize {
				continue
			}
			if err := write(piece); err != nil {
				return err
			}
			piece, size = piece[:0], 0
		}
	}
	return write(piece)
}

// writeTo writes all frames with as few system calls as possible. It blocks for as long as
// conn.Write does.
func (b *batch) writeTo(conn net.Conn) (err error) {
	switch {
	case len(b.frames) == 1:
		_, err = conn.Write(b.frames[0])
	case b.size <= copyLimit:
		buf := copies.Get().(*[]byte)
		_, err = conn.Write(b.join(*buf))
		copies.Put(buf)
	default:
		b.vec = b.frames
		_, err = b.vec.WriteTo(conn)
	}
	return err
}
