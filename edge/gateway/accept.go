package gateway

import (
	"net/http"
	"strings"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// longestStay bounds how far away a token's end is taken to be: some never expire in the span of a Duration, such as those of the year 9999 or
// whose exp is in milliseconds.
const longestStay = 100 * 365 * 24 * time.Hour

// ServeHTTP answers a request to one of the chat endpoints. A client that is admitted becomes a session; the upgrade is answered when the
// relay has bound it to its topics, or at most 2 s later.
func (v *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := checkUpgrade(r); err != nil {
		v.refuse(w, r, refuseRequest, err.Error())
		return
	}
	endpoint, group, user, err := protocol.ParsePath(r.URL.EscapedPath())
	if err != nil {
		v.refuse(w, r, refusePath, err.Error())
		return
	}
	if !v.enter() {
		v.refuse(w, r, refuseDraining, "this server is draining")
		return
	}
	handedOver := false
	defer func() {
		if !handedOver {
			v.leave()
		}
	}()
	// The clones let go of the request's memory.
	info := link.Session{Endpoint: endpoint, User: strings.Clone(user), Group: strings.Clone(group)}
	until, ok := v.admit(w, r, user)
	handedOver = ok && v.connect(w, r, info, until)
}

// admit decides whether the client may connect, and until when (zero: for ever). It answers the request when not.
func (v *Server) admit(w http.ResponseWriter, r *http.Request, user string) (until time.Time, ok bool) {
	if all, _ := v.hub.Len(); all >= v.cfg.MaxSessions || v.Active() > v.cfg.MaxSessions { // those that linger have a socket, and this one is active
		v.refuse(w, r, refuseFull, "this server is full")
		return until, false
	}
	until, err := v.cfg.Auth.check(r, user)
	if err != nil {
		v.refuse(w, r, refuseAuth, err.Error())
		return until, false
	}
	if !originAllowed(r, v.cfg.Origins) {
		v.refuse(w, r, refuseOrigin, "this origin may not connect; EDGE_ORIGINS on the server allows others than its own")
		return until, false
	}
	if _, ever := v.up.Linked(); !ever {
		v.refuse(w, r, refuseUnlinked, "this server has not reached a relay yet")
		return until, false
	}
	return until, true
}

// connect opens a session, waits for the relay, and upgrades. It reports whether the session's reader runs, which will leave.
func (v *Server) connect(w http.ResponseWriter, r *http.Request, info link.Session, until time.Time) (running bool) {
	s := NewSession(info, v.cfg.Queue)
	began := time.Now()
	opened, ok := v.hub.open(s, v.up, v.cfg.MaxSessions)
	if !ok {
		v.refuse(w, r, refuseFull, "this server is full")
		return false
	}
	came := v.awaitOpened(r, opened)
	if v.Draining() { // another server can keep it. Who passes here was in the hub before the drain began, which will find it there.
		v.refuse(w, r, refuseDraining, "this server is draining")
		v.abandon(s, ReasonDraining)
		return false
	}
	if !came {
		v.abandon(s, ReasonGone)
		return false
	}
	c, early, err := v.upgrade(w, r, s)
	if err != nil {
		v.log.Debug("upgrade failed", "session", s.info.ID, "err", err)
		v.abandon(s, ReasonRefused)
		return false
	}
	v.metrics.opened.Inc()
	v.metrics.openSeconds.Observe(time.Since(began).Seconds())
	if !until.IsZero() {
		wall := time.Now()
		c.expires = max(wall.Sub(v.start)+min(until.Sub(wall), longestStay), 1)
		c.until = v.wallSince(until)
	}
	v.begin(c, early)
	return true
}

// awaitOpened waits for the relay's answer, but not without a link, not for long, and not while this server drains. False: the client went away, or this server drains.
func (v *Server) awaitOpened(r *http.Request, opened <-chan struct{}) bool {
	linked, _ := v.up.Linked()
	var late <-chan time.Time = closedTimes
	if linked {
		timer := time.NewTimer(openWait)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-opened:
		return true
	case <-r.Context().Done():
		return false
	case <-v.draining:
		return false
	case <-late:
		v.metrics.unanswered.Inc()
		return true
	}
}

var closedTimes = func() chan time.Time { c := make(chan time.Time); close(c); return c }()

// begin starts the session's reader, unless there is nothing to read yet, and its writer with what is queued already.
func (v *Server) begin(c *conn, early []byte) {
	s := c.session
	s.conn.Store(c)
	if _, ending := s.Reason(); ending { // before there was a conn to set a deadline
		s.hurry(closeWait)
	}
	s.queue.attach(func() { v.hub.writers.add(c) })
	v.arm(c)
	if len(early) > 0 || !c.rest() {
		go v.serve(c, early)
	}
}

// abandon ends a session that never had a WebSocket.
func (v *Server) abandon(s *Session, r Reason) {
	s.closeWith(r, nil, 0)
	v.hub.End(s, v.up)
	v.ended(s)
}

// refuse answers a request that is not upgraded.
func (v *Server) refuse(w http.ResponseWriter, r *http.Request, why refusal, text string) {
	v.metrics.refused[why].Inc()
	status := refusalStatus[why]
	switch status {
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", retryAfter)
		if v.cfg.Replay && r.Header.Get("Fly-Replay-Src") == "" { // once per request
			w.Header().Set("Fly-Replay", "elsewhere=true")
		}
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	http.Error(w, text, status)
}

var refusalStatus = [refusals]int{
	refuseRequest:  http.StatusBadRequest,
	refusePath:     http.StatusBadRequest,
	refuseDraining: http.StatusServiceUnavailable,
	refuseFull:     http.StatusServiceUnavailable,
	refuseAuth:     http.StatusUnauthorized,
	refuseOrigin:   http.StatusForbidden,
	refuseUnlinked: http.StatusServiceUnavailable,
}
