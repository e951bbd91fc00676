package gateway

import (
	"hash/maphash"
	"slices"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

const (
	overlapTexts = 4096            // different texts of which one link is ahead of another; of more, what newer links bring is dropped
	overlapAfter = 2 * time.Second // after a link's end the newer ones may still be behind it
)

// overlap takes out of one link what another has brought before, of publications without a position: original servers give none, so that while an edge moves
// from relay to relay several links bring them. It counts by topic and text how often each link has brought one: what no other has brought as often is passed
// on. A text that an older link alone brought, since the new relay had not yet subscribed, is taken out of the newer one if it comes again within the time: never
// doubled goes before never missed. Counting begins when the first link's relay says that it stops: the next one may bring what came just before it was told the tables.
//
// It is a plain structure, stepped under the Hub's lock.
type overlap struct {
	links []*Feed // in the order in which they began; nil: ended
	alone bool    // the second one is yet to come
	seed  maphash.Seed
	seen  map[bare][]int // how often each link has brought it; not if all are level
	full  bool           // there was a text that could not be remembered: from then on no new one is
	until time.Time      // when the last that ended may be forgotten
}

// bare is a publication without a position, as far as it can be told from others.
type bare struct {
	topic protocol.Topic
	sum   uint64 // of text and exception
}

// beginOverlapLocked takes note of a new link. h.mu must be held.
func (h *Hub) beginOverlapLocked(f *Feed) {
	if h.overlap != nil && h.overlap.over() {
		h.overlap = nil
	}
	if h.overlap == nil && h.newest != nil {
		h.overlap = newOverlap(h.newest)
	}
	if h.overlap != nil {
		h.overlap.links = append(h.overlap.links, f)
		h.overlap.alone = false
	}
	h.newest = f
}

func newOverlap(f *Feed) *overlap {
	return &overlap{links: []*Feed{f}, alone: true, seed: maphash.MakeSeed(), seen: map[bare][]int{}}
}

// Leaving tells that another link will follow this one while it is up.
func (f *Feed) Leaving() {
	h := f.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.overlap != nil && h.overlap.over() {
		h.overlap = nil
	}
	if h.overlap == nil && h.newest == f {
		h.overlap = newOverlap(f)
	}
}

// endOverlapLocked takes note of a link's end. h.mu must be held.
func (h *Hub) endOverlapLocked(f *Feed) {
	if h.newest == f {
		h.newest = nil
	}
	if h.overlap != nil && h.overlap.over() {
		h.overlap = nil
	}
	if o := h.overlap; o != nil {
		o.alone = false
		o.links[slices.Index(o.links, f)] = nil
		o.until = time.Now().Add(overlapAfter)
	}
}

// over reports whether there is one link at most, and there was no other for a while.
func (o *overlap) over() bool {
	up := 0
	for _, f := range o.links {
		if f != nil {
			up++
		}
	}
	return up < 2 && !o.alone && time.Now().After(o.until)
}

// verdict is what becomes of a publication without a position.
type verdict int

const (
	pass   verdict = iota // no other link has brought it as often
	repeat                // another has
	excess                // there is no room to remember it
)

// take counts a publication that a link brought.
func (o *overlap) take(f *Feed, topic protocol.Topic, text []byte, except string) verdict {
	var h maphash.Hash
	h.SetSeed(o.seed)
	h.WriteString(except)
	h.WriteByte(0)
	h.Write(text)
	key, i := bare{topic, h.Sum64()}, slices.Index(o.links, f)
	counts := o.seen[key]
	if counts == nil {
		if o.full || len(o.seen) >= overlapTexts {
			if o.full = true; i > 0 {
				return excess
			}
			return pass
		}
		counts = []int{}
	}
	most := slices.Max(append(counts, 0))
	for len(counts) < len(o.links) {
		counts = append(counts, 0)
	}
	counts[i]++
	if o.level(counts) {
		delete(o.seen, key)
	} else {
		o.seen[key] = counts
	}
	if counts[i] <= most {
		return repeat
	}
	return pass
}

// level reports whether every link that is up has brought a text as often as any, and none is yet to come.
func (o *overlap) level(counts []int) bool {
	most := slices.Max(counts)
	for i, f := range o.links {
		if f != nil && counts[i] < most {
			return false
		}
	}
	return !o.alone
}

// passLocked reports whether a publication without a position that came by f is to be passed on. h.mu must be held.
func (h *Hub) passLocked(f *Feed, t *topic, p link.Publication) bool {
	if h.overlap.over() {
		h.overlap = nil
		return true
	}
	switch h.overlap.take(f, t.name, p.Payload, p.Except) {
	case repeat:
		h.metrics.dropped[dropRepeated].Inc()
		return false
	case excess:
		h.metrics.dropped[dropOverlap].Inc()
		return false
	}
	return true
}
