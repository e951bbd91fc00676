package uplink

import (
	"container/list"
	"slices"
)

// admission decides which session may append to a full Log, and when.
//
// A session that needs room waits for one of two things. It may wait for room in its owner's share.
// Or it stands in line for room in the Log as a whole. There is one line for the sessions of all
// owners. A session that waits for a share goes to the end of the line once the share has room for
// it. The admission looks for that room in two cases: a message of the owner has left the Log, or a
// session of the owner has given up room that was kept for it.
//
// When the Log has room, the room is promised to sessions from the front of the line, as far as it
// goes. A session is woken when room is promised to it. While the line is not empty, a session
// without a promise is refused, however small its message is. So small messages cannot pass a large
// one for ever.
//
// Two kinds of room count as used in an owner's share: the room that is promised to sessions of the
// owner, and the room for which sessions of the owner stand in line.
//
// A session has at most one waiter and one promise, since it never waits twice at the same time.
// Only one caller at a time may step the admission. In Links, that caller holds Links.mu.
type admission struct {
	log      *Log
	line     list.List            // *waiter elements: sessions that wait for room in the whole Log
	shares   map[uint64][]*waiter // sessions that wait for an owner's share, by owner
	promises map[uint64]promise   // keyed by session
	promised int
	kept     map[uint64]int // by owner: bytes promised, and bytes that sessions in line need
}

// promise is room that is kept for a session. The bytes include EntryCost.
type promise struct {
	owner uint64
	bytes int
}

// waiter is one session that waits for room.
type waiter struct {
	session uint64
	owner   uint64
	size    int
	ready   chan struct{} // closed when room is promised
	granted bool
	inLine  *list.Element // place in admission.line; nil while the waiter waits for the share
}

func newAdmission(log *Log) *admission {
	return &admission{log: log, shares: make(map[uint64][]*waiter), promises: make(map[uint64]promise), kept: make(map[uint64]int)}
}

// accept appends payload to the Log if the session may append, and reports whether it did. The
// session's promise is used up either way.
func (a *admission) accept(session uint64, payload []byte) bool {
	ok := a.admit(session, len(payload))
	if ok {
		_, ok = a.log.Append(session, payload)
	}
	a.offer(session)
	return ok
}

// admit reports whether the session may append a payload of this size now. It takes the session's
// promise away.
func (a *admission) admit(session uint64, size int) bool {
	kept := a.promises[session].bytes
	a.forfeit(session)
	if !a.shareRoom(session, size) {
		return false
	}
	if size+EntryCost <= kept {
		return true
	}
	return a.line.Len() == 0 && a.log.logRoom(size, a.promised)
}

// wait asks for room for a payload of this size. If there is room now, wait promises it to the
// session and returns nil. Otherwise it returns a waiter. The channel waiter.ready is closed when
// room is promised. A session must not wait twice at the same time.
func (a *admission) wait(session uint64, size int) *waiter {
	if a.admit(session, size) {
		a.promise(session, a.log.ownerOf(session), size)
		return nil
	}
	defer a.offer(session) // admit has taken the promise, so room may be free for others
	w := &waiter{session: session, owner: a.log.ownerOf(session), size: size, ready: make(chan struct{})}
	if a.shareRoom(session, size) {
		a.queue(w)
	} else {
		a.shares[w.owner] = append(a.shares[w.owner], w)
	}
	return w
}

// cancel ends the wait of w. If room has been promised to w, cancel returns true, and the promise
// stays.
func (a *admission) cancel(w *waiter) (granted bool) {
	switch {
	case w.granted:
		return true
	case w.inLine != nil:
		a.line.Remove(w.inLine)
		a.keep(w.owner, -w.size-EntryCost)
	default:
		a.shares[w.owner] = slices.DeleteFunc(a.shares[w.owner], func(other *waiter) bool { return other == w })
	}
	a.lineUp(w.owner)
	a.grant()
	return false
}

// shareRoom reports whether the share of the session's owner has room for another payload of this
// size. Bytes that are kept for the owner's sessions count as used.
func (a *admission) shareRoom(session uint64, size int) bool {
	return a.log.shareRoom(session, size, a.kept[a.log.ownerOf(session)])
}

// keep changes the count of bytes that are kept for an owner's sessions. A negative number of bytes
// lowers the count.
func (a *admission) keep(owner uint64, bytes int) {
	if a.kept[owner] += bytes; a.kept[owner] == 0 {
		delete(a.kept, owner)
	}
}

// queue puts w at the end of the line. From then on the room for w counts in its owner's share.
func (a *admission) queue(w *waiter) {
	w.inLine = a.line.PushBack(w)
	a.keep(w.owner, w.size+EntryCost)
}

// lineUp moves sessions that wait for an owner's share into the line. It stops when the share has
// no room for the next one.
func (a *admission) lineUp(owner uint64) {
	waiters := a.shares[owner]
	for len(waiters) > 0 && a.shareRoom(waiters[0].session, waiters[0].size) {
		a.queue(waiters[0])
		waiters = waiters[1:]
	}
	if len(waiters) > 0 {
		a.shares[owner] = waiters
	} else {
		delete(a.shares, owner)
	}
}

// freed is called when a message of the session has left the Log. After one or more such calls, the
// caller must call grant.
func (a *admission) freed(session uint64) { a.lineUp(a.log.ownerOf(session)) }

// grant promises free room to the sessions in line, from the first one on. It stops at a session
// for which the room does not suffice.
func (a *admission) grant() {
	for e := a.line.Front(); e != nil; e = a.line.Front() {
		w := e.Value.(*waiter)
		if !a.log.logRoom(w.size, a.promised) {
			return
		}
		a.line.Remove(e)
		a.keep(w.owner, -w.size-EntryCost)
		a.promise(w.session, w.owner, w.size)
		w.granted = true
		close(w.ready)
	}
}

func (a *admission) promise(session, owner uint64, size int) {
	a.promises[session] = promise{owner, size + EntryCost}
	a.promised += size + EntryCost
	a.keep(owner, size+EntryCost)
}

// leave takes back the promise of a session that sends nothing more.
func (a *admission) leave(session uint64) {
	a.forfeit(session)
	a.offer(session)
}

// offer promises free room to sessions that wait. It is called when the given session may have
// given up room.
func (a *admission) offer(session uint64) {
	a.lineUp(a.log.ownerOf(session))
	a.grant()
}

// forfeit takes back the promise of a session, if the session has one. The room is promised to
// others only when the caller calls offer or grant.
func (a *admission) forfeit(session uint64) {
	if p, ok := a.promises[session]; ok {
		a.promised -= p.bytes
		delete(a.promises, session)
		a.keep(p.owner, -p.bytes)
	}
}

// waiting returns how many sessions wait.
func (a *admission) waiting() int {
	n := a.line.Len()
	for _, waiters := range a.shares {
		n += len(waiters)
	}
	return n
}
