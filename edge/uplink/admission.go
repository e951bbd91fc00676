package uplink

import (
	"container/list"
	"slices"
)

// admission decides who may append to a full Log.
//
// Who waits for its owner's share of the Log is looked at only when an entry of that owner leaves. Who waits for the Log as a whole stands in
// one line, first come first served: room that appears is promised to the first in line for as long as it is enough, and only those are woken.
// While the line is not empty, a session without a promise is refused, whatever the size: so a large message is not passed by small ones for
// ever, and no wake-up is in vain. A waiter that gives up leaves the line at once.
//
// What an owner's sessions stand in line for, or were promised, counts in its share: it is not promised more than it may use.
//
// Its bound is one waiter and one promise per session. One caller steps it, under the lock of the Log.
type admission struct {
	log      *Log
	line     list.List            // of *waiter, for the Log
	shares   map[uint64][]*waiter // by owner, for its share, in the order in which they came
	promises map[uint64]promise   // by session
	promised int
	kept     map[uint64]int // bytes in line and promised, by owner
}

// promise is room that is kept for a session.
type promise struct {
	owner uint64
	bytes int
}

// waiter is one session that waits for room.
type waiter struct {
	session uint64
	owner   uint64
	size    int
	ready   chan struct{} // closed when room was promised
	granted bool
	place   *list.Element // nil while it waits for its share
}

func newAdmission(log *Log) *admission {
	return &admission{log: log, shares: make(map[uint64][]*waiter), promises: make(map[uint64]promise), kept: make(map[uint64]int)}
}

// accept appends payload to the Log if session may, and uses its promise up either way.
func (a *admission) accept(session uint64, payload []byte) bool {
	ok := a.admit(session, len(payload))
	if ok {
		_, ok = a.log.Append(session, payload)
	}
	a.settle(session)
	return ok
}

// admit reports whether session may append size bytes now, and takes its promise away.
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

// wait promises room to session, or returns the waiter whose ready says when it was. A session waits once at a time.
func (a *admission) wait(session uint64, size int) *waiter {
	if a.admit(session, size) {
		a.promise(session, a.log.ownerOf(session), size)
		return nil
	}
	defer a.settle(session) // an earlier promise may have been given back
	w := &waiter{session: session, owner: a.log.ownerOf(session), size: size, ready: make(chan struct{})}
	if a.shareRoom(session, size) {
		a.queue(w)
	} else {
		a.shares[w.owner] = append(a.shares[w.owner], w)
	}
	return w
}

// cancel takes w out. True: it was promised room before.
func (a *admission) cancel(w *waiter) (granted bool) {
	switch {
	case w.granted:
		return true
	case w.place != nil:
		a.line.Remove(w.place)
		a.keep(w.owner, -w.size-EntryCost)
	default:
		a.shares[w.owner] = slices.DeleteFunc(a.shares[w.owner], func(other *waiter) bool { return other == w })
	}
	a.lineUp(w.owner)
	a.grant()
	return false
}

// shareRoom reports whether the share of session's owner has room for size bytes of payload, besides what is kept for its sessions.
func (a *admission) shareRoom(session uint64, size int) bool {
	return a.log.shareRoom(session, size, a.kept[a.log.ownerOf(session)])
}

// keep counts bytes that are kept for an owner's sessions, or no more.
func (a *admission) keep(owner uint64, bytes int) {
	if a.kept[owner] += bytes; a.kept[owner] == 0 {
		delete(a.kept, owner)
	}
}

// queue puts w at the end of the line.
func (a *admission) queue(w *waiter) {
	w.place = a.line.PushBack(w)
	a.keep(w.owner, w.size+EntryCost)
}

// lineUp puts those into the line who waited for an owner's share, as far as it has room.
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

// freed tells that an entry of session left the Log. Call grant after the last one.
func (a *admission) freed(session uint64) { a.lineUp(a.log.ownerOf(session)) }

// grant promises the room there is to the first in line.
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

// leave takes what is promised to a session back, which has ended.
func (a *admission) leave(session uint64) {
	a.forfeit(session)
	a.settle(session)
}

// settle gives on what was given back by a session.
func (a *admission) settle(session uint64) {
	a.lineUp(a.log.ownerOf(session))
	a.grant()
}

// forfeit gives the promise of session back, if it has one. The caller calls settle.
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
