package uplink

import (
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
)

// Link is one link of an edge without its connection. It is that connection's link.Source and
// link.Sink. The link's writer calls Fill; its reader calls HandleFrame and EndBatch. wake asks the
// writer to call Fill again.
//
// Two Links may exist while the edge moves to another relay. The older one then sends nothing but
// Moved. From its relay it takes only publications, gaps, costs and topic numbers. It ignores all
// other frames, which could contradict what the new relay has been told.
type Link struct {
	links *Links
	wake  func()
	sdk   bool // FeatureSDK is in force
	feed  Feed
	drain chan time.Duration // one slot
	live  chan struct{}      // closed when the relay has said Live
	names link.Names         // used by the reader alone

	tables          // guarded by Links.mu
	ended  []uint64 // sessions ended by the Ack under way; guarded by Links.mu
}

// NewLink starts a link, which is in use until its Down, or until the next NewLink. It rewinds the
// log and copies the Handler's tables, which are the first frames that Fill returns. The parameter
// features has the features in force. wake must not block. Any goroutine may call wake at any time
// from now on.
//
// If the link has not FeatureSDK, but the edge has sessions of SDKs, NewLink returns nil and
// changes nothing.
//
// Before the tables are read, the new link begins to queue new sessions. So a session that is added
// meanwhile is told at least once, and may be told twice. From then on the link that was in use
// before sends only Moved. The caller must call Down at the end.
func NewLink(links *Links, features uint64, wake func()) *Link {
	l := &Link{links: links, wake: wake, sdk: features&link.FeatureSDK != 0, drain: make(chan time.Duration, 1), live: make(chan struct{})}
	links.turn.Lock()
	defer links.turn.Unlock()
	if !links.take(l) {
		return nil
	}

	l.feed = links.handler.Begin(l.session, l.client, l.held, l.keep)

	links.mu.Lock()
	defer links.mu.Unlock()
	links.log.Rewind()
	l.synced.First, l.synced.Last = links.log.First(), links.log.Last()
	l.append(l.synced)
	links.up, links.ever, links.degraded = l, true, nil
	return l
}

// Drain returns a channel that brings a window when the relay is about to stop and asks the edge to
// link elsewhere. The edge should begin at a random moment within that window.
func (l *Link) Drain() <-chan time.Duration { return l.drain }

// Live returns a channel that is closed when the relay has said Live. By then the relay has sent
// everything that the members of the topics in the tables had missed.
func (l *Link) Live() <-chan struct{} { return l.live }

// Leaving tells the Feed that the edge looks for another link while this one is up.
func (l *Link) Leaving() { l.feed.Leaving() }

// Staying tells the Feed that the edge needs no other link any more.
func (l *Link) Staying() { l.feed.Staying() }

// Leave tells the relay that another link has taken over. The relay then sends what has been
// published until then, and ends this link. If part of the tables at the link's beginning is not
// sent yet, Leave returns false, and nothing more is sent.
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
