// Package downlink accepts the links of edges and keeps one outgoing buffer per link. It knows
// frames, not the chat's rules.
package downlink

import (
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
)

// Handler gets what the links bring. Package relay implements it with the router's Pump. Calls for
// one Link follow each other, with one exception: Writable comes from another goroutine, and may
// overlap with Connected and Received. Calls for different Links overlap.
type Handler interface {
	// Connected tells of a new link when the first frame after the handshake has come. That frame
	// is handed on later, by Received. Connected may already append frames to l. An error refuses
	// the link, and neither Received nor Disconnected is called for l. If the error is or wraps a
	// *link.CloseError, the edge is told its Code. Otherwise the edge is told CodeLimit.
	Connected(l *Link, h link.Hello) error
	// Received gives the frames of one batch, or of a part of a large batch, in order. Each frame
	// is of type link.Session, link.Client, link.Held, link.Keep, link.Synced, link.Message,
	// link.End, link.Moved or link.Drained. The slice and its frames belong to the Handler. The
	// argument size is roughly the memory that the frames hold, in bytes. While Received blocks,
	// this link is not read. Received must return in the end, even if the Handler takes no more
	// frames. An error ends the link.
	Received(l *Link, frames []any, size int) error
	// Writable tells that l.Queued has fallen below half of Config.Buffer, after it had reached
	// that half. Writable must not block.
	Writable(l *Link)
	// Disconnected tells that the link has ended. It is the last call for l. The argument
	// lastReceived is when the edge's last byte came, and err is a *link.CloseError.
	Disconnected(l *Link, lastReceived time.Time, err error)
}
