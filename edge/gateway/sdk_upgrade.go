package gateway

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// Subprotocols that SDKs may offer. Most SDKs offer none.
const (
	subprotocolJSON     = "centrifuge-json"
	subprotocolProtobuf = "centrifuge-protobuf"
)

func isSubprotocolJSON(subprotocol string) bool { return subprotocol == subprotocolJSON }

// serveSDK answers an upgrade at protocol.SDKPath at once, since the SDK for Go gives up after a
// second. The session is then a guest, and no relay is told of it before its first line.
func (v *Server) serveSDK(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if wantsProtobuf(r, query) {
		v.refuse(w, r, refuseRequest, "this server speaks JSON only: connect without protobuf")
		return
	}
	user, err := v.userOf(query)
	if err != nil {
		v.refuse(w, r, refuseRequest, err.Error())
		return
	}
	v.counting(w, r, func() (running bool) { return v.admitGuest(w, r) && v.connectSDK(w, r, user) })
}

func wantsProtobuf(r *http.Request, query url.Values) bool {
	return slices.Contains(listHeader(r.Header, "Sec-WebSocket-Protocol"), subprotocolProtobuf) ||
		query.Get("cf_protocol") == "protobuf" || query.Get("format") == "protobuf"
}

// userOf returns the user for whom this edge vouches. Without Auth.Open the relay names the user
// later, and userOf returns "".
func (v *Server) userOf(query url.Values) (user string, err error) {
	if !v.cfg.Auth.Open {
		return "", nil
	}
	if !query.Has("user") {
		return anonymous(), nil
	}
	user = strings.Clone(query.Get("user"))
	err = protocol.CheckID(user)
	if err == nil && v.cfg.StrictIDs {
		err = protocol.CheckStrictID(user)
	}
	if err != nil {
		return "", fmt.Errorf("user %w", err)
	}
	return user, nil
}

// anonymous returns a random name, for a client that names no user.
func anonymous() string {
	var letters [8]byte
	for i := range letters {
		letters[i] = 'a' + rand.N[byte](26)
	}
	return "anon-" + string(letters[:])
}

// admitGuest checks whether a client may become a guest. If it may not, admitGuest answers the
// request.
func (v *Server) admitGuest(w http.ResponseWriter, r *http.Request) bool {
	_, ever := v.up.Linked()
	switch {
	case v.full():
		v.refuse(w, r, refuseFull, fullText)
	case !originAllowed(r, v.cfg.Origins):
		v.refuse(w, r, refuseOrigin, originRefusal(r.Header.Get("Origin")))
	case !ever:
		v.refuse(w, r, refuseUnlinked, unlinkedText)
	case !v.up.KnowsSDK():
		v.refuse(w, r, refuseNoSDK, "the relay of this server does not know this protocol yet")
	default:
		return true
	}
	return false
}

// connectSDK makes a guest and upgrades the request. If it returns true, the session has begun. The
// session's last reader then calls leave.
func (v *Server) connectSDK(w http.ResponseWriter, r *http.Request, user string) (running bool) {
	s := newGuest(user, v.cfg.Queue)
	if !v.hub.enterGuest(s, sourceOf(r), v.cfg.MaxSessions) {
		v.refuse(w, r, refuseFull, fullText)
		return false
	}
	// If a drain begins after this check, it finds the session, since the session is in the Hub
	// already.
	if v.Draining() {
		v.refuse(w, r, refuseDraining, drainingText)
		v.abandon(s, ReasonDraining)
		return false
	}
	c, unparsed, err := v.upgrade(w, r, s)
	if err != nil {
		v.log.Debug("upgrade failed", "session", s.info.ID, "err", err)
		v.abandon(s, ReasonRefused)
		return false
	}
	v.metrics.opened.Inc()
	s.sdk.since.Store(int64(v.now()))
	v.begin(c, unparsed)
	return true
}
