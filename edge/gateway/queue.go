package gateway

import "sync"

// frameCost is what a queued frame costs beside its bytes: its place in the batch.
const frameCost = 24

// queue holds the frames for one client in order. It is bounded in bytes, and what the writer took counts until it is written. A frame
// that does not fit is refused, which ends its session as a slow reader; an empty queue takes one frame of any size.
//
// Frames are shared between queues: nobody may change them. No method blocks.
type queue struct {
	mu      sync.Mutex
	limit   int           // bytes
	start   func()        // has a writer take until there is nothing; called with mu held; nil: nobody writes yet
	pending *batch        // not yet taken; nil when empty, so that an idle session holds none
	size    int           // bytes of pending, and of the writer's batch until it is written
	lost    int           // messages that were queued and will not be written
	writing bool          // the writer runs
	sealed  bool          // nothing more is taken in
	idle    chan struct{} // closed when the writer ends; nil unless somebody waits for it
}

// pushed is what became of a frame.
type pushed uint8

const (
	pushOK     pushed = iota
	pushFull          // it does not fit
	pushSealed        // the session ends
)

// push appends a frame and starts the writer if it does not run.
func (q *queue) push(frame []byte) pushed {
	q.mu.Lock()
	defer q.mu.Unlock()
	cost := len(frame) + frameCost
	switch {
	case q.sealed:
		return pushSealed
	case q.size > 0 && q.size+cost > q.limit:
		return pushFull
	}
	q.appendLocked(frame, cost)
	return pushOK
}

// q.mu must be held.
func (q *queue) appendLocked(frame []byte, cost int) {
	if q.pending == nil {
		q.pending = batches.Get().(*batch)
	}
	q.pending.frames = append(q.pending.frames, frame)
	q.pending.size += cost
	q.size += cost
	q.startLocked()
}

// startLocked starts the writer if there is one, it does not run, and there is something to write. q.mu must be held.
func (q *queue) startLocked() {
	if q.start != nil && !q.writing && q.pending != nil {
		q.writing = true
		q.start()
	}
}

// attach gives the queue its writer, which starts with what is queued already.
func (q *queue) attach(start func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.start = start
	q.startLocked()
}

// seal refuses all later frames, and queues last (if any) behind those before it, or with discard instead of them. Only the first seal
// has an effect.
func (q *queue) seal(last []byte, discard bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.sealed {
		return
	}
	q.sealed = true
	if discard {
		q.discardLocked()
	}
	if last != nil {
		q.appendLocked(last, len(last)+frameCost)
	}
}

// discardLocked drops what is pending. q.mu must be held.
func (q *queue) discardLocked() {
	if q.pending == nil {
		return
	}
	q.lost += q.pending.messages()
	q.size -= q.pending.size
	q.pending.release()
	q.pending = nil
}

// take gives the writer all that is queued, after it wrote the batch done (nil at first). With nothing queued it returns nil: the
// writer must end, and is started anew by the next push.
func (q *queue) take(done *batch) *batch {
	q.mu.Lock()
	defer q.mu.Unlock()
	if done != nil {
		q.size -= done.size
		done.release()
	}
	next := q.pending
	q.pending = nil
	if next == nil {
		q.stoppedLocked()
	}
	return next
}

// written is take for a writer that takes later: it reports whether there is more. If not, the writer must end, as with take.
func (q *queue) written(done *batch) (more bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.size -= done.size
	done.release()
	if q.pending == nil {
		q.stoppedLocked()
		return false
	}
	return true
}

// fail is take for a writer whose write of the batch failed: it must end, and nothing is written any more.
func (q *queue) fail(failed *batch) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sealed = true
	q.start = nil
	q.lost += failed.messages()
	q.size -= failed.size
	failed.release()
	q.discardLocked()
	q.stoppedLocked()
}

// q.mu must be held.
func (q *queue) stoppedLocked() {
	q.writing = false
	if q.idle != nil {
		close(q.idle)
		q.idle = nil
	}
}

// stopped returns a channel that is closed once the writer does not run. After seal it will not run again.
func (q *queue) stopped() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.writing {
		return closedChan
	}
	if q.idle == nil {
		q.idle = make(chan struct{})
	}
	return q.idle
}

// end forgets the writer and all that is queued, which frees what they hold on to, and returns how many messages were lost in all. The
// writer must not run.
func (q *queue) end() (lost int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sealed = true
	q.start = nil
	q.discardLocked()
	return q.lost
}

var closedChan = func() chan struct{} { c := make(chan struct{}); close(c); return c }()
