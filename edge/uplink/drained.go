package uplink

import (
	"sync"

	"github.com/edgerelay/edgerelay/shared/link"
)

// drains holds the Drained frames that a link has yet to send. It has a lock of its own, since the
// frames come from goroutines that write to clients. Whoever holds that lock takes no other lock.
type drains struct {
	mu     sync.Mutex
	frames []link.Drained
	over   bool // the link sends no more of them
}

// add adds a frame, unless the link sends no more of them.
func (d *drains) add(f link.Drained) (added bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over {
		return false
	}
	d.frames = append(d.frames, f)
	return true
}

// fill appends frames to the batch, as long as the batch has room, and forgets those frames.
func (d *drains) fill(batch []byte) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	batch, d.frames = fill(batch, d.frames)
	return batch
}

// end drops all frames, and those that are yet to come.
func (d *drains) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.frames, d.over = nil, true
}

// sayDrained makes the link send f. If the link has ended, or is being left, nothing is sent: the
// relay's count of long answers ends with the link.
func (l *Link) sayDrained(f link.Drained) {
	if l.drains.add(f) {
		l.wake()
	}
}

// isClient reports whether the session is one of an SDK.
func (l *Link) isClient(session uint64) bool {
	l.links.mu.Lock()
	defer l.links.mu.Unlock()
	return l.links.log.IsClient(session)
}
