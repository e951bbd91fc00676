package service

import (
	"container/list"
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	requestTime = 10 * time.Second // for a connection's first request, for a handler, and for its answer to be taken
	idleTime    = time.Minute      // from an answer to the next request
	sweepEvery  = time.Second      // a connection lives so much longer at most
)

// phase is what a connection that is not upgraded is at.
type phase uint8

const (
	arriving  phase = iota // its first request is not whole
	handling               // its handler works
	answering              // the client has yet to take the answer, or to send the rest of its request
	idle                   // between two requests
)

// drop says why a connection was closed before its client did. It is a metric label.
type drop uint8

const (
	dropMany drop = iota // the one that waited longest, for a new one
	dropSlow             // requestTime was over
	dropIdle             // idleTime was over
	drops
)

var dropLabels = [drops]string{"too_many", "slow", "idle"}

// visit is one connection, until it is upgraded or closed.
type visit struct {
	conn      net.Conn
	phase     phase
	since     time.Time     // the phase; arriving has it from the begin
	place     *list.Element // among those without a handler; nil: it has one, or is out
	unhurried bool          // its handler has all the time it wants
	out       bool
}

// waiting bounds the connections of a server that are not upgraded: in time, and, while no handler is at work for them, in number. Who has no
// token can make as many as he likes, so a new one is not refused: it takes the place of the one that has been at the same thing longest. An
// honest client has its request here a round trip later, and is dropped only if as many as the bound are made meanwhile.
type waiting struct {
	most  func() int // how many without a handler; at least one
	count func(drop)

	mu     sync.Mutex // guards what follows, and the visits; never held across I/O
	visits map[net.Conn]*visit
	order  list.List // of those without a handler, by since
}

type visitKey struct{}

// connContext begins a visit, of which the requests' contexts know.
func (w *waiting) connContext(ctx context.Context, c net.Conn) context.Context {
	v := &visit{conn: c}
	if oldest := w.enter(v, time.Now()); oldest != nil {
		w.count(dropMany)
		oldest.Close()
	}
	return context.WithValue(ctx, visitKey{}, v)
}

// enter takes v in and returns whose place it takes; nil: there was room.
func (w *waiting) enter(v *visit, now time.Time) (oldest net.Conn) {
	most := w.most()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.order.Len() >= most {
		first := w.order.Front().Value.(*visit)
		w.takeOutLocked(first)
		oldest = first.conn
	}
	w.visits[v.conn] = v
	w.moveLocked(v, arriving, now)
	return oldest
}

// moveLocked begins a phase. w.mu must be held.
func (w *waiting) moveLocked(v *visit, to phase, now time.Time) {
	v.phase, v.since = to, now
	if v.place != nil {
		w.order.Remove(v.place)
		v.place = nil
	}
	if to != handling {
		v.place = w.order.PushBack(v)
	}
}

// takeOutLocked forgets v. w.mu must be held.
func (w *waiting) takeOutLocked(v *visit) {
	v.out = true
	delete(w.visits, v.conn)
	if v.place != nil {
		w.order.Remove(v.place)
		v.place = nil
	}
}

// connState follows what net/http tells of a connection.
func (w *waiting) connState(c net.Conn, state http.ConnState) {
	w.mu.Lock()
	defer w.mu.Unlock()
	v := w.visits[c]
	if v == nil {
		return
	}
	switch state {
	case http.StateIdle:
		w.moveLocked(v, idle, time.Now())
	case http.StateHijacked, http.StateClosed:
		w.takeOutLocked(v)
	}
}

// handler is h, for connections that were not dropped.
func (w *waiting) handler(h http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		v, _ := r.Context().Value(visitKey{}).(*visit)
		if v == nil { // a test without a connection
			h.ServeHTTP(rw, r)
			return
		}
		if !w.begin(v, handling) {
			panic(http.ErrAbortHandler)
		}
		defer w.begin(v, answering)
		h.ServeHTTP(rw, r)
	})
}

// begin begins a phase. False: v was dropped or upgraded.
func (w *waiting) begin(v *visit, p phase) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if v.out {
		return false
	}
	v.unhurried = false
	w.moveLocked(v, p, time.Now())
	return true
}

// unhurried gives the handlers under h all the time they want.
func (w *waiting) unhurried(h http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if v, _ := r.Context().Value(visitKey{}).(*visit); v != nil {
			w.mu.Lock()
			v.unhurried = true
			w.mu.Unlock()
		}
		h.ServeHTTP(rw, r)
	})
}

// sweep closes those whose time is over.
func (w *waiting) sweep(now time.Time) {
	for c, why := range w.overdue(now) {
		w.count(why)
		c.Close()
	}
}

// overdue takes those out whose time is over.
func (w *waiting) overdue(now time.Time) map[net.Conn]drop {
	w.mu.Lock()
	defer w.mu.Unlock()
	over := map[net.Conn]drop{}
	for c, v := range w.visits {
		spent := now.Sub(v.since)
		switch {
		case v.phase == idle && spent >= idleTime:
			over[c] = dropIdle
		case v.phase != idle && !v.unhurried && spent >= requestTime:
			over[c] = dropSlow
		default:
			continue
		}
		w.takeOutLocked(v)
	}
	return over
}

// len returns how many have no handler.
func (w *waiting) len() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.order.Len()
}
