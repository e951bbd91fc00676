package gateway

import (
	"math"
	"sync"
)

// frameCost is the size, in bytes, of a frame's slot in a batch. A queued frame costs its length
// plus frameCost.
const frameCost = 24

// queue holds the frames for one client in order. It is bounded in bytes, with two exceptions: an
// empty queue takes one frame of any size, and seal appends a last frame in any case. The bound
// includes the frames that the writer has taken, until their batch is written. A frame that does
// not fit is refused, and Session.deliver then ends the session as a slow reader.
//
// Long answers have a bound of their own, longMost. They do not count in the bound of the other
// frames. So a long answer takes no room from the other frames.
//
// Queues share frames, so a frame must not be changed. No method blocks.
type queue struct {
	mu         sync.Mutex
	limit      int           // bound of the field size, in bytes
	start      func()        // starts the writer; called with mu held; nil: no writer
	pending    *batch        // frames that the writer has not taken; nil: none
	size       int           // bytes of the pending and the writer's batch; no long answers
	long       int32         // bytes of the long answers in these batches
	lost       int32         // messages that were queued and will not be written
	writing    bool          // the writer was started and has not ended
	sealed     bool          // no more frames are accepted
	moving     bool          // the client has taken some of a long answer: see pingHeld
	grace      uint8         // how many more times pingHeld may return true for one ping
	ahead      int32         // bytes in front of the earliest queued ping; 0: none, or no ping
	writerDone chan struct{} // closed when the writer ends; nil if nobody waits for it
}

// pushed is the result of pushing a frame.
type pushed uint8

const (
	pushOK     pushed = iota
	pushFull          // the frame does not fit
	pushSealed        // the queue takes no more frames
)

// push appends a frame, unless the frame does not fit or the queue is sealed. If the queue has a
// writer that is not running, push starts it.
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

// longMost bounds the long answers in one queue, in bytes. A queue without a long answer takes one
// of any size. Relays keep to a lower bound: see link.Drained.
const longMost = 16 << 20

// pushLong appends the frame of a long answer, unless there is no room for it or the queue is
// sealed. The queue calls the function done once, when the frame was written or dropped. If
// pushLong does not return pushOK, the function done is not called. The queue's lock is held while
// the function done runs.
func (q *queue) pushLong(frame []byte, done func()) pushed {
	q.mu.Lock()
	defer q.mu.Unlock()
	cost := len(frame) + frameCost
	switch {
	case q.sealed:
		return pushSealed
	case q.long > 0 && int(q.long)+cost > longMost:
		return pushFull
	}
	if q.pending == nil {
		q.pending = batches.Get().(*batch)
	}
	q.pending.long += cost
	q.pending.done = append(q.pending.done, done)
	q.long += int32(cost)
	q.size -= cost // appendLocked adds it
	q.appendLocked(frame, cost)
	return pushOK
}

// heldMost is the largest number of times that pingHeld returns true for one ping while the queue's
// writer makes no progress with a long answer.
const heldMost = 3

// pushPing does what push does, for a ping.
func (q *queue) pushPing(frame []byte) pushed {
	q.mu.Lock()
	if q.ahead == 0 { // if an earlier ping waits, ahead and grace are for that ping
		switch behind := q.size + int(q.long); {
		case behind > 0:
			q.ahead, q.grace, q.moving = int32(min(behind, math.MaxInt32)), heldMost, false
		case !q.moving: // otherwise the kernel may still have much of a long answer
			q.grace = 0
		}
	}
	q.mu.Unlock()
	return q.push(frame)
}

// pingHeld reports whether a ping has waited behind other frames since it was pushed, or since the
// last call of pingHeld. It returns true heldMost times at most for one ping. Without this limit,
// the edge would wait without end for a client that takes no more bytes. The count begins anew when
// the client takes some of a long answer, since a client may need minutes for such an answer. When
// the writer has written a long answer, the kernel may still have much of it. So pingHeld may then
// return true heldMost times although no frame of the queue is in front of the ping.
func (q *queue) pingHeld() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.grace == 0 {
		return false
	}
	if q.grace--; q.ahead == 0 && !q.moving {
		q.grace = 0
	}
	return true
}

// progressed notes that the client has taken some bytes of a batch that has a long answer.
func (q *queue) progressed() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.moving, q.grace = true, heldMost
}

// writtenLocked notes that a batch was written, and releases it. q.mu must be held.
func (q *queue) writtenLocked(done *batch) {
	q.ahead = max(q.ahead-int32(min(done.size, math.MaxInt32)), 0)
	q.dropLocked(done)
}

// dropLocked takes the bytes of b out of the queue, and releases b. q.mu must be held.
func (q *queue) dropLocked(b *batch) {
	q.size -= b.size - b.long
	q.long -= int32(b.long)
	for _, done := range b.done {
		done()
	}
	b.release()
}

// appendLocked queues a frame and calls startLocked. q.mu must be held.
func (q *queue) appendLocked(frame []byte, cost int) {
	if q.pending == nil {
		q.pending = batches.Get().(*batch)
	}
	q.pending.frames = append(q.pending.frames, frame)
	q.pending.size += cost
	q.size += cost
	q.startLocked()
}

// startLocked starts the queue's writer. If the queue has no writer, if the writer is running, or
// if no frames are pending, it does nothing. q.mu must be held.
func (q *queue) startLocked() {
	if q.start != nil && !q.writing && q.pending != nil {
		q.writing = true
		q.start()
	}
}

// attach gives the queue its writer. The writer starts at once if frames are already queued.
func (q *queue) attach(start func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.start = start
	q.startLocked()
}

// seal makes the queue refuse all later frames. If the parameter discard is true, seal first drops
// the frames that the writer has not taken. If the frame last is not nil, seal then appends it as
// the queue's last frame. If the queue is sealed already, seal does nothing.
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

// discardLocked drops the frames that the writer has not taken. q.mu must be held.
func (q *queue) discardLocked() {
	if q.pending == nil {
		return
	}
	q.lost += int32(q.pending.messages())
	q.dropLocked(q.pending)
	q.pending = nil
}

// take returns the frames that are queued. The parameter done is a batch that the writer has
// written, or nil. If nothing is queued, take returns nil and the writer must end. A later push may
// start the writer again.
func (q *queue) take(done *batch) *batch {
	q.mu.Lock()
	defer q.mu.Unlock()
	if done != nil {
		q.writtenLocked(done)
	}
	next := q.pending
	q.pending = nil
	if next == nil {
		q.stoppedLocked()
	}
	return next
}

// written is called by a writer that has written a batch. It releases that batch. It does not
// return the frames that are queued now, as take does, but reports whether there are any. If more
// frames are queued, the writer must call take later. If none are queued, the writer must end.
func (q *queue) written(done *batch) (more bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.writtenLocked(done)
	if q.pending == nil {
		q.stoppedLocked()
		return false
	}
	return true
}

// fail is called by a writer that could not write a batch. It seals the queue. It counts the
// messages of the failed batch and of the pending one as lost. The writer must end, and is not
// started again.
func (q *queue) fail(failed *batch) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sealed = true
	q.start = nil
	q.lost += int32(failed.messages())
	q.dropLocked(failed)
	q.discardLocked()
	q.stoppedLocked()
}

// stoppedLocked records that the writer has ended, and closes writerDone. q.mu must be held.
func (q *queue) stoppedLocked() {
	q.writing = false
	if q.writerDone != nil {
		close(q.writerDone)
		q.writerDone = nil
	}
}

// stopped returns a channel that is closed once the writer is not running. If attach and seal were
// called already, the writer does not run again once the channel is closed.
func (q *queue) stopped() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.writing {
		return closedChan
	}
	if q.writerDone == nil {
		q.writerDone = make(chan struct{})
	}
	return q.writerDone
}

// end seals the queue. It drops the writer and all that is queued, to free their memory. It returns
// how many messages the queue has lost in all. The writer must not be running.
func (q *queue) end() (lost int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sealed = true
	q.start = nil
	q.discardLocked()
	return int(q.lost)
}
