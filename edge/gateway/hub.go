package gateway

import (
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/logging"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// HubConfig is what a Hub needs.
type HubConfig struct {
	Metrics prometheus.Registerer // nil: metrics are not registered
	Log     *slog.Logger          // nil: the log is discarded
}

// Hub finds the sessions of this node by id, and the members of topics. The relay decides about
// memberships. The Hub has copies of the memberships, and the relay changes these copies through
// the Feed of each link. The Hub queues frames for its sessions. Its writers write the frames to
// the sockets.
//
// A guest is not in the tables before its first line: see sdk_guest.go.
//
// A session that has ended stays in the Hub, dead, until Forget. Nothing more is queued for it. The
// relay of a new link still learns of the session, since that relay must know each session whose
// messages are replayed. If no relay was told of the session and the log has no message of it, the
// session is forgotten as soon as it ends.
type Hub struct {
	log     *slog.Logger
	metrics *hubMetrics
	writers writers // write to the sockets of the sessions
	rates   *rates  // the users' rates; set by NewServer; nil without a Server
	users   *users  // counts the users' sessions; set by NewServer; nil without a Server

	mu       sync.Mutex // guards the fields below and some of Session's; not held across I/O
	last     uint64     // the session id that was given last
	sessions map[uint64]*Session
	topics   map[protocol.Topic]*topic
	feeds    []*Feed  // feeds of the links that are up, the oldest first
	newest   *Feed    // feed of the link that began last; nil: none began, or that link ended
	overlap  *overlap // counts publications during a move of the edge; nil: not needed
	given    given    // messages that may come again
	// late has the members that lack what their topic's other members have had. It has no entry for
	// a topic without such members.
	late map[*topic]map[*Session]*lateMember
	// again has topics that have gone back, or that were removed, and the positions that they had
	// before: see comesAgainLocked.
	again   map[protocol.Topic]protocol.Position
	live    int         // sessions that are not dead
	opening int         // sessions whose Upstream.Open or OpenClient has not returned
	digest  link.Digest // digest of the tables; its field Heard stays zero

	guests    guests
	strangers int // sessions of SDKs that are not in the tables yet, and are not dead
	keeps     int // bytes of all keeps
}

// NewHub makes an empty Hub.
func NewHub(cfg HubConfig) *Hub {
	h := &Hub{
		log:      logging.OrDiscard(cfg.Log),
		metrics:  newHubMetrics(cfg.Metrics),
		sessions: map[uint64]*Session{},
		topics:   map[protocol.Topic]*topic{},
	}
	measureGuests(cfg.Metrics, h)
	return h
}

// Open gives s the next id, adds s to the tables, and announces s to the relay by up.Open. The
// channel is closed when the relay has answered with Opened.
func (h *Hub) Open(s *Session, up Upstream) (opened <-chan struct{}) {
	opened, _ = h.open(s, up, 0)
	return opened
}

// open is Open with a limit on the number of sessions, dead ones included. It returns false if the
// Hub has reached the limit already. A limit of 0 means no limit.
func (h *Hub) open(s *Session, up Upstream, limit int) (opened <-chan struct{}, ok bool) {
	opened, ok = h.add(s, limit)
	if !ok {
		return nil, false
	}
	told := up.Open(s.info)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.addedLocked(s, told)
	return opened, true
}

// add puts s into the tables. The caller announces s to the relay only afterwards, since the relay
// may answer at once. The method add returns false if the number of sessions has reached the limit
// already. A limit of 0 means no limit.
func (h *Hub) add(s *Session, limit int) (opened <-chan struct{}, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if limit > 0 && len(h.sessions)+h.strangers >= limit {
		return nil, false
	}
	h.last++
	s.info.ID = h.last
	s.opened = make(chan struct{})
	h.addLocked(s)
	return s.opened, true
}

// addLocked puts s into the tables, as a session whose opening is under way. h.mu must be held.
func (h *Hub) addLocked(s *Session) {
	s.opening = true
	h.opening++
	h.sessions[s.info.ID] = s
	h.live++
	h.digest.Sessions++
	h.digest.SessionHash ^= s.rowLocked()
	h.metrics.sessions.Inc()
}

// addedLocked records that the opening of s is over. The parameter told says whether a relay was
// told of s; without a link it is false. h.mu must be held.
func (h *Hub) addedLocked(s *Session, told bool) {
	s.told = s.told || told
	s.opening = false
	h.opening--
}

// rowLocked returns the hash of the session's row in the digest. Hub.mu must be held.
func (s *Session) rowLocked() uint64 {
	if s.sdk != nil {
		return link.ClientHash(s.clientLocked())
	}
	return link.SessionHash(s.info)
}

// End makes s dead. It appends the session's end to the log by up.End. But if no relay was told of
// s and the log has no message of s, End forgets s instead. So nothing is left of a client that
// comes and goes while there is no link, and sends no message.
//
// End must be called once, after the session's last Upstream.Accept. Frames that are queued for the
// client stay queued.
func (h *Hub) End(s *Session, up Upstream) {
	// Holds must be called without h.mu. If no relay knows the session, the answer of Holds is
	// still right when die has locked h.mu: no message of the session is acknowledged in between,
	// and none is added.
	unacknowledged := up.Holds(s.info.ID)
	if h.die(s, unacknowledged) {
		up.Forget(s.info.ID)
		return
	}
	up.End(s.info.ID)
}

// die makes s dead. It forgets s in two cases: s is a guest that is not in the tables, or no relay
// was told of s and unacknowledged is false. The method die reads s.told and removes s from the
// tables under one lock. So no link can begin in between and announce s to its relay.
func (h *Hub) die(s *Session, unacknowledged bool) (forgotten bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.dead = true
	if s.sdk != nil {
		if !s.sdk.known {
			h.strangers--
			return true
		}
	}
	h.live--
	h.metrics.sessions.Dec()
	h.metrics.dead.Inc()
	if s.told || unacknowledged {
		return false
	}
	h.forgetLocked(s)
	return true
}

// Forget takes a dead session out of the tables.
func (h *Hub) Forget(id uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.sessions[id]
	if s == nil || !s.dead {
		return // an unknown session, or a living one, which has no end to acknowledge
	}
	h.forgetLocked(s)
}

// forgetLocked takes s out of the tables. h.mu must be held.
func (h *Hub) forgetLocked(s *Session) {
	for len(s.memberships) > 0 {
		h.unbindLocked(s, len(s.memberships)-1)
	}
	s.memberships = nil
	delete(h.sessions, s.info.ID)
	s.release(claimTables)
	h.digest.Sessions--
	h.digest.SessionHash ^= s.rowLocked()
	if s.sdk != nil {
		h.holdLocked(s, -len(s.sdk.keep))
	}
	h.metrics.dead.Dec()
}

// Len returns how many sessions are in the tables, and how many of them are dead.
func (h *Hub) Len() (all, dead int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.sessions), len(h.sessions) - h.live
}

// living returns the sessions that are not dead, guests included.
func (h *Hub) living() []*Session {
	h.mu.Lock()
	defer h.mu.Unlock()
	living := make([]*Session, 0, h.live+h.strangers)
	for _, s := range h.sessions {
		if !s.dead {
			living = append(living, s)
		}
	}
	for s := range h.guests.places {
		if !s.sdk.known && !s.dead {
			living = append(living, s)
		}
	}
	return living
}

// Digest returns a digest of the tables. The second result is false while a session in the tables
// is dead or is being opened. During that time the relay's digest may differ.
func (h *Hub) Digest() (d link.Digest, comparable bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.digest, h.opening == 0 && h.live == len(h.sessions)
}

// topic is this node's entry for a topic. The entry exists while the topic has members here, or a
// number on a link.
type topic struct {
	name     protocol.Topic
	numbers  int               // count of the topic's numbers, over all links
	position protocol.Position // where the members are in the topic's history
	members  []member
}

// moveLocked makes p the topic's position. If the position had another epoch before, moveLocked
// records the time of the change. h.mu must be held.
func (h *Hub) moveLocked(t *topic, p protocol.Position) {
	if t.position.Epoch != p.Epoch && t.position.Epoch != 0 {
		h.given.epochChanged = time.Now()
	}
	t.position = p
}

// desertedLocked reports whether t has no living member. Hub.mu must be held.
func (t *topic) desertedLocked() bool {
	return !slices.ContainsFunc(t.members, func(m member) bool { return !m.session.dead })
}

// member and membership are the two ends of one binding. A member has the index of its membership,
// and a membership has the index of its member. With these indexes, a binding is removed from both
// slices in constant time.
type member struct {
	session *Session
	slot    int32  // in session.memberships
	since   uint32 // given.count when the session was bound
}

type membership struct {
	topic *topic
	slot  int // in topic.members
}

// tidyLocked removes t if t has neither a number nor a member. h.mu must be held.
func (h *Hub) tidyLocked(t *topic) {
	if t.numbers == 0 && len(t.members) == 0 {
		delete(h.topics, t.name)
		if h.given.aftermath() {
			h.noteAgainLocked(t)
		} else {
			h.again = nil // it is of use only in an aftermath
		}
		h.metrics.topics.Dec()
	}
}

// bindLocked makes s a member of t, unless s is one already. h.mu must be held.
func (h *Hub) bindLocked(s *Session, t *topic) {
	if s.findLocked(t) >= 0 {
		return
	}
	t.members = append(t.members, member{s, int32(len(s.memberships)), h.given.count})
	s.memberships = append(s.memberships, membership{t, len(t.members) - 1})
	if s.sdk != nil && s.sdk.keeps != nil {
		s.sdk.keeps = append(s.sdk.keeps, nil)
	}
	h.digest.Bindings++
	h.digest.BindingHash ^= link.BindingHash(s.info.ID, t.name)
	h.metrics.bindings.Inc()
}

// findLocked returns the slot of t among the session's memberships, or -1 if s is not a member.
// Hub.mu must be held.
func (s *Session) findLocked(t *topic) int {
	for slot, m := range s.memberships {
		if m.topic == t {
			return slot
		}
	}
	return -1
}

// unbindLocked ends the membership in the given slot. The last membership of s moves to that slot.
// The topic's last member moves to the place that s had among the topic's members. h.mu must be
// held.
func (h *Hub) unbindLocked(s *Session, slot int) {
	t, memberSlot := s.memberships[slot].topic, s.memberships[slot].slot
	if s.sdk != nil {
		h.levelLocked(s, t)
		h.setKeepLocked(s, slot, nil)
		s.sdk.moveKeepLocked(len(s.memberships)-1, slot)
	}

	last := len(t.members) - 1
	moved := t.members[last]
	t.members[memberSlot] = moved
	moved.session.memberships[moved.slot].slot = memberSlot
	t.members[last] = member{}
	t.members = t.members[:last]

	end := len(s.memberships) - 1
	other := s.memberships[end]
	s.memberships[slot] = other
	if slot != end {
		other.topic.members[other.slot].slot = int32(slot)
	}
	s.memberships[end] = membership{}
	s.memberships = s.memberships[:end]

	h.digest.Bindings--
	h.digest.BindingHash ^= link.BindingHash(s.info.ID, t.name)
	h.metrics.bindings.Dec()
	h.tidyLocked(t)
}
