package router

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/link"
)

// ErrStopped is returned by Connected and Received after the Pump has stopped.
var ErrStopped = errors.New("router: stopped")

// Bounds of the mailbox, in bytes. A link that has used up its linkShare is not read. While
// tellShare is used up, no link that tells its tables is read. While brokerShare is used up,
// Pump.Event waits.
const (
	linkShare   = 1 << 20  // for the batches of one link
	tellShare   = 1 << 19  // for the batches of all links that tell their tables
	brokerShare = 16 << 20 // for broker events
	eventCost   = 64       // counted for each batch, each event, and each publication in a History
)

// stepInputs is the largest number of frames, broker events and publications of history that one
// step takes. But a page of history is not divided, and may exceed that number. Further inputs wait
// for the next step, so that no step takes long.
const stepInputs = 512

// Without inputs, the Router is stepped every tick. While answers wait for room in a window, it is
// stepped every pacedTick.
const (
	tick      = 100 * time.Millisecond
	pacedTick = 5 * time.Millisecond
)

// Pump steps a Router, and holds the Router's mailbox. The Router waits for nothing. Step takes all
// inputs out of the mailbox at once. When the Router has been given all of them, Step takes the
// inputs that have come since. Each link waits for room in its own share of the mailbox.
type Pump struct {
	router *Router
	taken  []Input       // inputs taken from the mailbox together; owned by Step's caller
	next   int           // index in Pump.taken of the next input for a step
	now    []Input       // inputs of one step; owned by Step's caller
	wake   chan struct{} // cap 1; Pump.put makes sure that it holds a value

	mu       sync.Mutex
	inputs   []Input
	room     sync.Cond // broadcast when the inputs are taken, and when the Pump stops
	shares   map[Link]share
	round    uint64 // number of times that the inputs were taken
	events   int    // bytes of broker events in the mailbox
	told     int    // bytes in the mailbox from links that tell their tables
	stopped  bool
	drained  chan struct{} // closed once no linked edge has an unfinished frame; nil until Drain
	degraded []string
}

// share has one link's part of the mailbox. The field share.bytes is the size of the link's batches
// in the mailbox. If share.round differs from Pump.round, these batches have been taken out, and
// share.bytes is out of date.
type share struct {
	round   uint64
	bytes   int
	telling bool // the link tells its tables: Synced has not come yet
}

// NewPump returns a Pump for r. From now on nobody else may step r.
func NewPump(r *Router) *Pump {
	p := &Pump{router: r, wake: make(chan struct{}, 1), shares: make(map[Link]share)}
	p.room.L = &p.mu
	return p
}

// Run steps the Router until ctx is done.
func (p *Pump) Run(ctx context.Context) {
	timer := time.NewTimer(tick)
	defer timer.Stop()
	defer p.stop()
	for {
		if ctx.Err() != nil {
			return
		}
		began := time.Now()
		more := p.Step(began)
		p.router.m.steps.Observe(time.Since(began).Seconds())
		if more {
			continue
		}
		if p.router.Paced() {
			timer.Reset(pacedTick)
		} else {
			timer.Reset(tick)
		}
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-p.wake:
		}
	}
}

// Step steps the Router once, with the oldest inputs of the mailbox. It reports whether there is
// more to do. If so, the caller should call Step again soon. The caller is Run, or a test or
// simulation that does the work of Run.
func (p *Pump) Step(now time.Time) (more bool) {
	if p.next == len(p.taken) {
		clear(p.taken)
		p.taken, p.next = p.take(p.taken), 0
	}
	p.portion()
	p.router.Step(now, p.now)
	clear(p.now)
	p.report()
	return p.next < len(p.taken) || p.router.Busy()
}

// portion moves inputs from p.taken to p.now until their count reaches stepInputs. It divides the
// frames of a large batch.
func (p *Pump) portion() {
	p.now = p.now[:0]
	for left := stepInputs; left > 0 && p.next < len(p.taken); {
		switch in := p.taken[p.next].(type) {
		case Received:
			if len(in.Frames) > left {
				p.now = append(p.now, Received{in.Link, in.Frames[:left]})
				p.taken[p.next] = Received{in.Link, in.Frames[left:]}
				return
			}
			left -= len(in.Frames)
		case FromBroker:
			if page, ok := in.Event.(broker.History); ok {
				left -= len(page.Publications)
			}
		}
		left--
		p.now = append(p.now, p.taken[p.next])
		p.next++
	}
}

// take empties the mailbox and returns its inputs. For the next inputs the mailbox uses the memory
// of the given slice, unless that memory is large.
func (p *Pump) take(empty []Input) []Input {
	p.mu.Lock()
	defer p.mu.Unlock()
	inputs := p.inputs
	p.inputs = empty[:0]
	if cap(empty) > 4096 {
		p.inputs = nil
	}
	// The new round makes the shares of all links void, without a walk over the links.
	p.round++
	p.events, p.told = 0, 0
	p.room.Broadcast()
	return inputs
}

// report copies the part of the Router's state that other goroutines may read. It also ends the
// wait of Drain when no unfinished frame is left.
func (p *Pump) report() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.degraded = p.router.degraded()
	if p.drained != nil && p.router.stopping && p.router.unfinished() == 0 {
		select {
		case <-p.drained:
		default:
			close(p.drained)
		}
	}
}

func (p *Pump) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	p.inputs = nil
	p.room.Broadcast()
}

func (p *Pump) put(in Input) {
	p.inputs = append(p.inputs, in)
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Connected tells of a new link. It does not block. After the Pump has stopped, Connected returns
// ErrStopped.
func (p *Pump) Connected(l Link, h link.Hello) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return ErrStopped
	}
	p.shares[l] = share{telling: true}
	p.put(Connected{l, h})
	return nil
}

// Received hands over the frames of a batch, or of a part of one. The last argument is the size of
// the frames in bytes. Received blocks until the frames fit into the link's share of the mailbox.
// While a link tells its tables, its frames must also fit into a share that all such links have in
// common. So the tables of many edges do not delay the messages of others. An empty share takes
// frames of any size. After the Pump has stopped, Received returns ErrStopped.
func (p *Pump) Received(l Link, frames []any, size int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.shareLocked(l)
	for !p.stopped && (over(s.bytes, size, linkShare) || s.telling && over(p.told, size, tellShare)) {
		p.room.Wait()
		s = p.shareLocked(l)
	}
	if p.stopped {
		return ErrStopped
	}
	s.bytes += size + eventCost
	if s.telling {
		p.told += size + eventCost
		s.telling = !slices.ContainsFunc(frames, func(f any) bool { _, synced := f.(link.Synced); return synced })
	}
	p.shares[l] = s
	p.put(Received{l, frames})
	return nil
}

// over reports whether some further bytes would take a share of the mailbox above its bound. The
// arguments are the bytes that the share holds, the further bytes, and the bound. An empty share
// has room for everything.
func over(used, size, share int) bool { return used > 0 && used+size > share }

// shareLocked returns the share of a link in the present round. The caller must hold mu.
func (p *Pump) shareLocked(l Link) share {
	s := p.shares[l]
	if s.round != p.round {
		s.round, s.bytes = p.round, 0
	}
	return s
}

// Writable tells that a link has room again. It does not block.
func (p *Pump) Writable(l Link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.stopped {
		p.put(Writable{l})
	}
}

// Disconnected tells that a link has ended. It does not block.
func (p *Pump) Disconnected(l Link, lastReceived time.Time, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.shares, l)
	if !p.stopped {
		p.put(Disconnected{l, lastReceived, err})
	}
}

// Event is the broker's sink. It blocks until the event fits into the broker's share of the
// mailbox. An empty share takes any event. After the Pump has stopped, Event drops the event.
func (p *Pump) Event(ev broker.Event) {
	size := eventCost
	switch ev := ev.(type) {
	case broker.Received:
		size += ev.Publication.Size()
	case broker.History:
		for _, publication := range ev.Publications {
			size += eventCost + publication.Size()
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.stopped && over(p.events, size, brokerShare) {
		p.room.Wait()
	}
	if p.stopped {
		return
	}
	p.events += size
	p.put(FromBroker{ev})
}

// Degraded lists the degraded parts of this relay's service, as of the end of the last step:
// "broker" while the broker is away, and otherwise none.
func (p *Pump) Degraded() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.degraded
}

// Move asks edges to link to another relay. It asks every edge that has the feature of moving, even
// if the edge links later. Each edge begins to move at a random moment within the given time. All
// work goes on meanwhile. Move does not block.
func (p *Pump) Move(window time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.stopped {
		p.put(move{window})
	}
}

// move makes the Router ask its edges to link elsewhere.
type move struct{ window time.Duration }

func (in move) apply(r *Router) { r.moveAll(in.window) }

// Drain makes the Router take no more numbered frames. Frames that are not taken stay in the logs
// of their edges, for the next relay. Drain returns nil once no linked edge has an unfinished frame
// here. It returns ctx.Err() if ctx is done first. Deliveries go on meanwhile.
func (p *Pump) Drain(ctx context.Context) error {
	p.mu.Lock()
	if p.drained == nil {
		p.drained = make(chan struct{})
		p.put(stop{})
	}
	drained := p.drained
	p.mu.Unlock()
	select {
	case <-drained:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stop makes the Router take no more numbered frames.
type stop struct{}

func (stop) apply(r *Router) { r.stopping = true }

// unfinished returns the number of frames that are not finished. Frames of an edge without a link
// do not count: the edge sends them again on its next link.
func (r *Router) unfinished() (n int) {
	for _, e := range r.directory.links {
		n += len(e.inbox.frames)
	}
	return n
}
