package uplink

import (
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
)

// Link is one link of an edge, apart from the connection. It is the link.Source and the link.Sink
// of that connection. The connection's writer calls Fill, and its reader calls HandleFrame and
// EndBatch. The function wake asks the writer to call Fill again.
//
// Two Links may exist while the edge moves to another relay. The older Link then sends nothing but
// Moved, and takes only publications, gaps, costs and topic numbers. It ignores all other frames,
// since they could contradict what the new relay has been told.
type Link struct {
	links *Links
	wake  func()
	sdk   bool // FeatureSDK is in force
	feed  Feed
	drain chan time.Duration // one slot; see the method Drain
	live  chan struct{}      // closed when the relay has said Live
	names link.Names         // used by the reader alone

	drains drains
	tables          // guarded by Links.mu
	ended  []uint64 // sessions whose end the present Ack has finished; guarded by Links.mu
}

// NewLink starts a link, which is in use until its Down, or until the next NewLink. It rewinds the
// log and copies the Handler's tables. Fill returns these tables as the link's first frames. The
// parameter features holds the features in force. The function wake must not block. Any goroutine
// may call wake at any time, even before NewLink returns.
//
// If the edge has sessions of SDKs and the link lacks FeatureSDK, NewLink returns nil and changes
// nothing.
//
// The new link begins to queue new sessions before it reads the tables. So a session that is added
// while the tables are read is told at least once, and may be told twice. As soon as the new link
// queues sessions, the previous link sends only Moved. The caller must call Down at the end.
func NewLink(links *Links, features uint64, wake func()) *Link {
	l := &Link{links: links, wake: wake, sdk: features&link.FeatureSDK != 0, drain: make(chan time.Duration, 1), live: make(chan struct{})}
	links.turn.Lock()
	defer links.turn.Unlock()
	if !links.take(l) {
		return nil
	}

	l.feed = links.handler.Begin(l.session, l.client, l.held, l.keep)
	if l.sdk {
		l.feed.OnDrained(l.sayDrained)
	}

	links.mu.Lock()
	defer links.mu.Unlock()
	links.log.Rewind()
	l.synced.First, l.synced.Last = links.log.First(), links.log.Last()
	l.append(l.synced)
	links.up, links.ever, links.degraded = l, true, nil
	return l
}

// Drain returns a channel that brings a window when the relay is about to stop. The edge should
// begin to link elsewhere at a random moment within that window.
func (l *Link) Drain() <-chan time.Duration { return l.drain }

// Live returns a channel that is closed when the relay has said Live. By then the relay has sent
// everything that members of topics had missed.
func (l *Link) Live() <-chan struct{} { return l.live }

// Leaving tells the Feed that the edge looks for another link while this one is up.
func (l *Link) Leaving() { l.feed.Leaving() }

// Staying tells the Feed that the edge needs no other link any more.
func (l *Link) Staying() { l.feed.Staying() }

// Leave tells the relay that another link has taken over. The relay then sends the publications
// that were made so far, and ends this link. If some of the tables with which this link began are
// not sent yet, Leave returns false, and the link sends nothing more.
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

// Down notes that the link has ended. It must be the last call.
func (l *Link) Down() {
	l.links.mu.Lock()
	if l.links.newest == l {
		l.links.newest, l.links.up, l.links.degraded = nil, nil, nil
	}
	l.links.notify()
	l.links.mu.Unlock()
	l.drains.end()
	l.feed.Down()
}

// inUse reports whether this is still the newest link.
func (l *Link) inUse() bool {
	l.links.mu.Lock()
	defer l.links.mu.Unlock()
	return l.links.newest == l
}

var (
	_ link.Source = (*Link)(nil)
	_ link.Sink   = (*Link)(nil)
)
