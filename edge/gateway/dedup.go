package gateway

import (
	"hash/maphash"
	"slices"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

const (
	// overlapTexts bounds the number of texts that an overlap counts. A text with several forms
	// counts as several texts. Once a text has found no room, no new text is counted. If the
	// overlap's oldest link brings a text that is not counted, the text is passed on. If another
	// link brings such a text, the text is dropped, even after the oldest link has ended.
	overlapTexts = 4096
	// overlapAfter is the least time for which an overlap goes on after one of its links has ended.
	// A newer link may yet bring the publications that the ended link has brought.
	overlapAfter = 2 * time.Second
	// Until the newest link has brought Live, an overlap goes on for longer, by overlapMost at
	// most. Before Live, members catch up, which may take long on a slow link. There must be a
	// bound, since some relays never say Live. After overlapMost, a relay has forgotten its
	// publications without a position, so the link brings no more repeats.
	overlapMost = 30 * time.Second
)

// overlap drops repeats of publications without a position. Original servers publish without
// positions. While an edge moves from relay to relay, several links may bring the same publication.
//
// For each topic, text and excepted user, overlap counts how often each link has brought such a
// publication, as far as there is room. A publication that was counted is passed on if the link
// that brings it has now brought it more often than any other link. Each form of a publication is
// counted by itself, since a relay may leave out the forms of members that it does not know.
//
// A publication that was made before the new relay subscribed comes by the old link only. If the
// same text is published again soon after the old link has ended, overlap may take the second
// publication for a repeat of the first, and drop it. One message too few is preferred to one
// message twice.
//
// Counting begins at Feed.Leaving. Without a call of Leaving, counting begins only when the second
// link begins. Then a publication that the first link brought just before is not counted. If the
// second link brings that publication again, the members get it twice.
//
// The type overlap is a plain structure, stepped under the Hub's lock.
type overlap struct {
	links   []*Feed // feeds of the links, the oldest first; nil: the link has ended
	leaving bool    // the newest link is being left, and the next link has not begun
	seed    maphash.Seed
	// counts says how often each link has brought a publication, in the order of the field links. A
	// publication has no entry if its counts may be forgotten (see overlap.level), or if there was
	// no room.
	counts map[bare][]int
	full   bool      // a text found no room; no new text is counted
	until  time.Time // last end of a link, plus overlapAfter; zero: no link ended
}

// bare identifies a form of a publication without a position, as far as such publications can be
// told apart.
type bare struct {
	topic protocol.Topic
	sum   uint64 // hash of the chat's text and the excepted user
	form  link.Form
}

// beginOverlapLocked records a new link. h.mu must be held.
func (h *Hub) beginOverlapLocked(f *Feed) {
	h.dropOverlapLocked()
	if h.overlap == nil && len(h.feeds) > 0 {
		h.overlap = newOverlap(h.feeds)
	}
	h.feeds = append(h.feeds, f)
	if h.overlap != nil {
		h.overlap.links = append(h.overlap.links, f)
		h.overlap.leaving = false
	}
	h.newest = f
}

func newOverlap(feeds []*Feed) *overlap {
	return &overlap{links: slices.Clone(feeds), seed: maphash.MakeSeed(), counts: map[bare][]int{}}
}

// Leaving says that the edge looks for another link while the link of f is still up.
func (f *Feed) Leaving() {
	h := f.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dropOverlapLocked()
	if h.newest != f {
		return
	}
	if h.overlap == nil {
		h.overlap = newOverlap(h.feeds)
	}
	h.overlap.leaving = true
}

// Staying takes back Leaving: the edge no longer looks for another link.
func (f *Feed) Staying() {
	h := f.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.overlap != nil && h.newest == f {
		h.overlap.leaving = false
	}
	h.dropOverlapLocked()
}

// endOverlapLocked records a link's end. h.mu must be held.
func (h *Hub) endOverlapLocked(f *Feed) {
	if h.newest == f {
		h.newest = nil
	}
	h.feeds = slices.DeleteFunc(h.feeds, func(up *Feed) bool { return up == f })
	h.dropOverlapLocked()
	if o := h.overlap; o != nil {
		o.leaving = o.leaving && h.newest != nil
		o.links[slices.Index(o.links, f)] = nil
		o.until = time.Now().Add(overlapAfter)
	}
}

// dropOverlapLocked forgets an overlap that is over. h.mu must be held.
func (h *Hub) dropOverlapLocked() {
	if h.overlap != nil && h.overlap.over() {
		h.overlap = nil
	}
}

// Live says that the link has brought all that the members had missed when the link began.
func (f *Feed) Live() {
	f.hub.mu.Lock()
	defer f.hub.mu.Unlock()
	f.live = true
}

// over reports whether nothing needs to be counted any more. This is so if at most one link is up,
// the newest link is not being left, and no link has ended within overlapAfter. If the newest link
// is up and has not brought Live, no link may have ended within overlapAfter+overlapMost.
func (o *overlap) over() bool {
	up := 0
	for _, f := range o.links {
		if f != nil {
			up++
		}
	}
	until := o.until
	if last := o.links[len(o.links)-1]; last != nil && !last.live {
		until = until.Add(overlapMost)
	}
	return up < 2 && !o.leaving && time.Now().After(until)
}

// verdict is the decision about a message that may be a repeat.
type verdict int

const (
	pass   verdict = iota // the message may be passed on
	repeat                // the message has come already
	excess                // there is no room to remember the message
)

// sum returns the value of bare.sum for a publication.
func (o *overlap) sum(text []byte, except string) uint64 {
	var h maphash.Hash
	h.SetSeed(o.seed)
	h.WriteString(except)
	h.WriteByte(0)
	h.Write(text)
	return h.Sum64()
}

// take decides about a form of a publication that the link of f brought. It counts the form if
// there is room.
func (o *overlap) take(f *Feed, key bare) verdict {
	i := slices.Index(o.links, f)
	counts := o.counts[key]
	if counts == nil {
		if o.full || len(o.counts) >= overlapTexts {
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
		delete(o.counts, key)
	} else {
		o.counts[key] = counts
	}
	if counts[i] <= most {
		return repeat
	}
	return pass
}

// level reports whether the counts of a text may be forgotten. They may be forgotten if all links
// that are up have brought the text equally often, and no ended link has brought it more often.
// While the newest link is being left, level returns false, since the next link may bring the text
// too.
func (o *overlap) level(counts []int) bool {
	most := slices.Max(counts)
	for i, f := range o.links {
		if f != nil && counts[i] < most {
			return false
		}
	}
	return !o.leaving
}

// passLocked reports whether to pass on p, which the link of f brought without a position. If a
// form is not to be passed on, passLocked takes the text of that form out of r. h.mu must be held.
func (h *Hub) passLocked(f *Feed, t *topic, p link.Publication, r *renderings) (passes bool) {
	if h.dropOverlapLocked(); h.overlap == nil {
		return true
	}
	sum, full := h.overlap.sum(p.Payload, p.Except), false
	for form := range r.has {
		if !r.has[form] {
			continue
		}
		switch h.overlap.take(f, bare{t.name, sum, link.Form(form)}) {
		case pass:
			passes = true
			continue
		case excess:
			full = true
		}
		r.texts[form], r.has[form] = nil, false
	}
	switch {
	case full: // counted even if another form is passed on
		h.metrics.dropped[dropOverlap].Inc()
	case !passes:
		h.metrics.dropped[dropRepeated].Inc()
	}
	return passes
}

const (
	// givenAhead bounds the ids in given.ahead and given.older together. A message whose id finds
	// no room is not given ahead.
	givenAhead = 1 << 16
	// givenAge is the least time for which the id of a message given ahead is kept after Redis has
	// come back. If the message is published, its id is dropped earlier. A broker recognises
	// replays by its marks. By default it keeps its marks for an hour too.
	givenAge = time.Hour
	// givenRecent is how many of the latest published ids are remembered. It exceeds the number of
	// messages that are usually under way when a relay or Redis is lost.
	givenRecent = 1 << 15
	// Publications with offsets up to givenEarly are checked for repeats while given.aftermath
	// returns true. Their messages may have been under way when the previous epoch ended.
	givenEarly = 4096
)

// given remembers ids of messages. By its id the Hub recognises a message that comes again under
// another position, or without one. There are three cases. A message that was given ahead is
// published. A relay that does not know of a publication gives its message ahead. A message that
// Redis has lost is published once more. The methods of given are called under the Hub's lock.
type given struct {
	// The field given.ahead has the number of each recorded id: the value of given.count when the
	// id was recorded. Members that were bound after that have not been given the message. The
	// number is 0 if the message was given to nobody.
	ahead        map[uint64]uint32
	older        map[uint64]uint32 // ids that brokerBack moved here from given.ahead
	rotated      time.Time         // when brokerBack last moved ids to given.older
	epochChanged time.Time         // when a topic's epoch changed last; zero: not lately
	full         bool              // an id found no room; new ids find none either
	count        uint32            // ids that were recorded

	recent []uint64 // the ids of the last publications, as a ring
	next   int
	index  map[uint64]int32 // how often each id is in given.recent; nil until needed
}

// brokerBack records that a relay reaches Redis. Messages that were given ahead can then be
// published. If brokerBack has moved no ids within the last givenAge, it forgets the ids in
// g.older, and moves the ids in g.ahead to g.older.
func (g *given) brokerBack(now time.Time) {
	g.full = false
	if now.Sub(g.rotated) > givenAge {
		g.older, g.ahead, g.rotated = g.ahead, nil, now
	}
}

// takeAhead records the id of a message that a relay gives ahead, if there is room. It returns
// repeat if the id is recorded already, or is the id of a recent publication. Otherwise it returns
// pass, or excess if there is no room. The id of a recent publication is recorded too: the link may
// yet bring this publication, for members who have joined since. The parameter mute says that the
// message is given to nobody, so that only its id is recorded.
//
// After an id has found no room, new ids find none either until brokerBack is called, or until no
// recorded id waits for its publication. Without this rule, a sender's later message could overtake
// an earlier one that found no room.
func (g *given) takeAhead(id uint64, mute bool) verdict {
	if g.has(id) {
		return repeat
	}
	v, full := pass, excess
	if g.wasRecent(id) {
		v, full = repeat, repeat
	}
	waiting := len(g.ahead) + len(g.older)
	if g.full = g.full && waiting > 0 || waiting >= givenAhead; g.full {
		return full
	}
	if g.ahead == nil {
		g.ahead = make(map[uint64]uint32)
	}
	if g.count++; mute {
		g.ahead[id] = 0
	} else {
		g.ahead[id] = g.count
	}
	return v
}

// aftermath reports whether a topic's epoch was seen to change within the last givenAge. Such a
// change may mean that Redis has lost data. After a loss, messages that wait in a log may be
// published again, on any topic. A message that is published again may be one that a member has had
// already. This may be so even if the member has left the topic and come back since.
func (g *given) aftermath() bool {
	if !g.epochChanged.IsZero() && time.Since(g.epochChanged) > givenAge {
		g.epochChanged = time.Time{}
	}
	return !g.epochChanged.IsZero()
}

// takePublished records a publication, and reports whether it is a repeat. A publication is a
// repeat if takeAhead has recorded its id. The result ahead is then true, and the result number is
// that of the id. If the parameter early is true, a publication whose id
// is in g.recent is a repeat too. The caller passes true for offsets up to givenEarly while
// aftermath returns true.
func (g *given) takePublished(id uint64, early bool) (had, ahead bool, number uint32) {
	if had = len(g.ahead)+len(g.older) > 0 && g.has(id); had {
		ahead, number = true, max(g.ahead[id], g.older[id])
		delete(g.ahead, id)
		delete(g.older, id)
	} else if early {
		had = g.wasRecent(id)
	}
	if g.index != nil {
		g.index[id]++
	}
	if len(g.recent) < givenRecent {
		g.recent = append(g.recent, id)
		return had, ahead, number
	}
	if old := g.recent[g.next]; g.index != nil {
		if g.index[old]--; g.index[old] == 0 {
			delete(g.index, old)
		}
	}
	g.recent[g.next] = id
	g.next = (g.next + 1) % givenRecent
	return had, ahead, number
}

// wasTwice reports whether the last publications have the id more than once. If so, the message was
// published again, and members have had it under an earlier position.
func (g *given) wasTwice(id uint64) bool { return g.wasRecent(id) && g.index[id] > 1 }

func (g *given) has(id uint64) bool {
	_, ahead := g.ahead[id]
	_, older := g.older[id]
	return ahead || older
}

// wasRecent reports whether id is in g.recent. It is called by takeAhead, by wasTwice, and by
// takePublished if the parameter early is true. The first call of wasRecent builds g.index.
func (g *given) wasRecent(id uint64) bool {
	if g.index == nil {
		g.index = make(map[uint64]int32, len(g.recent))
		for _, other := range g.recent {
			g.index[other]++
		}
	}
	return g.index[id] > 0
}
