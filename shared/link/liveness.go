package link

import "time"

const (
	pingEvery   = 5 * time.Second
	silentAfter = 15 * time.Second // nothing received
	stuckAfter  = 10 * time.Second // a batch begun, no progress
	drainFor    = time.Second      // from Bye until what the Source has left is given up
	leaveFor    = 2 * time.Second  // from Bye until the connection is closed without waiting for the peer
)

// signs are Signs, and what a Talk knows by itself.
type signs struct {
	now      time.Duration
	received time.Duration
	handling bool
	handled  time.Duration
	writing  bool
	progress time.Duration
	leaving  bool          // Bye was called
	left     time.Duration // when
}

type verdict uint8

const (
	alive verdict = iota
	pingDue
	silent
	stuck
	abandoned // the peer does not close after Bye
)

// liveness judges a link. It measures progress only: neither a late Pong nor the age of a queue is a sign of death, and a peer is not silent while
// it is this side that does not read.
type liveness struct{ pinged time.Duration }

func (l *liveness) step(s signs) verdict {
	switch {
	case s.leaving && s.now-s.left >= leaveFor:
		return abandoned
	case s.writing && s.now-s.progress >= stuckAfter:
		return stuck
	case !s.handling && s.now-max(s.received, s.handled) >= silentAfter:
		return silent
	case s.now-l.pinged >= pingEvery:
		l.pinged = s.now
		return pingDue
	}
	return alive
}
