package router

import (
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/link"
)

// Input is one event for the Router. Its types are Connected, Received, Writable, Disconnected and
// FromBroker, and two types of the Pump: move and stop.
type Input interface{ apply(*Router) }

// Connected tells of a new link whose handshake is complete. The edge's tables follow as Received.
type Connected struct {
	Link  Link
	Hello link.Hello
}

// Received brings the frames of one batch, or of a part of a large one, in order. The frames are
// values of link.Session, link.Client, link.Held, link.Keep, link.Synced, link.Message, link.End,
// link.Moved and link.Drained. The Router may keep a frame and the slices in it, so the caller must
// not change them afterwards.
type Received struct {
	Link   Link
	Frames []any
}

// Writable tells that a link whose outgoing buffer was full has room again, or that the buffer is
// as short as Link.Shorter was told.
type Writable struct{ Link Link }

// Disconnected tells that a link has ended. LastReceived is when the last byte came on the link.
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
	if e := r.directory.links[in.Link]; e != nil {
		e.outbox.sampled = false
		r.advanceAll(e)
	}
}

func (in Received) apply(r *Router) {
	e := r.directory.links[in.Link]
	if e == nil {
		return // the link was replaced or closed meanwhile
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
	case broker.Began:
		r.begins(ev)
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

// violation is a peer's breach of the protocol or of a limit. It ends the link.
type violation struct {
	code link.Code
	text string
}

// Link is a live link to an edge, as the Router uses it. relay/downlink implements it. No method
// blocks.
type Link interface {
	// Append queues whole encoded frames in order. The bytes are copied. After Close, Append does
	// nothing. If far too much is queued, Append closes the link and queues nothing.
	Append(frames []byte)
	// Queued returns the number of bytes that were appended and are not written to the connection
	// yet.
	Queued() int
	// Shorter asks for the input Writable when fewer than n bytes are queued, once. If that is so
	// already, the input comes after the next Append, or not at all.
	Shorter(n int)
	// RTT returns the shortest of the last few round trips; 0: none was measured.
	RTT() time.Duration
	// Close begins to end the link. The queued frames are sent first, for about a second at most,
	// and then Bye. The input Disconnected follows.
	Close(code link.Code, text string)
	// Moves reports whether the edge knows link.Drain and link.Live.
	Moves() bool
	// SDK reports whether link.FeatureSDK is in force.
	SDK() bool
	// String names the link for the log: node, instance, generation.
	String() string
}
