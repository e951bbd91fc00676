package gateway

import (
	"errors"
	"time"
)

const (
	// extraPerSecond bounds, in bytes, what a client may send that brings no message: control frames, and the headers of fragments. Only what is read by
	// readAhead bytes or fewer counts, which is 6 bytes of an empty frame and up to 16 of any other: 5,400 empty frames a second, or 2,000 others.
	extraPerSecond = 32 << 10
	// messageExtra is what each message may have of it for nothing: its own header, and the ends that are read in small pieces.
	messageExtra = 3 * readAhead
)

// errFlood is what a read returns to a client whose extras are too many.
var errFlood = errors.New("too many frames without a message")

// extras counts what a client sends beside its messages. The clock is looked at only when as much has come as a second may bring.
type extras struct {
	bytes int
	since time.Duration // Server.now when bytes was 0
}

// tooMany reports whether as much came within a second as may.
func (e *extras) tooMany(now func() time.Duration) bool {
	if e.bytes < extraPerSecond {
		return false
	}
	at := now()
	within := at-e.since < time.Second
	*e = extras{since: at}
	return within
}

// message takes out what a message that is complete may have had.
func (e *extras) message() { e.bytes = max(e.bytes-messageExtra, 0) }
