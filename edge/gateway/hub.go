package gateway

import (
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// HubConfig is what a Hub needs.
type HubConfig struct {
	Metrics prometheus.Registerer // nil: not registered
	Log     *slog.Logger          // nil: discarded
}

// Hub finds the sessions of this node by id, and the members of topics. It is a mirror that the relay writes, by the Feed of each link. It does no
// I/O of its own.
//
// A session that ended stays, dead, until Forget: it receives nothing, but the relay is told of it, since it must be able to make sense
// of the session's frames in a replay. One that no relay was told of, and that has no frames, does not stay.
type Hub struct {
	log     *slog.Logger
	metrics *hubMetrics
	writers writers // of the sessions that have sockets

	mu       sync.Mutex // guards what follows, and the sessions' fields that name it; never held across I/O
	last     uint64     // session id given last
	sessions map[uint64]*Session
	topics   map[protocol.Topic]*topic
	newest   *Feed       // of the links that are up; nil: none
	overlap  *overlap    // of links that are up and some that were; nil: there is none
	given    given       // what may come again
	live     int         // sessions that are not dead
	opening  int         // sessions whose Upstream.Open has not returned
	digest   link.Digest // of the tables; Heard stays zero
}

// NewHub makes an empty Hub.
func NewHub(cfg HubConfig) *Hub {
	return &Hub{
		log:      orDiscard(cfg.Log),
		metrics:  newHubMetrics(cfg.Metrics),
		sessions: map[uint64]*Session{},
		topics:   map[protocol.Topic]*topic{},
	}
}

// Open gives s the next id, adds it, and tells up. The channel is closed when the relay has answered with Opened.
func (h *Hub) Open(s *Session, up Upstream) (opened <-chan struct{}) {
	opened, _ = h.open(s, up, 0)
	return opened
}

// open is Open, unless there are limit sessions already, the dead ones included; 0: no limit.
func (h *Hub) open(s *Session, up Upstream, limit int) (opened <-chan struct{}, ok bool) {
	opened, ok = h.add(s, limit)
	if !ok {
		return nil, false
	}
	told := up.Open(s.info)
	h.mu.Lock()
	defer h.mu.Unlock()
	s.told = s.told || told
	s.opening = false
	h.opening--
	return opened, true
}

// add puts s into the tables before the relay hears of it: the relay's frames for it may come at once.
func (h *Hub) add(s *Session, limit int) (opened <-chan struct{}, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if limit > 0 && len(h.sessions) >= limit {
		return nil, false
	}
	h.last++
	s.info.ID = h.last
	s.opened = make(chan struct{})
	s.opening = true
	h.opening++
	h.sessions[s.info.ID] = s
	h.live++
	h.digest.Sessions++
	h.digest.SessionHash ^= link.SessionHash(s.info)
	h.metrics.sessions.Inc()
	return s.opened, true
}

// End makes s dead and logs its end upstream. It must come after the session's last Upstream.Accept, and once. What is still queued
// is not affected. A session of which no relay was told, or will be told by its frames, is forgotten at once: so clients that come and go while there
// is no link leave nothing.
func (h *Hub) End(s *Session, up Upstream) {
	// Asked before the lock: what is held of a session that no relay knows stays held, and no more comes.
	held := up.Holds(s.info.ID)
	if h.die(s, held) {
		up.Forget(s.info.ID)
		return
	}
	up.End(s.info.ID)
}

// die makes s dead, and forgets it when no relay can know of it and held is false. That it was not told and that the next link will not find it in the tables
// are of one moment.
func (h *Hub) die(s *Session, held bool) (forgotten bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.dead = true
	h.live--
	h.metrics.sessions.Dec()
	h.metrics.dead.Inc()
	if s.told || held {
		return false
	}
	h.forgetLocked(s)
	return true
}

// Forget takes a dead session out of the tables.
func (h *Hub) Forget(session uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.sessions[session]
	if s == nil || !s.dead {
		return // only what ended is acknowledged as ended
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
	h.digest.Sessions--
	h.digest.SessionHash ^= link.SessionHash(s.info)
	h.metrics.dead.Dec()
}

// Len returns how many sessions there are, and how many of them are dead.
func (h *Hub) Len() (all, dead int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.sessions), len(h.sessions) - h.live
}

// living returns the sessions that are not dead.
func (h *Hub) living() []*Session {
	h.mu.Lock()
	defer h.mu.Unlock()
	living := make([]*Session, 0, h.live)
	for _, s := range h.sessions {
		if !s.dead {
			living = append(living, s)
		}
	}
	return living
}
