package uplink

import (
	"cmp"
	"context"
	"hash/maphash"
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/logging"
)

// LinksConfig configures Links.
type LinksConfig struct {
	LogSize int // bound of the Log in bytes; 0: 4 MiB

	Metrics prometheus.Registerer // nil: none
	Log     *slog.Logger          // nil: discarded
}

const defaultLogSize = 4 << 20

// Links is the logic of an Uplink: it holds the log of clients' frames, and decides what each Link
// sends. It has no goroutine and no clock, and does no I/O. It is stepped by the goroutines of an
// Uplink, or by a single caller with a network of its own. Any goroutine may call its methods at
// any time. Only WaitRoom and Flush block.
type Links struct {
	handler Handler
	logger  *slog.Logger
	metrics *metrics

	// The lock turn is held while a frame from the relay in use changes memberships or the log. It
	// is also held while a new link reads the tables and rewinds the log, so that no frame changes
	// them meanwhile. It is taken before mu, and never held across I/O.
	turn sync.Mutex

	// The lock mu gives one order to the actions of sessions: a Session frame goes before the
	// session's messages, and the messages go before the session's end. It is not held across I/O,
	// and not while the Handler is called.
	mu        sync.Mutex // guards the fields below
	log       *Log
	admission *admission
	newest    *Link // the latest link, until its Down; nil: none
	// up is the latest link for which the tables were read. It is nil after that link's Down, and
	// before the first link.
	up       *Link
	ever     bool
	degraded []string      // Status.Degraded of the relay in use, as last told
	changed  chan struct{} // closed when Flush should look again; nil: nobody waits
	knowsSDK bool          // the newest link has FeatureSDK; without a link: the last one had it
	enrolled chan struct{} // closed when Enrol may succeed; nil: nobody waits
}

// NewLinks returns Links with an empty log and no link. Frames of relays are passed to handler.
func NewLinks(config LinksConfig, handler Handler) *Links {
	s := &Links{handler: handler, logger: logging.OrDiscard(config.Log), log: NewLog(cmp.Or(config.LogSize, defaultLogSize))}
	s.admission = newAdmission(s.log)
	s.metrics = newMetrics(config.Metrics, s)
	return s
}

// ownerSeed is the seed of the hash that turns a user's name into an owner.
var ownerSeed = maphash.MakeSeed()

// Open tells the relay about a session that is already in the Handler's tables. Without a link it
// returns false. In that case the next link tells of the session with its tables.
func (s *Links) Open(session link.Session) (told bool) {
	s.mu.Lock()
	s.log.Own(session.ID, maphash.String(ownerSeed, session.User))
	if told = s.newest != nil; told {
		s.newest.added = append(s.newest.added, session)
	}
	up := s.up
	s.mu.Unlock()
	wake(up)
	return told
}

// Accept gives a client's frame its number and copies the payload. From then on the frame is
// accepted: each new link replays it until it is finished. Accept returns false when there is no
// room, or when other sessions wait for the room that is left.
func (s *Links) Accept(session uint64, payload []byte) bool {
	s.mu.Lock()
	ok := s.admission.accept(session, payload)
	up := s.up
	s.mu.Unlock()
	if !ok {
		s.metrics.refused.Inc()
		return false
	}
	wake(up)
	return true
}

// WaitRoom blocks until there is room for a payload of this size, and returns true. If ctx is done
// first, it returns false. The room is kept until the session's next Accept or WaitRoom, or until
// its End or Forget. A session must not wait twice at the same time. Sessions that wait for room in
// the log as a whole are served in the order in which they came.
func (s *Links) WaitRoom(ctx context.Context, session uint64, size int) bool {
	s.mu.Lock()
	w := s.admission.wait(session, size)
	s.mu.Unlock()
	if w == nil {
		return true
	}
	select {
	case <-w.ready:
		return true
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.admission.cancel(w)
}

// Holds reports whether the log has a message of the session.
func (s *Links) Holds(session uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Holds(session)
}

// End appends the session's end to the log. The session must send no message after that. The
// Handler keeps the session until Handler.Forget.
func (s *Links) End(session uint64) {
	s.mu.Lock()
	s.log.End(session)
	s.admission.leave(session)
	up := s.up
	s.mu.Unlock()
	wake(up)
}

// Forget undoes Open or Enrol for a session that no relay was told of and that has no message in
// the log. No relay needs to hear of the session's end.
func (s *Links) Forget(session uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.admission.leave(session)
	s.log.Disown(session)
}

// Linked reports whether there is a link now, and whether there has been one since the edge's boot.
func (s *Links) Linked() (now, ever bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.up != nil, s.ever
}

// Flush blocks until everything in the log is finished, and returns 0. If ctx is done first, it
// returns how many messages are not finished. Without a link, Flush does not wait for ends of
// sessions, since a relay that has lost an edge removes the edge's sessions by itself. New messages
// prolong the wait.
func (s *Links) Flush(ctx context.Context) (left int) {
	for {
		s.mu.Lock()
		left = s.log.Messages()
		if left == 0 && (s.log.Ends() == 0 || s.up == nil) {
			s.mu.Unlock()
			return 0
		}
		if s.changed == nil {
			s.changed = make(chan struct{})
		}
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return left
		}
	}
}

// notify makes Flush look again. The caller holds mu.
func (s *Links) notify() {
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

func wake(up *Link) {
	if up != nil {
		up.wake()
	}
}
