package uplink

import (
	"context"
	"hash/maphash"

	"github.com/edgerelay/edgerelay/shared/link"
)

// ownerSeed makes owners of users' names.
var ownerSeed = maphash.MakeSeed()

// Open tells the relay of a session that the Handler's tables have already. Without a link it does nothing and returns false: the next one is told the tables.
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

// Accept gives a client's frame its number: from then on it is accepted, and replayed until the relay has acknowledged it. It copies payload. False:
// there is no room, or others wait for it.
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

// WaitRoom returns when there is room for size bytes of session (true) or when ctx is done (false). The room is kept for the session's next
// Accept, or until its End. It is called once at a time per session. Who waits for the whole log is served first come first served.
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

// End logs the session's end, behind its last message. The Handler keeps the session until Forget.
func (s *Links) End(session uint64) {
	s.mu.Lock()
	s.log.End(session)
	s.admission.leave(session)
	up := s.up
	s.mu.Unlock()
	wake(up)
}

// Forget takes back Open of a session of which no relay was told, and that is not held: its end is nobody's matter.
func (s *Links) Forget(session uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.admission.leave(session)
	s.log.Disown(session)
}

func wake(up *Link) {
	if up != nil {
		up.wake()
	}
}
