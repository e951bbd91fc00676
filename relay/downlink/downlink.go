// Package downlink accepts the links of edges and keeps one outgoing buffer per link. It knows frames, not the chat's rules.
package downlink

import (
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
)

// Handler is what the links feed: the router's pump implements it. Calls for one Node follow each other except Writable, which comes from another
// goroutine and may overlap with Received; calls for different Nodes overlap.
type Handler interface {
	// Connected tells of a new link, before anything was received on it. Frames may be appended at once. An error refuses the link: the edge is
	// told the Code of a *link.CloseError, else CodeLimit, and nothing else is called for n.
	Connected(n *Node, h link.Hello) error
	// Received gives the frames of one batch, or of a part of a large one, in order: link.Session, link.Held, link.Synced, link.Message, link.End. The slice and all in it
	// belong to the Handler. size is about the memory they hold, in bytes. It may block: that link alone is not read meanwhile; it
	// must return in the end even when nobody takes frames any more.
	Received(n *Node, frames []any, size int) error
	// Writable tells that Queued fell below half of Config.Buffer after it had been at or above that. It must not block.
	Writable(n *Node)
	// Disconnected is the last call for n. lastReceived is when the edge's last byte came; err is a *link.CloseError.
	Disconnected(n *Node, lastReceived time.Time, err error)
}
