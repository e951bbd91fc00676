package router

// outbox has an edge's link, and the frames that this step sends to the edge. At the end of the
// step, flush appends these frames to the link.
type outbox struct {
	link    Link   // nil: none
	ready   bool   // the members that were told on this link are bound
	frames  []byte // encoded frames of this step
	dirty   bool   // listed in Router.dirty
	queued  int    // Link.Queued as of this step, if sampled
	sampled bool   // outbox.queued is valid
	watched bool   // a lookAgain timer is pending
}

// maxScratch is the size up to which a buffer is kept for the next step, in bytes.
const maxScratch = 256 << 10

// flush gives the link the frames of this step.
func (o *outbox) flush() {
	if o.ready && len(o.frames) > 0 {
		o.link.Append(o.frames)
	}
	if cap(o.frames) > maxScratch {
		o.frames = nil
	}
	o.frames = o.frames[:0]
}

// waiting returns how many bytes for the edge are not written to the connection yet. The frames of
// this step count too. Link.Queued is asked once a step at most.
func (o *outbox) waiting() int {
	if !o.sampled {
		o.sampled = true
		o.queued = o.link.Queued()
	}
	return o.queued + len(o.frames)
}

// unlink forgets the link, and the frames that were to be sent on it.
func (o *outbox) unlink() {
	o.link, o.ready = nil, false
	o.sampled = false
	o.frames = o.frames[:0]
}

// send appends a frame to an edge's outbox. While outbox.ready is false, send does nothing. The
// given function appends the encoded frame to a slice, and returns the slice.
func (r *Router) send(e *edge, frame func([]byte) []byte) {
	if !e.outbox.ready {
		return
	}
	e.outbox.frames = frame(e.outbox.frames)
	r.touch(e)
}

// touch makes flush visit e at the end of the step.
func (r *Router) touch(e *edge) {
	if !e.outbox.dirty {
		e.outbox.dirty = true
		r.dirty = append(r.dirty, e)
	}
}

// room reports whether a number of further bytes of publications fits into e's outgoing buffer. An
// empty buffer has room for any number. If the bytes do not fit, lookAgain is called.
func (r *Router) room(e *edge, size int) bool {
	waiting := e.outbox.waiting()
	r.touch(e) // so that flush clears outbox.sampled
	if waiting == 0 || waiting+size <= r.cfg.Outgoing {
		return true
	}
	r.lookAgain(e)
	return false
}

// roomToAnswer reports whether e's outgoing buffer has room for an answer with publications. At the
// last look at the buffer it must have held less than a sixteenth of Config.Outgoing. So others'
// messages do not stand behind many answers. If there is no room, Writable or lookAgain goes on
// with what waits for it.
func (r *Router) roomToAnswer(e *edge) bool {
	e.outbox.waiting()
	r.touch(e) // so that flush clears outbox.sampled
	short := r.cfg.Outgoing / 16
	if n := e.outbox.queued; n == 0 || n < short {
		return true
	}
	if e.outbox.link != nil {
		e.outbox.link.Shorter(short)
	}
	r.lookAgain(e)
	return false
}

// lookAgain looks at e's buffer every lookAgainAfter until the buffer is at most half full or e has
// no link. Then, if there is a link, it resumes the followers that are behind. Usually Writable
// comes earlier, and resumes them. But Writable comes only if the link's buffer was full. The
// buffer may never fill, since the connection may write the sampled bytes before flush appends this
// step's frames.
func (r *Router) lookAgain(e *edge) {
	if e.outbox.watched {
		return
	}
	e.outbox.watched = true
	r.after(lookAgainAfter, func() {
		e.outbox.watched = false
		switch {
		case e.outbox.link == nil:
		case e.outbox.link.Queued() > r.cfg.Outgoing/2:
			r.lookAgain(e)
		default:
			e.outbox.sampled = false
			r.advanceAll(e)
		}
	})
}
