// Package downlink accepts the links of edges and keeps one outgoing buffer per link. It knows
// frames, not the chat's rules.
package downlink

import (
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
)

// Handler is what the links feed. Package relay implements it with the router's Pump. Calls for one
// Link follow each other, except that Writable comes from another goroutine and may overlap with
// Received. Calls for different Links overlap.
type Handler interface {
	// Connected tells of a new link when its first frame has come, and before that frame is handed
	// on. Frames may be appended at once. An error refuses the link. The edge is then told the Code
	// of a *link.CloseError, or else CodeLimit, and nothing else is called for l.
	Connected(l *Link, h link.Hello) error
	// Received gives the frames of one batch, or of a part of a large one, in order. They are of
	// type link.Session, link.Held, link.Synced, link.Message, link.End or link.Moved. The slice
	// and all in it belong to the Handler. size is roughly the memory that they hold, in bytes.
	// Received may block, and only this link is not read meanwhile. It must return in the end even
	// when frames are no longer taken. An error ends the link.
	Received(l *Link, frames []any, size int) error
	// Writable tells that Queued has fallen below half of Config.Buffer, after Queued had been at
	// that half or above. Writable must not block.
	Writable(l *Link)
	// Disconnected is the last call for l. lastReceived is when the edge's last byte came. err is a
	// *link.CloseError.
	Disconnected(l *Link, lastReceived time.Time, err error)
}
