package httpguard

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgerelay/edgerelay/shared/crowd"
)

const (
	// requestTime bounds each of the phases arriving, handling and answering: the time until the
	// head of a request has come, until the handler has ended, and until the client has taken the
	// answer.
	requestTime = 10 * time.Second
	idleTime    = time.Minute // from an answer to the next request
	sweepEvery  = time.Second // time between two sweeps; a time-out may be late by this much
)

// drop says why the guard closed a connection. It is a metric label.
type drop uint8

const (
	dropMany drop = iota // the connection made room for a new one
	dropSlow             // requestTime was over
	dropIdle             // idleTime was over
	dropLong             // its long unfinished head made room for another one
	drops
)

var dropLabels = [drops]string{"too_many", "slow", "idle", "long_headers"}

// refusal says why the guard refused a request. It is a metric label.
type refusal uint8

const (
	refusedHead    refusal = iota // 431: its head was too long
	refusedHost                   // 403: it was for a host that is not served here
	refusedUpgrade                // the handler wanted an upgrade that CheckUpgrade refuses
	refusals
)

var refusalLabels = [refusals]string{"headers", "host", "upgrade"}

// waiting bounds the connections of a server that are not upgraded. It bounds the time of each
// connection, and the number of connections for which no handler works.
//
// At the bound, an older connection gives way to each new one. If new connections were refused
// instead, people without a token could open many connections and keep everybody else out. The
// source that has most connections loses the one that has been longest in its phase. While no
// source has more than a few connections, the choice is among the connections of all sources.
//
// The first phase of a connection begins when the connection is accepted. A new phase begins when
// the head of a request is whole, when the handler has ended, when the answer is written, and when
// the next request begins to come.
type waiting struct {
	most     func() int // bound of the connections without a handler; at least 1
	mostLong int        // bound of the connections whose head has memory of its own
	count    func(drop)
	refused  [refusals]prometheus.Counter

	mu     sync.Mutex // guards what follows, and fields of visits; never held across I/O
	visits map[*visit]struct{}
	// queue has the visits without a handler, by source. Each visit joined the queue when its phase
	// began.
	queue crowd.Crowd[netip.Addr, *visit]
	long  crowd.Crowd[netip.Addr, *visit] // the visits whose head has memory of its own
}

// guarded is a listener whose connections are visits.
type guarded struct {
	net.Listener
	*waiting
}

// Accept implements net.Listener.
func (g guarded) Accept() (net.Conn, error) {
	c, err := g.Listener.Accept()
	if err != nil {
		return nil, err
	}
	v := &visit{Conn: c, guard: g.waiting, source: crowd.Source(c.RemoteAddr())}
	if other := g.enter(v, time.Now()); other != nil {
		g.count(dropMany)
		other.Conn.Close()
	}
	return v, nil
}

type visitKey struct{}

// connContext puts the visit into the contexts of its requests.
func (w *waiting) connContext(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, visitKey{}, c)
}

// visitOf returns the visit of the connection by which r came. It returns nil if r came by no
// guarded connection, as in some tests.
func visitOf(r *http.Request) *visit {
	v, _ := r.Context().Value(visitKey{}).(*visit)
	return v
}

// enter adds v to the connections that w guards. It returns the connection that has to give way, or
// nil if there was room.
func (w *waiting) enter(v *visit, now time.Time) (other *visit) {
	most := w.most()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.queue.Len() >= most {
		other = w.queue.First().Value
		w.takeOutLocked(other)
	}
	w.visits[v] = struct{}{}
	w.moveLocked(v, arriving, now)
	return other
}

// joinLong records that v's head has memory of its own. If too many connections have such a head,
// one of the others gives way.
func (w *waiting) joinLong(v *visit) {
	if other := w.enterLong(v); other != nil {
		w.count(dropLong)
		other.Conn.Close()
	}
}

func (w *waiting) enterLong(v *visit) (other *visit) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if v.out || v.long != nil {
		return nil
	}
	if w.long.Len() >= w.mostLong {
		other = w.long.First().Value
		w.takeOutLocked(other)
	}
	v.long = w.long.Join(v.source, v, 1)
	return other
}

// leaveLong records that v's head is whole, or was given up.
func (w *waiting) leaveLong(v *visit) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if v.long != nil {
		w.long.Leave(v.long)
		v.long = nil
	}
}

// moveLocked begins a phase of v. The caller holds w.mu.
func (w *waiting) moveLocked(v *visit, to phase, now time.Time) {
	v.phase, v.since = to, now
	if v.place != nil {
		w.queue.Leave(v.place)
		v.place = nil
	}
	if to != handling {
		v.place = w.queue.Join(v.source, v, 1)
	}
}

// takeOutLocked forgets v. The caller holds w.mu.
func (w *waiting) takeOutLocked(v *visit) {
	v.out = true
	delete(w.visits, v)
	if v.place != nil {
		w.queue.Leave(v.place)
		v.place = nil
	}
	if v.long != nil {
		w.long.Leave(v.long)
		v.long = nil
	}
}

// connState is called by net/http when the state of a connection changes. It begins the next phase
// of a connection that has become idle, and forgets a connection that was hijacked or closed.
func (w *waiting) connState(c net.Conn, state http.ConnState) {
	v := c.(*visit)
	switch state {
	case http.StateIdle:
		if v.pauses() {
			w.begin(v, idle)
		} else {
			w.begin(v, arriving)
		}
	case http.StateHijacked, http.StateClosed:
		w.mu.Lock()
		defer w.mu.Unlock()
		w.takeOutLocked(v)
	}
}

// handler returns h with the guard around it: the guard follows the phases of the visit, and aborts
// the request if its connection was dropped.
func (w *waiting) handler(h http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		v := visitOf(r)
		if v == nil {
			h.ServeHTTP(rw, r)
			return
		}
		if !w.begin(v, handling) {
			panic(http.ErrAbortHandler)
		}
		defer w.begin(v, answering)
		if r.ContentLength != 0 { // if it is 0, v may have a reader now, which owns v.body
			v.takesBody(r.ContentLength)
		}
		if r.ContentLength < 0 {
			rw.Header().Set("Connection", "close")
		}
		h.ServeHTTP(&answer{rw, v, r}, r)
	})
}

// begin begins a phase of v. It returns false if v was dropped, closed or upgraded.
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

// unhurried returns a handler that does what h does, and may take any time for it.
func (w *waiting) unhurried(h http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if v := visitOf(r); v != nil {
			w.mu.Lock()
			v.unhurried = true
			w.mu.Unlock()
		}
		h.ServeHTTP(rw, r)
	})
}

// sweep closes the connections whose time is over.
func (w *waiting) sweep(now time.Time) {
	for v, why := range w.overdue(now) {
		w.count(why)
		v.Conn.Close()
	}
}

// overdue takes out the connections whose time is over, and returns them with the reasons.
func (w *waiting) overdue(now time.Time) map[*visit]drop {
	w.mu.Lock()
	defer w.mu.Unlock()
	over := map[*visit]drop{}
	for v := range w.visits {
		spent := now.Sub(v.since)
		switch {
		case v.phase == idle && spent >= idleTime:
			over[v] = dropIdle
		case v.phase != idle && !v.unhurried && spent >= requestTime:
			over[v] = dropSlow
		default:
			continue
		}
		w.takeOutLocked(v)
	}
	return over
}

// len returns the number of connections without a handler.
func (w *waiting) len() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.queue.Len()
}
