package gateway

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/edgerelay/edgerelay/shared/httpguard"
	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// longestStay caps the time until a token's end. Some ends are too far away for a time.Duration.
// Examples are an end in the year 9999, and an exp that was written in milliseconds.
const longestStay = 100 * 365 * 24 * time.Hour

// ServeHTTP answers a request for a chat endpoint or for protocol.SDKPath. For an admitted client
// it opens a session. At a chat endpoint it then waits, for openWait at most, until the relay has
// answered with Opened. After that it answers the upgrade. Without a link it does not wait.
func (v *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch err := httpguard.CheckUpgrade(r); err {
	case nil:
	case httpguard.ErrNoUpgrade, httpguard.ErrVersion:
		v.refuse(w, r, refuseUpgrade, err.Error())
		return
	default:
		v.refuse(w, r, refuseRequest, err.Error())
		return
	}
	if r.URL.Path == protocol.SDKPath {
		v.serveSDK(w, r)
		return
	}
	endpoint, group, user, err := v.parsePath(r)
	if err != nil {
		v.refuse(w, r, refusePath, err.Error())
		return
	}
	v.counting(w, r, func() (running bool) {
		// Substrings would keep the request's memory for as long as the session lives.
		info := link.Session{Endpoint: endpoint, User: strings.Clone(user), Group: strings.Clone(group)}
		until, ok := v.admit(w, r, user)
		return ok && v.connect(w, r, info, until)
	})
}

// counting counts a connect while the given function makes a session of it. If the function returns
// true, the session's last reader calls leave. While the server drains, counting refuses the
// request.
func (v *Server) counting(w http.ResponseWriter, r *http.Request, connect func() (running bool)) {
	if !v.enter() {
		v.refuse(w, r, refuseDraining, drainingText)
		return
	}
	running := false
	defer func() {
		if !running {
			v.leave()
		}
	}()
	running = connect()
}

// Texts of refusals that several functions give.
const (
	drainingText = "this server is draining"
	fullText     = "this server is full"
	unlinkedText = "this server has not reached a relay yet"
)

// full reports whether the number of sessions has reached Config.MaxSessions. The method Active
// counts this connect too, so it may be equal to the bound. It also counts guests, and ended
// sessions whose socket is still open.
func (v *Server) full() bool {
	all, _ := v.hub.Len()
	return all >= v.cfg.MaxSessions || v.Active() > v.cfg.MaxSessions
}

// parsePath reads the endpoint, the group and the user from the path. The error's text may be shown
// to the client.
func (v *Server) parsePath(r *http.Request) (e protocol.Endpoint, group, user string, err error) {
	e, group, user, err = protocol.ParsePath(r.URL.EscapedPath())
	if err != nil || !v.cfg.StrictIDs {
		return e, group, user, err
	}
	if err = protocol.CheckStrictID(user); err != nil {
		return e, group, user, fmt.Errorf("id %w", err)
	}
	if e == protocol.EndpointGroup {
		if err = protocol.CheckStrictID(group); err != nil {
			return e, group, user, fmt.Errorf("group %w", err)
		}
	}
	return e, group, user, nil
}

// admit checks whether the client may connect. It returns the time until which the client may stay;
// the zero time means for ever. If the client may not connect, admit answers the request.
func (v *Server) admit(w http.ResponseWriter, r *http.Request, user string) (until time.Time, ok bool) {
	if v.full() {
		v.refuse(w, r, refuseFull, fullText)
		return until, false
	}
	until, err := v.cfg.Auth.check(r, user)
	if err != nil {
		why := refuseAuth
		if _, undecided := errors.AsType[undecidedError](err); undecided {
			why = refuseUndecided
		}
		v.refuse(w, r, why, err.Error())
		return until, false
	}
	if !originAllowed(r, v.cfg.Origins) {
		v.refuse(w, r, refuseOrigin, originRefusal(r.Header.Get("Origin")))
		return until, false
	}
	if _, ever := v.up.Linked(); !ever {
		v.refuse(w, r, refuseUnlinked, unlinkedText)
		return until, false
	}
	return until, true
}

// connect opens a session, waits for the relay, and upgrades the request. If it returns true, the
// session has begun. The session's last reader then calls leave.
func (v *Server) connect(w http.ResponseWriter, r *http.Request, info link.Session, until time.Time) (running bool) {
	s := NewSession(info, v.cfg.Queue)
	began := time.Now()
	if !v.users.enter(s) {
		v.refuse(w, r, refuseUser, fmt.Sprintf("this user has %d sessions here already, which is the most: "+
			"close one of them; EDGE_USER_SESSIONS on the server permits more", v.cfg.PerUser))
		return false
	}
	opened, ok := v.hub.open(s, v.up, v.cfg.MaxSessions)
	if !ok {
		s.release(claimSocket)
		s.release(claimTables)
		v.refuse(w, r, refuseFull, fullText)
		return false
	}
	came := v.awaitOpened(r, opened)
	// A draining server leaves the client to another server. If a drain begins after this check, it
	// finds the session, since the session is in the Hub already.
	if v.Draining() {
		v.refuse(w, r, refuseDraining, drainingText)
		v.abandon(s, ReasonDraining)
		return false
	}
	if !came {
		v.abandon(s, ReasonGone)
		return false
	}
	c, unparsed, err := v.upgrade(w, r, s)
	if err != nil {
		v.log.Debug("upgrade failed", "session", s.info.ID, "err", err)
		v.abandon(s, ReasonRefused)
		return false
	}
	v.metrics.opened.Inc()
	v.metrics.openSeconds.Observe(time.Since(began).Seconds())
	v.setEnd(c, until)
	v.begin(c, unparsed)
	return true
}

// awaitOpened waits for the relay's Opened, for openWait at most. Without a link it does not wait.
// It returns false if the client goes away or this server drains during the wait.
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

var closedTimes = closed[time.Time]()

// begin gives the session's queue its writer. The writer starts at once if frames are already
// queued. If unparsed is not empty, or if the client is an SDK, which speaks at once, the method
// starts the reader. Otherwise it lets the poller watch the conn, and starts the reader only if
// goIdle returns false.
func (v *Server) begin(c *conn, unparsed []byte) {
	s := c.session
	s.conn.Store(c)
	// The session may have been closed before it had a conn on which to set a deadline.
	if _, ending := s.Reason(); ending {
		s.hurry(closeWait)
	}
	s.queue.attach(func() { v.hub.writers.add(c) })
	v.arm(c, v.now())
	if len(unparsed) > 0 || s.sdk != nil || !c.goIdle() {
		go v.serve(c, unparsed)
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
		if v.cfg.Replay && r.Header.Get("Fly-Replay-Src") == "" { // not for a replayed request
			w.Header().Set("Fly-Replay", "elsewhere=true")
		}
	case http.StatusUpgradeRequired:
		httpguard.AskForUpgrade(w.Header())
	case http.StatusTooManyRequests:
		w.Header().Set("Retry-After", retryAfter)
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	http.Error(w, text, status)
}

var refusalStatus = [refusals]int{
	refuseRequest:   http.StatusBadRequest,
	refuseUpgrade:   http.StatusUpgradeRequired,
	refusePath:      http.StatusBadRequest,
	refuseDraining:  http.StatusServiceUnavailable,
	refuseFull:      http.StatusServiceUnavailable,
	refuseUser:      http.StatusTooManyRequests,
	refuseAuth:      http.StatusUnauthorized,
	refuseUndecided: http.StatusServiceUnavailable,
	refuseOrigin:    http.StatusForbidden,
	refuseUnlinked:  http.StatusServiceUnavailable,
	refuseNoSDK:     http.StatusServiceUnavailable,
}

// handshakeSalt is the GUID by which a server proves that it knows the protocol (RFC 6455, 1.3).
const handshakeSalt = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// upgrade takes the connection over from the HTTP server and answers the handshake. The result
// unparsed has the bytes that the client sent after its request. The method writes the answer
// straight to the socket: the WebSocket library would make a parser for each connection, and
// net/http would add the header Date. The request must have passed httpguard.CheckUpgrade.
func (v *Server) upgrade(w http.ResponseWriter, r *http.Request, s *Session) (c *conn, unparsed []byte, err error) {
	socket, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, nil, err
	}
	if n := rw.Reader.Buffered(); n > 0 {
		unparsed, _ = rw.Reader.Peek(n) // cannot fail: these bytes are buffered
		unparsed = bytes.Clone(unparsed)
	}
	socket.SetWriteDeadline(time.Now().Add(closeWait))
	if _, err := socket.Write(switching(r, s.sdk != nil)); err != nil {
		socket.Close()
		return nil, nil, err
	}
	socket.SetWriteDeadline(time.Time{})
	c = &conn{Conn: socket, raw: rawOf(socket), server: v, session: s}
	v.poller.adopt(c)
	c.stamp()
	return c, unparsed, nil
}

// switching returns the answer to a handshake (RFC 6455, 4.2.2). The answer names centrifuge-json
// at SDKPath, and bearer elsewhere, if the client offered that subprotocol. The answer repeats the
// client's own spelling, since browsers compare by bytes. It names no other subprotocol, since any
// other may be a token.
func switching(r *http.Request, sdk bool) []byte {
	sum := sha1.Sum([]byte(strings.TrimSpace(r.Header.Get("Sec-WebSocket-Key")) + handshakeSalt))
	answer := make([]byte, 0, 192)
	answer = append(answer, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	answer = base64.StdEncoding.AppendEncode(answer, sum[:])
	offered := listHeader(r.Header, "Sec-WebSocket-Protocol")
	named := isBearer
	if sdk {
		named = isSubprotocolJSON
	}
	if i := slices.IndexFunc(offered, named); i >= 0 {
		answer = append(answer, "\r\nSec-WebSocket-Protocol: "+offered[i]...)
	}
	return append(answer, "\r\n\r\n"...)
}

// listHeader returns the elements of a comma-separated header.
func listHeader(h http.Header, name string) (list []string) {
	for _, line := range h.Values(name) {
		for element := range strings.SplitSeq(line, ",") {
			list = append(list, strings.TrimSpace(element))
		}
	}
	return list
}
