package gateway

import (
	"runtime"
	"sync"
	"time"
)

const (
	// inlineMost is how many conns the end of a batch writes to itself. More are the writers' work, since nobody else reads the link meanwhile.
	inlineMost = 4
	// holdMost bounds how many messages are queued before the writers begin with them: a millisecond's work.
	holdMost = 16 << 10
	// holdShare bounds the same for one member: a part of its queue, so that a burst fills nobody's queue before it is written.
	holdShare = 8
	// crowd is so many conns at once that their writing takes longer than gatherFor: the writers wait that long for what comes for them next.
	crowd     = 64
	gatherFor = time.Millisecond
)

// writers write to the conns whose queues are not empty, in the order in which they came to be so: a few goroutines for all of them, which end when there is nothing to
// do. None waits for a client: what a socket does not take is left to a goroutine of its conn's own.
//
// A conn that waits for its turn gathers what comes for it meanwhile, which is written in one system call; so does one that is held. That is what makes fan-out cheap: a write costs
// 5 to 9 µs however many messages are in it.
//
// A conn is in the list at most once, and is its queue's writer from add until queue.take or queue.written says that there is nothing.
type writers struct {
	enough int // bytes for one conn that are not held back any more: holdShare of its queue; set by NewServer, before there are conns

	mu          sync.Mutex // guards what follows; never held across I/O
	first, last *conn      // linked by conn.next
	waiting     int        // conns in the list
	running     int        // goroutines
	holds       int        // batches that are being handled
	all         sync.WaitGroup
}

// add puts c into the list: its queue is not empty any more. It does not block.
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

// startLocked has enough goroutines for what there is. w.mu must be held.
func (w *writers) startLocked() {
	for w.running < min(runtime.GOMAXPROCS(0), w.waiting) {
		w.running++
		w.all.Add(1)
		go w.run()
	}
}

// hold keeps what is added until release. Goroutines that run go on with what there is.
func (w *writers) hold() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.holds++
}

// release ends a hold, and writes what is there if it is little. A crowd waits for more, unless enough is there. It must not be called with a lock held.
func (w *writers) release(enough bool) {
	w.mu.Lock()
	w.holds--
	few := w.waiting <= inlineMost && w.running == 0
	switch {
	case few:
	case !enough && w.running == 0 && w.waiting >= crowd && w.holds == 0:
		w.holds++
		time.AfterFunc(gatherFor, w.start)
	case w.holds == 0:
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

// relieve has what is held written all the same: a batch may not go on, as one that the link breaks off for its fault, or not soon.
func (w *writers) relieve() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.startLocked()
}

// start ends the time of gathering.
func (w *writers) start() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.holds--
	w.startLocked()
}

// next takes the first of the list out; nil: there is none.
func (w *writers) next() *conn {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.nextLocked()
}

// w.mu must be held.
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

// nextOrEnd is next for a goroutine, which must end when there is nothing to do.
func (w *writers) nextOrEnd() *conn {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.nextLocked()
	if c == nil {
		w.running--
	}
	return c
}

// write writes to c what is queued for it. With more there since, c goes to the end of the list.
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
		m.written.Add(float64(frames - len(b.frames)))
		c.patiently(b)
	default:
		m.writes.Inc()
		m.written.Add(float64(frames))
		if c.session.queue.written(b) {
			w.add(c)
		}
	}
}

// close returns when no goroutine runs. Nothing may be added any more.
func (w *writers) close() { w.all.Wait() }
