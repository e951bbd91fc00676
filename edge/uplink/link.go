package uplink

import (
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
)

// Link is one link of an edge, without its connection: the link.Source and the link.Sink of it. Its writer calls Fill, its reader HandleFrame and EndBatch; wake asks the
// writer to Fill again. Two Links may be at work while the edge moves to another relay: then the older one sends nothing but Moved, and passes on nothing but
// publications, since all else could contradict what the new relay has been told.
type Link struct {
	links *Links
	wake  func()
	feed  Feed
	drain chan time.Duration // cap 1
	live  chan struct{}      // closed when the relay has said Live
	names link.Names         // for the reader

	tables          // guarded by Links.mu
	ended  []uint64 // sessions whose end the Ack under way acknowledges; guarded by Links.mu
}

// NewLink starts a link, which is the one in use from then on: it reads the Handler's tables, which Fill gives first, and sets the log back. wake must not block, and may
// be called by anyone, at any time from now on. From the first line on sessions are queued for the new link, so that one that is added while the tables are read may be
// told twice, but not missed; and a link that was in use until now sends nothing more. Down must follow.
func NewLink(links *Links, wake func()) *Link {
	l := &Link{links: links, wake: wake, drain: make(chan time.Duration, 1), live: make(chan struct{})}
	links.turn.Lock()
	defer links.turn.Unlock()
	links.mu.Lock()
	links.newest = l
	links.mu.Unlock()

	l.feed = links.handler.Begin(l.session, l.held)

	links.mu.Lock()
	defer links.mu.Unlock()
	links.log.Rewind()
	l.synced.First, l.synced.Last = links.log.First(), links.log.Last()
	l.append(l.synced)
	links.up, links.ever, links.degraded = l, true, nil
	return l
}

// Drain receives when the relay stops soon and asks the edge to link elsewhere, beginning at a random moment within that time.
func (l *Link) Drain() <-chan time.Duration { return l.drain }

// Live is closed when the relay has said that nothing is left to catch up with.
func (l *Link) Live() <-chan struct{} { return l.live }

// Leave has the relay told that another link has taken over: it ends this one behind what has been published. False: it was never told the tables, and nothing
// more is sent.
func (l *Link) Leave() bool {
	l.links.mu.Lock()
	defer l.links.mu.Unlock()
	if len(l.chunks) > 0 {
		return false
	}
	l.moved = true
	l.wake()
	return true
}

// Down takes note of the link's end. It is the last call.
func (l *Link) Down() {
	l.links.mu.Lock()
	if l.links.newest == l {
		l.links.newest, l.links.up, l.links.degraded = nil, nil, nil
	}
	l.links.notify()
	l.links.mu.Unlock()
	l.feed.Down()
}

// inUse reports whether no later link has been told the tables.
func (l *Link) inUse() bool {
	l.links.mu.Lock()
	defer l.links.mu.Unlock()
	return l.links.newest == l
}

var (
	_ link.Source = (*Link)(nil)
	_ link.Sink   = (*Link)(nil)
)
