package gateway

import (
	"context"

	"github.com/edgerelay/edgerelay/shared/link"
)

// Upstream carries what clients send towards the relay. edge/uplink implements it. None of its methods blocks but WaitRoom.
type Upstream interface {
	// Open tells the relay of a session that was added to the Hub before. False: there is no link to tell it on.
	Open(link.Session) (told bool)
	// Accept gives a client's frame its number: from then on it is accepted. It copies payload. False: there is no room.
	Accept(session uint64, payload []byte) bool
	// WaitRoom returns when Accept of size bytes would succeed (true), or when ctx is done (false).
	WaitRoom(ctx context.Context, session uint64, size int) bool
	// Holds reports whether it has a frame of the session that the relay has not acknowledged.
	Holds(session uint64) bool
	// End logs the session's end. The Hub keeps the session until Forget.
	End(session uint64)
	// Forget tells that the Hub has forgotten a session without End: no relay was told of it, and it is not held.
	Forget(session uint64)
	// Linked reports whether there is a link now, and whether there ever was one.
	Linked() (now, ever bool)
}
