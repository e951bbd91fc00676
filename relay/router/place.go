package router

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/router/dialect"
	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// A client of an SDK that becomes a member is told its place: the last publication before its
// membership. If the client names a position and asks for what came after it, the answer has that
// too, or says that something may be missing. docs/design/resume.md describes this.

// maxMissed bounds the texts of all missed publications in one answer, in bytes.
const maxMissed = 1 << 20

// comeback is the state that a topic needs for frames whose places are not known yet. It is
// forgotten once it was not needed for comebackAge.
type comeback struct {
	topic   *topic
	waiting binders             // frames that wait for the broker's answer, or for the topic's top
	deep    map[uint64]*binders // frames that wait for the past to reach back, see deeper
	waking  *waking             // the job that tries these frames again; nil: none
	hearing bool                // some of the frames wait for the topic's next publication
	looked  time.Duration       // Router.clock when the broker last told the top in comeback.top
	top     protocol.Position
	past    past
	used    time.Duration // Router.clock when the comeback was last needed

	prev, next *comeback // in the list of Router.pasts
	listed     bool      // in that list
}

const (
	// comebackAge is how long a comeback stays after it was last needed.
	comebackAge = 2 * time.Second
	// lookAge is how long an answer of the broker about a topic's top counts.
	lookAge = time.Second
)

// comeback returns the comeback of a topic, and creates it if there is none.
func (r *Router) comeback(t *topic) *comeback {
	c := r.comebacks[t]
	if c == nil {
		c = &comeback{topic: t}
		r.comebacks[t] = c
		r.retire(c, comebackAge)
	}
	c.used = r.clock
	if c.listed { // c moves to the end of the list
		r.pasts.remove(c)
		r.pasts.add(c)
	}
	return c
}

// retire forgets a comeback when it was not needed for comebackAge. It looks at the comeback after
// the given time.
func (r *Router) retire(c *comeback, after time.Duration) {
	r.after(after, func() {
		if idle := r.clock - c.used; c.awaited() || idle < comebackAge {
			r.retire(c, max(comebackAge-idle, askAgainAfter))
		} else {
			r.forgetComeback(c.topic)
		}
	})
}

// forgetComeback forgets the comeback of a topic, if there is one. No frame may wait there.
func (r *Router) forgetComeback(t *topic) {
	if c := r.comebacks[t]; c != nil {
		r.pasts.drop(c)
		delete(r.comebacks, t)
	}
}

// places returns the place of each topic of a Bind or a Confirm, as if its session became a member
// now. If the frame has to wait, the second result is the list in which it waits. The broker is
// then asked for what is not known. A Confirm that is late does not wait: a topic whose
// publications are not at hand by then counts as not recovered.
func (r *Router) places(fr *frame) (places []dialect.Place, wait *binders) {
	e := fr.session.edge
	late := fr.late && fr.command.Verb == dialect.Confirm
	places = make([]dialect.Place, len(fr.bindings()))
	size, waits := 0, 0
	for i, b := range fr.bindings() {
		if waits == readsOfFrame {
			break
		}
		asked := b.Range
		if size > maxMissed { // no room is left, so publications of further topics are not read
			asked.Asked = false
		}
		place, w := r.placeIn(fr, r.directory.follower(e, b.Topic), asked)
		if w != nil && !late {
			wait = cmp.Or(wait, w)
			waits++
		}
		if n := sizeOf(place.Missed); size+n > maxMissed {
			size, place.Recovered, place.Missed = maxMissed+1, false, nil
		} else {
			size += n
		}
		places[i] = place
	}
	if wait != nil {
		return nil, wait
	}
	size = 0
	for i := range places {
		size += sizeOf(places[i].Missed)
	}
	if size > 0 && r.replied >= repliedMost && !late {
		r.answerNext(e)
		return nil, &e.answers.waiting
	}
	if wait = r.mayAnswer(e, fr.user(), size); wait == nil && size > 0 {
		r.replied += max(size, repliedLeast)
	}
	if wait == nil || !late {
		return places, wait
	}
	for i := range places {
		places[i].Recovered, places[i].Missed = places[i].Recovered && len(places[i].Missed) == 0, nil
	}
	return places, nil
}

// readsOfFrame bounds the topics of one frame that are asked about at once.
const readsOfFrame = 8

// user returns the user of a frame's session. For a Confirm it is the user that the session will
// have.
func (fr *frame) user() string {
	if fr.command.Verb == dialect.Confirm {
		return fr.command.Terms.User
	}
	return fr.session.user
}

// sizeOf returns the length of the texts of publications in an answer, with a separator for each.
func sizeOf(pubs []dialect.Published) (size int) {
	for i := range pubs {
		size += len(pubs[i].Text) + 1
	}
	return size
}

// listed returns a publication as answers to clients of SDKs have it.
func (r *Router) listed(at protocol.Position, c *protocol.Content) dialect.Published {
	r.scratch.text = r.dialects[len(r.dialects)-1].Listed(r.scratch.text[:0], at, c)
	return dialect.Published{Position: at, Text: string(r.scratch.text)}
}

// placeIn returns the place of a frame's session if the session becomes a member at f now. The
// place has the publications that the client has asked for, if all of them are at hand. If the
// broker has to be asked first, the second result is the list in which to wait.
func (r *Router) placeIn(fr *frame, f *follower, asked dialect.Range) (p dialect.Place, wait *binders) {
	t := f.topic
	p.Kept, p.At = asked.Most > 0, f.entry()
	if p.At.IsUnplaced() {
		p.At = protocol.Position{}
	}
	if p.At.IsZero() && t.subscribed && t.top.IsZero() {
		if t.begun == 0 && p.Kept && !r.outage.away && r.mayBegin(fr, t) {
			return p, r.begin(f)
		}
		p.At.Epoch = t.begun
	}
	if !p.Kept || !asked.Asked {
		return p, nil
	}
	p.Missed, p.Recovered, wait = r.missedSince(t, asked, p.At)
	return p, wait
}

// entry returns the position at which the next member of f begins, as the method enter will set it.
// If nobody knows that position yet, the result is zero or unplaced.
func (f *follower) entry() protocol.Position {
	t := f.topic
	switch {
	case f.seeking: // f.position is where the search has got to
		return protocol.Position{}
	case f.bound > 0:
		return f.position
	case t.subscribed && !f.position.IsUnplaced() && t.top.Before(f.position):
		return f.position
	case t.subscribed:
		return t.top
	case t.placed:
		return t.known()
	}
	return protocol.Position{}
}

// missedSince returns the publications of t after the position asked.Since, up to the position at.
// The result ok is false if some of them may be missing. The result wait is the list in which to
// wait if the broker has to be asked first.
func (r *Router) missedSince(t *topic, asked dialect.Range, at protocol.Position) (pubs []dialect.Published, ok bool, wait *binders) {
	since := asked.Since
	switch {
	case at.Epoch == 0, r.outage.away:
		return nil, false, nil
	case at.Before(since):
		return nil, false, r.beyond(t, since)
	case since.Epoch != at.Epoch, t.recent.lost(at.Epoch):
		return nil, false, nil
	case t.top.Before(at) && at.Offset > 0:
		// Another relay has told the edge more.
		return nil, false, r.beyond(t, at)
	case t.vouched != since.Epoch: // the broker's answer may set t.vouched
		return nil, false, r.look(t)
	case at.Offset-since.Offset > uint64(min(asked.Most, maxRecalled)):
		return nil, false, nil
	case since.Before(t.tailFrom()):
		return r.recall(t, since, at)
	}
	return r.inTail(t, nil, since, at), true, nil
}

// maxRecalled bounds the publications in one answer. No more have room in maxMissed.
const maxRecalled = maxMissed / 56

// hear returns the list in which to wait for the topic's next publication.
func (r *Router) hear(t *topic) *binders {
	c := r.comeback(t)
	c.hearing = true
	return &c.waiting
}

// inTail appends to pubs the publications of the topic's tail after the position since, up to the
// position at. The position since must not be before tailFrom.
func (r *Router) inTail(t *topic, pubs []dialect.Published, since, at protocol.Position) []dialect.Published {
	if t.recent == nil {
		return pubs
	}
	for i := range t.recent.tail.items {
		item := &t.recent.tail.items[i]
		if since.Before(item.position) && !at.Before(item.position) {
			pubs = append(pubs, r.listedOf(item.said))
		}
	}
	return pubs
}

// lost reports whether the broker has lost publications at the end of an epoch, as far as the tail
// tells.
func (n *recent) lost(epoch uint64) bool {
	return n != nil && slices.ContainsFunc(n.rewinds, func(w rewind) bool { return w.to.Epoch == epoch })
}

// tailFrom returns the position after which the topic's tail has all publications, with what they
// say.
func (t *topic) tailFrom() protocol.Position {
	if t.recent == nil {
		return t.top
	}
	if tail := &t.recent.tail; tail.base.Before(tail.plain) {
		return tail.plain
	} else {
		return tail.base
	}
}

// beyond is called for a position in two cases. A client has named the position, and would begin
// before it. Or the edge has received publications up to the position from another relay. This
// relay may not have heard of the position yet, so the broker is asked for the topic's top. If the
// broker does not know the position either, the result is nil. Otherwise the result is the list in
// which to wait.
func (r *Router) beyond(t *topic, since protocol.Position) *binders {
	if wait := r.look(t); wait != nil {
		return wait
	}
	if top := r.comebacks[t].top; since.Epoch != top.Epoch || top.Before(since) {
		return nil
	}
	return r.hear(t)
}

// look asks the broker for the topic's top, and whether it is genuine. It returns the list in which
// to wait for the answer, or nil if the broker has answered lately.
func (r *Router) look(t *topic) *binders {
	c := r.comeback(t)
	if c.looked > 0 && r.clock-c.looked < lookAge {
		return nil
	}
	if !c.past.asked {
		c.past.asked, c.past.looking = true, true
		r.brk.ReadHistory(t.name, protocol.Position{Epoch: protocol.MaxEpoch, Offset: protocol.MaxOffset}, r.requests.ask(c))
	}
	return &c.waiting
}

// begin asks the broker for the epoch of the topic of f, which has no top, and which was subscribed
// without that wish. It returns the list in which to wait for the answer.
func (r *Router) begin(f *follower) *binders {
	if t := f.topic; !t.beginning {
		t.beginning = true
		r.brk.Begin(t.name, r.requests.ask(t))
	}
	return &f.rarely().binders
}

// begins takes the broker's answer to Begin.
func (r *Router) begins(ev broker.Began) {
	t := asker[*topic](&r.requests, ev.Token)
	if t == nil || !r.directory.has(t) {
		return
	}
	switch {
	// Under the second condition, the topic has a top of which this relay will soon hear.
	case ev.Err != nil, t.top.IsZero() && ev.Top.Offset > 0:
		if ev.Err != nil {
			if t.failures++; t.failures == beginsMost {
				r.after(comebackAge, func() { t.failures = 0 })
			}
		}
		r.after(askAgainAfter, func() {
			if r.directory.has(t) {
				r.beginsOn(t)
			}
		})
		return
	case t.top.IsZero():
		if t.begun, t.vouched = ev.Top.Epoch, 0; ev.Genuine {
			t.vouched = t.begun
		}
	}
	t.failures = 0
	r.beginsOn(t)
}

// beginsOn tries the frames that have waited for the epoch of t again.
func (r *Router) beginsOn(t *topic) {
	t.beginning = false
	for f := range t.all {
		r.tryBinders(f)
	}
}

// mayBegin reports whether the broker is to be asked for the epoch of a topic. If the broker fails
// beginsMost times, it is asked again only after comebackAge. A member without an epoch is told
// that its place is not known.
func (r *Router) mayBegin(fr *frame, t *topic) bool {
	if t.failures > 0 || t.beginning {
		return t.failures < beginsMost
	}
	return r.mayMake(fr, t.name)
}

// mayMake reports whether the epoch of a topic may be begun for the user of a Bind or a Confirm. A
// begun epoch costs the broker a record. So the topic counts in Config.MaxAddressed, as if the user
// had addressed it. The user's own topic does not count, since each user has one.
func (r *Router) mayMake(fr *frame, name protocol.Topic) bool {
	return isOf(name, fr.user()) || r.addressedBy(fr.session.edge, fr.user()).take(name, r.clock, r.cfg.HistoryAge, r.cfg.MaxAddressed)
}

// beginsMost is the number of times in a row that the broker is asked to begin a topic's epoch
// while it fails.
const beginsMost = 3

// wakeLater tries all frames that wait at c again, after a pause.
func (r *Router) wakeLater(c *comeback) {
	r.after(askAgainAfter, func() { r.wakeAll(c) })
}

// wakeTopic tries all frames that wait for a place in t again.
func (r *Router) wakeTopic(t *topic) {
	if c := r.comebacks[t]; c != nil {
		r.wakeAll(c)
	}
}

// wakeAll tries all frames that wait at c again, in a job.
func (r *Router) wakeAll(c *comeback) {
	for _, depth := range slices.Sorted(maps.Keys(c.deep)) {
		c.rise(depth)
	}
	r.wake(c)
}

// heardMore is called when a publication of t has come.
func (r *Router) heardMore(t *topic) {
	c := r.comebacks[t]
	if c == nil {
		return
	}
	r.keepTail(c)
	if c.hearing {
		r.wake(c)
	}
}

// wake tries the frames of comeback.waiting again, in a job.
func (r *Router) wake(c *comeback) {
	c.hearing = false
	if c.waiting.first == nil {
		return
	}
	n := c.waiting.len()
	if c.waking != nil {
		c.waking.left = n
		return
	}
	c.waking = &waking{comeback: c, left: n}
	r.jobs = append(r.jobs, c.waking)
}

// waking is a job that tries the frames that wait at a comeback again. These may be many, since
// many clients may come back to a topic at once.
type waking struct {
	comeback *comeback
	left     int // number of frames to try
}

func (j *waking) do(r *Router, pieces int) (left int, done bool) {
	c := j.comeback
	for ; j.left > 0 && c.waiting.first != nil; j.left-- {
		if pieces == 0 || r.replied >= repliedMost {
			return 0, false
		}
		fr := c.waiting.first
		c.waiting.remove(fr)
		r.tryBind(fr)
		pieces--
	}
	c.waking = nil
	return pieces, true
}

// len returns the number of frames in the list.
func (b *binders) len() (n int) {
	for fr := b.first; fr != nil; fr = fr.next {
		n++
	}
	return n
}

// mayAnswer returns nil if an edge's session can now be sent an answer with publications whose
// texts have the given size. Otherwise it returns the list in which to wait.
func (r *Router) mayAnswer(e *edge, user string, size int) *binders {
	a := &e.answers
	switch long := size > link.LongAnswer/2; {
	case size == 0:
		return nil
	case long && !a.roomOf(user, size):
		return &a.user(user).waiting
	case long && (!a.room(user, size) || !r.roomInWindow(e)) || !r.roomToAnswer(e):
		return &a.waiting
	}
	return nil
}
