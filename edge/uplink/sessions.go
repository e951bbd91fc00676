package uplink

import (
	"context"

	"github.com/edgerelay/edgerelay/shared/link"
)

// Open tells the relay of a session that the Handler's tables have already. Without a link it does nothing: the next one is told the tables.
func (u *Uplink) Open(s link.Session) {
	u.mu.Lock()
	if u.tables != nil {
		u.tables.added = append(u.tables.added, s)
	}
	up := u.up
	u.mu.Unlock()
	wake(up)
}

// Accept gives a client's frame its number: from then on it is accepted, and replayed until the relay has acknowledged it. It copies payload. False:
// there is no room, or others wait for it.
func (u *Uplink) Accept(session uint64, payload []byte) bool {
	u.mu.Lock()
	ok := u.admission.accept(session, payload)
	up := u.up
	u.mu.Unlock()
	if !ok {
		u.metrics.refused.Inc()
		return false
	}
	wake(up)
	return true
}

// WaitRoom returns when there is room for size bytes of session (true) or when ctx is done (false). The room is kept for the session's next
// Accept, or until its End. It is called once at a time per session. Who waits for the whole log is served first come first served.
func (u *Uplink) WaitRoom(ctx context.Context, session uint64, size int) bool {
	u.mu.Lock()
	w := u.admission.wait(session, size)
	u.mu.Unlock()
	if w == nil {
		return true
	}
	select {
	case <-w.ready:
		return true
	case <-ctx.Done():
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.admission.cancel(w)
}

// End logs the session's end, behind its last message. The Handler keeps the session until Forget.
func (u *Uplink) End(session uint64) {
	u.mu.Lock()
	u.log.End(session)
	u.admission.forfeit(session)
	u.admission.grant()
	up := u.up
	u.mu.Unlock()
	wake(up)
}

func wake(up *link.Conn) {
	if up != nil {
		up.Wake()
	}
}
