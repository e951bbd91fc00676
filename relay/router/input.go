package router

import (
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/link"
)

// Input is one thing that happened: Connected, Received, Writable, Disconnected or FromBroker.
type Input interface{ apply(*Router) }

// Connected tells of a new link whose handshake is over. Its tables follow as Received.
type Connected struct {
	Link  Link
	Hello link.Hello
}

// Received brings the frames of one batch: link.Session, link.Held, link.Synced, link.Message, link.End and link.Moved values, in order. The
// Router keeps their byte slices.
type Received struct {
	Link   Link
	Frames []any
}

// Writable tells that a link whose outgoing buffer was full has room again.
type Writable struct{ Link Link }

// Disconnected tells that a link has ended. LastReceived is when its last byte came.
type Disconnected struct {
	Link         Link
	LastReceived time.Time
	Err          error
}

// FromBroker brings an event of the broker.
type FromBroker struct{ Event broker.Event }

func (in Connected) apply(r *Router)    { r.connected(in.Link, in.Hello) }
func (in Disconnected) apply(r *Router) { r.disconnected(in.Link, in.LastReceived, in.Err) }

func (in Writable) apply(r *Router) {
	if e := r.links[in.Link]; e != nil {
		e.sampled = false
		r.advanceAll(e)
	}
}

func (in Received) apply(r *Router) {
	e := r.links[in.Link]
	if e == nil {
		return // of a link that was replaced or closed meanwhile
	}
	for _, f := range in.Frames {
		if err := r.frame(e, f); err != nil {
			r.cut(e, err.code, err.text)
			return
		}
	}
}

func (in FromBroker) apply(r *Router) {
	switch ev := in.Event.(type) {
	case broker.Received:
		r.receive(ev.Publication)
	case broker.Published:
		r.published(ev)
	case broker.Subscribed:
		r.subscribed(ev)
	case broker.History:
		r.history(ev)
	case broker.Counted:
		r.counted(ev)
	case broker.Deaf:
		r.deaf(ev)
	case broker.Flushed:
		r.flushed(ev)
	case broker.State:
		r.state(ev)
	}
}

// violation is what a peer did that ends its link.
type violation struct {
	code link.Code
	text string
}
