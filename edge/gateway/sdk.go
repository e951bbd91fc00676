package gateway

import (
	"bytes"
	"fmt"
	"sync/atomic"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// sdk is the state that only a session of an SDK has. The session is a guest until the relay
// confirms its connect. With the confirmation the relay names the user, so Session.info.User may
// change then, under Hub.mu. Later the user does not change. So the reader may read the user
// without the lock once it has seen the confirmation.
type sdk struct {
	open bool // the edge vouches for the user; does not change

	connected bool // the reader has seen the confirmation; only the reader uses this

	// The following fields are guarded by Hub.mu. Only the reader sets the field known.
	known     bool          // the session is in the Hub's tables
	confirmed bool          // the relay has confirmed the connect
	ready     chan struct{} // closed, and set to nil, at Confirmed
	until     int64         // Unix seconds; 0: for ever
	keep      []byte        // the session's keep
	keeps     [][]byte      // keeps of the memberships, by their slots; nil: there are none
	held      int           // bytes of keep and keeps

	// The following times are by Server.now.
	since atomic.Int64 // when the upgrade was answered; later, when the first line came
	ping  atomic.Int64 // when the next ping is due; 0: not confirmed
	asked atomic.Bool  // the first line has come
	owed  atomic.Int32 // pings that the client has not answered by a pong

	leave atomic.Pointer[leave] // the end that closeLater has set; nil: none
}

// newGuest makes a session of an SDK, for Hub.enterGuest. If user is not "", the edge vouches for
// the user.
func newGuest(user string, queueBytes int) *Session {
	s := NewSession(link.Session{Endpoint: protocol.EndpointSDK, User: user}, queueBytes)
	s.sdk = &sdk{open: user != "", ready: make(chan struct{})}
	return s
}

// isGuest reports whether the reader has not yet seen the confirmation of s. Only the reader may
// call it. While isGuest returns true, the reader must not use Session.info.User, since the
// confirmation may change it.
func (s *Session) isGuest() bool { return s.sdk != nil && !s.sdk.connected }

// owner returns the user in whose share of Config.Unfinished the reader's message is counted. Only
// the reader may call owner. While isGuest returns true, owner returns "".
func (s *Session) owner() string {
	if s.isGuest() {
		return ""
	}
	return s.info.User
}

// form returns the form in which the session's client takes publications.
func (s *Session) form() link.Form {
	if s.sdk != nil {
		return link.FormJSON
	}
	return link.FormChat
}

// clientLocked returns the link.Client that describes a session of an SDK to a relay. Hub.mu must
// be held.
func (s *Session) clientLocked() link.Client {
	k := s.sdk
	return link.Client{ID: s.info.ID, Confirmed: k.confirmed, Open: k.open, Until: k.until, User: s.info.User, Keep: k.keep}
}

// roomLocked returns an error if the session's keeps may not grow by the given number of bytes. A
// relay respects these bounds by itself, so this error ends the link. h.mu must be held.
func (h *Hub) roomLocked(s *Session, bytes int) error {
	switch {
	case bytes > 0 && s.sdk.held+bytes > link.MaxKeeps:
		return &link.CloseError{Code: link.CodeLimit, Text: fmt.Sprintf("keeps of more than %d bytes in session %d", link.MaxKeeps, s.info.ID)}
	case bytes > 0 && h.keeps+bytes > link.MaxEdgeKeeps:
		return &link.CloseError{Code: link.CodeLimit, Text: fmt.Sprintf("keeps of more than %d bytes on this edge", link.MaxEdgeKeeps)}
	}
	return nil
}

// holdLocked adds a number of bytes to the counts of keeps. The number is negative if keeps have
// shrunk. h.mu must be held.
func (h *Hub) holdLocked(s *Session, bytes int) {
	s.sdk.held += bytes
	h.keeps += bytes
	h.metrics.keepBytes.Add(float64(bytes))
}

// setLocked gives a session of an SDK its expiry and its keep. It copies the keep. h.mu must be
// held.
func (h *Hub) setLocked(s *Session, until int64, keep []byte) {
	h.digest.SessionHash ^= s.rowLocked()
	h.holdLocked(s, len(keep)-len(s.sdk.keep))
	s.sdk.until, s.sdk.keep = until, copyOf(keep)
	h.digest.SessionHash ^= s.rowLocked()
}

// keepLocked returns the keep of the membership in the given slot. Hub.mu must be held.
func (k *sdk) keepLocked(slot int) []byte {
	if k.keeps == nil {
		return nil
	}
	return k.keeps[slot]
}

// setKeepLocked stores a copy of the given keep for the membership in the given slot. h.mu must be
// held.
func (h *Hub) setKeepLocked(s *Session, slot int, keep []byte) {
	k, id, t := s.sdk, s.info.ID, s.memberships[slot].topic.name
	old := k.keepLocked(slot)
	if bytes.Equal(old, keep) {
		return
	}
	if k.keeps == nil {
		k.keeps = make([][]byte, len(s.memberships))
	}
	h.digest.BindingHash ^= link.BindingHashKeep(id, t, old) ^ link.BindingHashKeep(id, t, keep)
	h.holdLocked(s, len(keep)-len(old))
	k.keeps[slot] = copyOf(keep)
}

// moveKeepLocked is called when the membership in the given slot ends. It moves the keep of the
// last membership to that slot. Hub.mu must be held.
func (k *sdk) moveKeepLocked(last, slot int) {
	if k.keeps != nil {
		k.keeps[slot], k.keeps[last] = k.keeps[last], nil
		k.keeps = k.keeps[:last]
	}
}

// tellKeepsLocked calls the function tell for each membership of s that has a keep. Hub.mu must be
// held.
func (s *Session) tellKeepsLocked(tell func(link.Keep)) {
	if s.sdk == nil {
		return
	}
	for slot, keep := range s.sdk.keeps {
		if len(keep) > 0 {
			tell(link.Keep{Session: s.info.ID, Topic: s.memberships[slot].topic.name, Keep: keep})
		}
	}
}

// copyOf copies a keep. The copy of an empty keep is nil.
func copyOf(keep []byte) []byte { return append([]byte(nil), keep...) }

// renderings are the texts of one publication, by form.
type renderings struct {
	texts [link.MaxForms][]byte
	has   [link.MaxForms]bool // has[f]: texts[f] is set; it may be empty
}

// chatOnly returns the renderings of a publication that has only the chat's text.
func chatOnly(text []byte) (r renderings) {
	r.texts[link.FormChat], r.has[link.FormChat] = text, true
	return r
}

// renderingsOf returns renderings with the given texts.
func renderingsOf(texts []link.Rendering) (r renderings) {
	for _, t := range texts {
		r.texts[t.Form], r.has[t.Form] = t.Text, true
	}
	return r
}

// longest returns the length of the longest text.
func (r *renderings) longest() (n int) {
	for _, text := range r.texts {
		n = max(n, len(text))
	}
	return n
}
