package gateway

import (
	"fmt"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// leaveWait is how long a client's socket stays open after the relay has closed the session without
// a code.
const leaveWait = 5 * time.Second

// memberLocked finds a session of an SDK. It returns nil if the session was forgotten meanwhile.
// The parameter confirmed says whether the session is confirmed in the relay's tables. If the Hub's
// table says otherwise, or if the session speaks the chat's protocol, memberLocked returns an
// error. h.mu must be held.
func (h *Hub) memberLocked(id uint64, confirmed bool) (*Session, error) {
	s := h.sessions[id]
	switch {
	case s == nil:
		return nil, nil
	case s.sdk == nil:
		return nil, fmt.Errorf("session %d speaks the chat's protocol", id)
	case s.sdk.confirmed && !confirmed:
		return nil, fmt.Errorf("session %d is confirmed already", id)
	case !s.sdk.confirmed && confirmed:
		return nil, fmt.Errorf("session %d is not confirmed yet", id)
	}
	return s, nil
}

// Confirmed makes a guest a session of the user that the relay names, and binds the session to its
// topics. From then on the session counts for its user and is pinged, and its reader goes on. If
// the parameter answer is true, Confirmed also queues n.Text for the client. If the user has too
// many sessions, or cannot pay for the channels, the session is closed.
//
// An error ends the link. Confirmed returns an error if the session is confirmed already, speaks
// the chat's protocol, or would have too many bytes of keeps.
func (f *Feed) Confirmed(n link.Confirmed, answer bool) error {
	h := f.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	s, err := h.memberLocked(n.Session, false)
	if err != nil {
		return err
	}
	if s == nil {
		h.replyLocked(f, n.Session, n.Text, false)
		return nil
	}
	size := len(n.Keep)
	for _, ch := range n.Channels {
		size += len(ch.Keep)
	}
	if err := h.roomLocked(s, size); err != nil {
		return err
	}
	h.digest.SessionHash ^= s.rowLocked()
	s.sdk.confirmed = true
	if s.info.User != n.User { // not written if equal: the reader may be reading it
		s.info.User = n.User
	}
	h.digest.SessionHash ^= s.rowLocked()
	h.setLocked(s, n.Until, n.Keep)
	for _, ch := range n.Channels {
		if t := f.numberedLocked(ch.Topic); t != nil {
			f.bindSDKLocked(s, t, ch.Keep, ch.Position)
		}
	}
	begins := false
	if !s.dead {
		defer s.sdk.releaseLocked()
		begins = h.beginLocked(s, n)
	}
	h.replyLocked(f, n.Session, n.Text, answer)
	if c := s.conn.Load(); c != nil && begins {
		c.server.confirmed(c, s.sdk.until)
	}
	return nil
}

// beginLocked is called when the relay has confirmed s. It counts s for its user, and makes the
// user pay for the channels. If s is closed instead, beginLocked returns false. h.mu must be held.
func (h *Hub) beginLocked(s *Session, n link.Confirmed) bool {
	h.guests.leave(s)
	if h.users != nil && !h.users.enter(s) {
		s.close(ReasonUserLimit, closeWait)
		return false
	}
	if h.rates != nil && !h.rates.admit(n.User, len(n.Channels)) {
		s.close(ReasonRate, closeWait)
		return false
	}
	return true
}

// releaseLocked lets the reader that waits in connectGuest go on. Hub.mu must be held.
func (k *sdk) releaseLocked() {
	close(k.ready)
	k.ready = nil
}

// Refreshed gives a session another expiry and another keep. If the parameter answer is true,
// Refreshed also queues n.Text for the client. The error, if any, ends the link.
func (f *Feed) Refreshed(n link.Refreshed, answer bool) error {
	h := f.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	s, err := h.memberLocked(n.Session, true)
	if s == nil {
		return err
	}
	if err := h.roomLocked(s, len(n.Keep)-len(s.sdk.keep)); err != nil {
		return err
	}
	h.setLocked(s, n.Until, n.Keep)
	if c := s.conn.Load(); c != nil && !s.dead {
		c.server.refreshed(c, n.Until)
	}
	if answer {
		h.answerLocked(s, n.Text)
	}
	return nil
}

// Bound binds a session to a topic, and gives the membership a keep. If the parameter answer is
// true, Bound also queues n.Text for the client, before the topic's later messages. The error, if
// any, ends the link. A session may have link.MaxMemberships memberships, since the next relay
// would not take more. Beyond that number Bound returns an error.
func (f *Feed) Bound(n link.Bound, answer bool) error {
	h := f.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	s, err := h.memberLocked(n.Session, true)
	if err != nil {
		return err
	}
	if s == nil {
		h.replyLocked(f, n.Session, n.Text, false)
		return nil
	}
	if t := f.numberedLocked(n.Topic); t != nil {
		had := 0
		if slot := s.findLocked(t); slot >= 0 {
			had = len(s.sdk.keepLocked(slot))
		} else if len(s.memberships) >= link.MaxMemberships {
			return &link.CloseError{
				Code: link.CodeLimit, Text: fmt.Sprintf("session %d in more than %d topics", n.Session, link.MaxMemberships),
			}
		}
		if err := h.roomLocked(s, len(n.Keep)-had); err != nil {
			return err
		}
		f.bindSDKLocked(s, t, n.Keep, n.Position)
	}
	h.replyLocked(f, n.Session, n.Text, answer)
	return nil
}

// bindSDKLocked makes s a member of t at the given position, and gives the membership a keep. If s
// is a member already, only the keep counts. f.hub.mu must be held.
func (f *Feed) bindSDKLocked(s *Session, t *topic, keep []byte, at protocol.Position) {
	h := f.hub
	if s.findLocked(t) < 0 {
		h.bindLocked(s, t)
		f.placeLocked(s, t, at)
	}
	h.setKeepLocked(s, s.findLocked(t), keep)
}

// Unbound unbinds a session from a topic, and queues n.Text for the client. The client did not ask
// to leave the topic.
func (f *Feed) Unbound(n link.Unbound) {
	f.Left(link.Left{Session: n.Session, Topic: n.Topic, Text: n.Text}, true)
}

// Close closes a session. Frames that are queued for its client are written first. After the close,
// no messages of the client are accepted. If n.Code is 0, the client gets no close frame, and has
// leaveWait to close its connection. If neither n.Code nor n.Within is 0, a session of an SDK goes
// on until a random moment within n.Within milliseconds. Close does nothing if the session has
// ended.
func (f *Feed) Close(n link.Close) {
	h := f.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.sessions[n.Session]
	switch {
	case s == nil || s.dead:
	case n.Code == 0:
		s.closeWith(ReasonRelay, nil, leaveWait)
	case n.Within > 0 && s.sdk != nil:
		s.closeLater(time.Duration(n.Within)*time.Millisecond, ReasonRelay, closeFrame(int(n.Code), n.Reason))
	default:
		s.closeWith(ReasonRelay, closeFrame(int(n.Code), n.Reason), closeWait)
	}
}

// Forms handles a publication as Publication does, but with a text for each form. A member gets the
// text of its form, or nothing if there is no such text.
func (f *Feed) Forms(p link.Forms) {
	r := renderingsOf(p.Texts)
	f.publish(link.Publication{
		Topic: p.Topic, Position: p.Position, ID: p.ID, Except: p.Except, Payload: r.texts[link.FormChat],
	}, r)
}

// AheadForms handles a message as Ahead does, but with a text for each form.
func (f *Feed) AheadForms(a link.AheadForms) {
	r := renderingsOf(a.Texts)
	f.giveAhead(link.Ahead{Topic: a.Topic, ID: a.ID, Except: a.Except, Payload: r.texts[link.FormChat]}, r)
}
