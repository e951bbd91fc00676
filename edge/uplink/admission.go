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
// Its bound is one waiter and one promise per session. One caller steps it, under the lock of the Log.
type admission struct {
	log      *Log
	line     list.List            // of *waiter, for the Log
	shares   map[uint64][]*waiter // by owner, for its share, in the order in which they came
	promises map[uint64]int       // bytes by session
	promised int
}

// waiter is one session that waits for room.
type waiter struct {
	session uint64
	size    int
	ready   chan struct{} // closed when room was promised
	granted bool
	place   *list.Element // nil while it waits for its share
}

func newAdmission(log *Log) *admission {
	return &admission{log: log, shares: make(map[uint64][]*waiter), promises: make(map[uint64]int)}
}

// accept appends payload to the Log if session may, and uses its promise up either way.
func (a *admission) accept(session uint64, payload []byte) bool {
	ok := a.admit(session, len(payload))
	if ok {
		_, ok = a.log.Append(session, payload)
	}
	a.grant()
	return ok
}

// admit reports whether session may append size bytes now, and takes its promise away.
func (a *admission) admit(session uint64, size int) bool {
	promise := a.promises[session]
	a.forfeit(session)
	if !a.log.shareRoom(session, size, 0) {
		return false
	}
	if size+EntryCost <= promise {
		return true
	}
	return a.line.Len() == 0 && a.log.logRoom(size, a.promised)
}

// wait promises room to session, or returns the waiter whose ready says when it was. A session waits once at a time.
func (a *admission) wait(session uint64, size int) *waiter {
	if a.admit(session, size) {
		a.promise(session, size)
		return nil
	}
	defer a.grant() // an earlier promise may have been given back
	w := &waiter{session: session, size: size, ready: make(chan struct{})}
	if a.log.shareRoom(session, size, 0) {
		w.place = a.line.PushBack(w)
	} else {
		owner := a.log.ownerOf(session)
		a.shares[owner] = append(a.shares[owner], w)
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
		a.grant()
	default:
		owner := a.log.ownerOf(w.session)
		a.share(owner, slices.DeleteFunc(a.shares[owner], func(other *waiter) bool { return other == w }))
	}
	return false
}

// share sets who waits for an owner's share.
func (a *admission) share(owner uint64, waiters []*waiter) {
	if len(waiters) > 0 {
		a.shares[owner] = waiters
	} else {
		delete(a.shares, owner)
	}
}

// freed tells that an entry of session left the Log. Call grant after the last one.
func (a *admission) freed(session uint64) {
	owner, kept := a.log.ownerOf(session), 0
	waiters := a.shares[owner]
	for len(waiters) > 0 && a.log.shareRoom(session, waiters[0].size, kept) {
		w := waiters[0]
		waiters = waiters[1:]
		w.place = a.line.PushBack(w)
		kept += w.size + EntryCost
	}
	a.share(owner, waiters)
}

// grant promises the room there is to the first in line.
func (a *admission) grant() {
	for e := a.line.Front(); e != nil; e = a.line.Front() {
		w := e.Value.(*waiter)
		if !a.log.logRoom(w.size, a.promised) {
			return
		}
		a.line.Remove(e)
		a.promise(w.session, w.size)
		w.granted = true
		close(w.ready)
	}
}

func (a *admission) promise(session uint64, size int) {
	a.promises[session] = size + EntryCost
	a.promised += size + EntryCost
}

// forfeit gives the promise of session back, if it has one. The caller calls grant.
func (a *admission) forfeit(session uint64) {
	if promise, ok := a.promises[session]; ok {
		a.promised -= promise
		delete(a.promises, session)
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
