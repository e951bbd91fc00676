package gateway

import (
	"slices"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// Feed passes the frames of one link on to the Hub. Topic numbers belong to the link. Topics, their
// positions and their members belong to the Hub. While an edge moves to another relay there may be
// several Feeds. One goroutine at a time may call the methods of a Feed, but any goroutine may call
// Leaving and Staying.
type Feed struct {
	hub     *Hub
	numbers map[uint64]*topic  // topics by the relay's numbers; nil: muted, see Feed.Topic
	holding bool               // set between BeginBatch and EndBatch
	queued  int                // members, summed over the fan-outs since the last release
	live    bool               // Live was called; guarded by Hub.mu
	bytes   int                // bytes of the texts that were fanned out since the last release
	drained func(link.Drained) // see OnDrained; guarded by Hub.mu
	// dropped has, by topic number, the position of the last frame that was dropped because
	// lacksLocked returned true. The entry is removed at the next frame that has a text for each
	// member, once the topic has reached that position.
	dropped map[uint64]protocol.Position
}

// BeginBatch is called before each link frame of a batch, and EndBatch after the last frame. From
// the first BeginBatch to EndBatch, the writers hold back the frames that are queued for clients,
// so that a few system calls can write them. If holdMost messages or writers.holdBytes bytes are
// held back already, BeginBatch releases them first. Neither method blocks, though a release may
// write to a few clients itself.
func (f *Feed) BeginBatch() {
	if f.holding && f.queued < holdMost && f.bytes < f.hub.writers.holdBytes {
		return
	}
	f.EndBatch()
	f.holding = true
	f.hub.writers.hold()
}

// EndBatch is called after the last link frame of a batch. Without a batch it does nothing.
func (f *Feed) EndBatch() {
	if !f.holding {
		return
	}
	enough := f.queued >= holdMost || f.bytes >= f.hub.writers.holdBytes
	given := f.queued
	f.holding, f.queued, f.bytes = false, 0, 0
	f.hub.writers.release(given, enough)
}

// fanOutLocked calls Hub.fanOutLocked. Before that it adds the number of members to f.queued, and
// the length of the longest text to f.bytes. Hub.mu must be held.
func (f *Feed) fanOutLocked(t *topic, r *renderings, except string, late map[*Session]*lateMember, placed bool) {
	f.queued += len(t.members)
	f.bytes += r.longest()
	f.hub.fanOutLocked(t, r, except, late, placed)
}

// Begin starts a link. It calls tellSession for every session of the chat and tellClient for every
// session of an SDK, and then tellMembers for the members of every topic. At last it calls tellKeep
// for every membership that has a keep. Dead sessions are included. Begin holds the Hub's lock, so
// the functions must only append to a buffer. If a session is being opened, the relay may learn of
// the session twice: from Begin, and from Upstream.Open or Upstream.OpenClient. That is harmless,
// since these frames are idempotent. The functions tellClient and tellKeep may be nil while no
// session is enrolled: see Upstream.Enrol.
func (h *Hub) Begin(
	tellSession func(link.Session), tellClient func(link.Client), tellMembers func(link.Held), tellKeep func(link.Keep),
) *Feed {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.sessions {
		s.told = true
		if s.sdk == nil {
			tellSession(s.info)
		} else {
			tellClient(s.clientLocked())
		}
	}
	for _, t := range h.topics {
		t.tell(tellMembers)
	}
	if h.keeps > 0 {
		for _, s := range h.sessions {
			s.tellKeepsLocked(tellKeep)
		}
	}
	f := &Feed{hub: h, numbers: map[uint64]*topic{}}
	h.beginOverlapLocked(f)
	return f
}

// Down is called when the link has ended. It releases a batch that was not complete. The link's
// topic numbers become void.
func (f *Feed) Down() {
	f.EndBatch()
	h := f.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range f.numbers {
		if t != nil {
			h.unnumberLocked(t)
		}
	}
	clear(f.numbers)
	h.endServiceLocked(f)
	h.endOverlapLocked(f)
}

// Topic gives a topic a number on this link. The topic takes the given position in two cases: the
// topic's own position is earlier or unplaced, or the topic has no living member. In the second
// case the next member begins at the given position.
//
// If an older link gives a number after a newer link has begun, the number is muted. Publications
// and memberships that the older link brings under a muted number are dropped, for two reasons. The
// older relay begins the topic at its own top, while the newer link may yet bring earlier messages.
// And the older relay does not know the members that the newer link has bound.
//
// The older number of a topic is muted, too, if the topic has no living member and its position is
// beyond the given one. The older link may go on behind the topic's position, and the next member
// would then lack what the newer link has yet to bring.
func (f *Feed) Topic(n link.TopicNumber) {
	h := f.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.newest != f {
		f.freeLocked(n.ID)
		f.numbers[n.ID] = nil
		return
	}
	t := h.topics[n.Topic]
	if t == nil {
		t = &topic{name: n.Topic}
		h.topics[n.Topic] = t
		h.metrics.topics.Inc()
	}
	if old := f.numbers[n.ID]; old != t {
		t.numbers++
		f.numbers[n.ID] = t
		if old != nil {
			h.unnumberLocked(old)
		}
	}
	if t.position.IsUnplaced() || t.position.Before(n.Position) {
		h.moveLocked(t, n.Position)
	} else if n.Position != t.position && t.desertedLocked() {
		h.backLocked(t, n.Position)
	}
}

// BrokerBack says that the relay's broker is reachable. If an earlier message found no room in
// Hub.given, no new messages were given ahead since. From now on they may be given ahead again.
func (f *Feed) BrokerBack() {
	f.hub.mu.Lock()
	defer f.hub.mu.Unlock()
	f.hub.given.brokerBack(time.Now())
}

// Untopic frees a number. The topic is removed if it has no members and no other number.
func (f *Feed) Untopic(u link.Untopic) {
	f.hub.mu.Lock()
	defer f.hub.mu.Unlock()
	f.freeLocked(u.ID)
}

// freeLocked takes a number back. Hub.mu must be held.
func (f *Feed) freeLocked(number uint64) {
	t := f.numbers[number]
	delete(f.numbers, number)
	delete(f.dropped, number)
	if t != nil {
		f.hub.unnumberLocked(t)
	}
}

// unnumberLocked takes one number of t away. h.mu must be held.
func (h *Hub) unnumberLocked(t *topic) {
	t.numbers--
	h.tidyLocked(t)
}

// numberedLocked finds a topic by its number. If the number is muted or unknown, numberedLocked
// counts a drop and returns nil. Hub.mu must be held.
func (f *Feed) numberedLocked(number uint64) *topic {
	t, known := f.numbers[number]
	switch {
	case t != nil:
	case known:
		f.hub.metrics.dropped[dropRepeated].Inc()
	default:
		f.hub.metrics.dropped[dropNoTopic].Inc()
	}
	return t
}

// Publication encodes the message once, and queues it for those members of the topic whose clients
// speak the chat's protocol. It leaves out dead sessions and the sessions of the user p.Except.
//
// A publication is dropped if its topic number is muted or unknown. A publication with a position
// is dropped if the topic has reached or passed that position. The members then had the
// publication, or are past it. Such a publication is also dropped if lacksLocked returns true. A
// publication without a position, or one of its forms, is dropped during a move if Hub.passLocked
// says so. A publication is also dropped if given.takePublished reports it as a repeat. But with
// Forms, late members may get a publication that all others have had: see lateMember.
func (f *Feed) Publication(p link.Publication) { f.publish(p, chatOnly(p.Payload)) }

// publish does the work of Publication and of Forms, with the texts of r. The payload of p is the
// chat's text.
func (f *Feed) publish(p link.Publication, r renderings) {
	h := f.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	h.metrics.publications.Inc()
	var late map[*Session]*lateMember // not given p, although they are members
	if !p.Position.IsZero() {
		if len(h.late) > 0 {
			if f.serveLocked(&p, &r) {
				return
			}
			late = h.late[f.numbers[p.Topic]]
		}
		if f.lacksLocked(p.Topic, p.Position, &r) {
			return
		}
	}
	t := f.advanceLocked(p.Topic, p.Position)
	if t == nil || h.overlap != nil && p.Position.IsZero() && !h.passLocked(f, t, p, &r) {
		return
	}
	if p.ID != 0 {
		early := p.Position.Offset <= givenEarly && h.given.aftermath() && !h.comesAgainLocked(t, p.Position)
		had, ahead, number := h.given.takePublished(p.ID, early)
		if had {
			h.metrics.dropped[dropRepeated].Inc()
			if ahead {
				h.giveLaterLocked(t, &r, late, number)
			}
			return
		}
	}
	f.fanOutLocked(t, &r, p.Except, late, !p.Position.IsZero())
}

// Ahead gives a message to those members of the topic whose clients speak the chat's protocol. They
// get the message before it is published. Ahead records the message's id, so that the later
// publication is dropped as a repeat. If given.takeAhead finds that the message is a repeat, Ahead
// gives nothing. If given.takeAhead finds no room for the id, the members get the message when it
// is published. If the message has no payload, Ahead only records the id.
func (f *Feed) Ahead(a link.Ahead) { f.giveAhead(a, chatOnly(a.Payload)) }

// giveAhead does the work of Ahead and of AheadForms, with the texts of r. The payload of a is the
// chat's text.
func (f *Feed) giveAhead(a link.Ahead, r renderings) {
	h := f.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	t := f.numberedLocked(a.Topic)
	if t == nil {
		return
	}
	switch h.given.takeAhead(a.ID, r.longest() == 0) {
	case pass:
		if r.longest() > 0 {
			h.metrics.ahead.Inc()
			f.fanOutLocked(t, &r, a.Except, nil, false)
			h.noteAheadLocked(t, a.ID)
		}
	case repeat:
		h.metrics.dropped[dropRepeated].Inc()
	case excess:
		h.metrics.aheadExcess.Inc()
	}
}

// Cost charges a user for the deliveries of its messages.
func (f *Feed) Cost(c link.Cost) {
	if h := f.hub; h.rates != nil {
		h.metrics.charged.Add(float64(c.Deliveries))
		h.rates.charge(c.User, c.Deliveries)
	}
}

// Gap tells members of the topic that messages were lost. It tells only those whose clients speak
// the chat's protocol. Gap tells them nothing if the topic's position is at the end of the loss or
// later: the members are past the loss then. Gap also tells them nothing if lacksLocked returns
// true.
func (f *Feed) Gap(g link.Gap) {
	if name, lost, members := f.gap(g); members > 0 {
		f.hub.log.Warn("messages were lost", "topic", name, "lost", lost, "members", members)
	}
}

// gap does the work of Gap, and returns the values that Gap logs. Its third result is the number of
// members of the topic, dead ones included. The number is 0 if the Gap was dropped. During a move
// of the edge, the older link may have brought some of the messages that the new relay reports as
// lost. The result lost does not count them.
func (f *Feed) gap(g link.Gap) (name protocol.Topic, lost uint64, members int) {
	h := f.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	t := f.numberedLocked(g.Topic)
	if t == nil {
		return "", 0, 0
	}
	f.skipLocked(t, g.Position)
	r := chatOnly(g.Text)
	if f.lacksLocked(g.Topic, g.Position, &r) {
		return "", 0, 0
	}
	lost, before := g.Lost, t.position
	if f.advanceLocked(g.Topic, g.Position) == nil {
		return "", 0, 0
	}
	if before.Epoch == g.Position.Epoch {
		lost = min(lost, g.Position.Offset-before.Offset)
	}
	h.metrics.gaps.Inc()
	h.metrics.lost.Add(float64(lost))
	f.fanOutLocked(t, &r, "", nil, false)
	return t.name, lost, len(t.members)
}

// advanceLocked moves a topic to p and returns the topic. It returns nil if the number is muted or
// unknown, or if the topic's position is p or later. If p is zero, it only returns the topic.
// Hub.mu must be held.
func (f *Feed) advanceLocked(number uint64, p protocol.Position) *topic {
	t := f.numberedLocked(number)
	if t == nil || p.IsZero() {
		return t
	}
	if !t.position.Before(p) {
		f.hub.metrics.dropped[dropRepeated].Inc()
		return nil
	}
	f.hub.moveLocked(t, p)
	return t
}

// lacksLocked is called before a frame of the link moves the topic. The parameter at is the frame's
// position, and r has the frame's texts. If lacksLocked returns true, the caller drops the frame.
// For a frame of the newest link it returns false.
//
// The relay of an older link does not know the members that the newest link has bound. So r may
// have no text for one of these members. If the topic then moved on, the member would miss the
// message. The newest link brings the message for all members. So lacksLocked returns true if a
// living member has no text in r. It also returns true until the topic has reached the position of
// the last frame that was dropped. Otherwise a later frame of the older link could move the topic
// past the dropped frame. Hub.mu must be held.
func (f *Feed) lacksLocked(number uint64, at protocol.Position, r *renderings) bool {
	t := f.numbers[number]
	if f.hub.newest == f || t == nil {
		return false
	}
	lacks := t.position.Before(f.dropped[number]) ||
		slices.ContainsFunc(t.members, func(m member) bool { return !m.session.dead && !r.has[m.session.form()] })
	if !lacks {
		delete(f.dropped, number)
		return false
	}
	f.hub.metrics.dropped[dropForm].Inc()
	if f.dropped == nil {
		f.dropped = map[uint64]protocol.Position{}
	}
	f.dropped[number] = at
	return true
}

// giveLaterLocked queues a publication whose message was given ahead. The publication is for those
// sessions of SDKs that were bound to t after the message was given ahead. They have not had the
// message, and their places are before the publication. The argument number is the number of the
// message's id in given.ahead. h.mu must be held.
func (h *Hub) giveLaterLocked(t *topic, r *renderings, late map[*Session]*lateMember, number uint32) {
	if !r.has[link.FormJSON] {
		return
	}
	var frame []byte
	for i := range t.members {
		m := &t.members[i]
		if m.since < number || m.session.sdk == nil || m.session.dead || late[m.session] != nil || m.session.leaves() {
			continue
		}
		if frame == nil {
			frame = textFrame(r.texts[link.FormJSON])
		}
		h.count(m.session.deliver(frame), 1)
	}
}

// fanOutLocked queues a text of r for each living member of t. A member gets the text of its form,
// or nothing if r has no such text. If the parameter except names a user, that user's sessions of
// FormChat are left out. The sessions in late are left out too. The parameter placed says that the
// publication has a position. If it is true, sessions that leave are left out as well: see
// Session.leaves. All queues share one frame for each form. h.mu must be held.
func (h *Hub) fanOutLocked(t *topic, r *renderings, except string, late map[*Session]*lateMember, placed bool) {
	var frames [link.MaxForms][]byte // made when the first member needs them
	var results [pushSealed + 1]int
	for i := range t.members {
		s := t.members[i].session
		form := s.form()
		if s.dead || !r.has[form] || except != "" && form == link.FormChat && s.info.User == except {
			continue
		}
		if len(late) > 0 && late[s] != nil || placed && s.leaves() {
			continue
		}
		if frames[form] == nil {
			frames[form] = textFrame(r.texts[form])
		}
		results[s.deliver(frames[form])]++
	}
	for result, n := range results {
		h.count(pushed(result), n)
	}
}

// count adds n messages to the metric for the given result of queue.push.
func (h *Hub) count(result pushed, n int) {
	if n == 0 {
		return
	}
	switch result {
	case pushOK:
		h.metrics.deliveries.Add(float64(n))
	case pushFull:
		h.metrics.dropped[dropSlow].Add(float64(n))
	case pushSealed:
		h.metrics.dropped[dropEnding].Add(float64(n))
	}
}

// Opened binds a session of the chat to its own topics. The session's first Opened, confirmed or
// not, releases the connect that waits for it.
func (f *Feed) Opened(o link.Opened) {
	h := f.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.sessions[o.Session]
	if s == nil || s.sdk != nil {
		return // the session was forgotten meanwhile, or the relay is wrong
	}
	for _, number := range o.Topics {
		if t := f.numberedLocked(number); t != nil {
			h.bindLocked(s, t)
		}
	}
	if !o.Confirmed {
		h.metrics.unconfirmed.Inc()
	}
	if s.opened != nil {
		close(s.opened)
		s.opened = nil
	}
}

// Joined binds a session of the chat to a group. If the parameter answer is true, Joined also
// queues o.Text for the client, before the group's later messages.
func (f *Feed) Joined(o link.Joined, answer bool) {
	h := f.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.sessions[o.Session]
	if s == nil {
		return
	}
	if t := f.numberedLocked(o.Topic); t != nil && s.sdk == nil {
		h.bindLocked(s, t)
	}
	if answer {
		h.answerLocked(s, o.Text)
	}
}

// Left unbinds a session from a group. If the parameter answer is true, Left also queues o.Text for
// the client, after the group's earlier messages.
func (f *Feed) Left(o link.Left, answer bool) {
	h := f.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.sessions[o.Session]
	if s == nil {
		return
	}
	if t := f.numberedLocked(o.Topic); t != nil {
		if slot := s.findLocked(t); slot >= 0 {
			h.unbindLocked(s, slot)
		}
	}
	if answer {
		h.answerLocked(s, o.Text)
	}
}

// Answer passes the relay's answer on to the session's client. If the session is unknown, the
// answer is dropped. Only the newest link brings answers.
func (h *Hub) Answer(f link.Answer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.replyLocked(h.newest, f.Session, f.Text, true)
}

// answerLocked queues an answer for the client of s. h.mu must be held.
func (h *Hub) answerLocked(s *Session, text []byte) {
	if s.dead {
		h.metrics.dropped[dropGone].Inc()
		return
	}
	h.count(s.deliver(textFrame(text)), 1)
}

// heldChunk is the largest number of members in one Held.
const heldChunk = 1024

// tell calls tellMembers with the members of t, in chunks of heldChunk members or fewer. Hub.mu
// must be held.
func (t *topic) tell(tellMembers func(link.Held)) {
	for remainder := t.members; len(remainder) > 0; {
		chunk := remainder[:min(len(remainder), heldChunk)]
		remainder = remainder[len(chunk):]
		ids := make([]uint64, len(chunk))
		for i, m := range chunk {
			ids[i] = m.session.info.ID
		}
		tellMembers(link.Held{Topic: t.name, Position: t.position, Sessions: ids})
	}
}
