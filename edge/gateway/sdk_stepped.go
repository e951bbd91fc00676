package gateway

import (
	"math"
	"net/netip"

	"github.com/edgerelay/edgerelay/shared/link"
)

// The functions of this file are for sessions of SDKs without a socket, in a Hub without a Server.
// A session of the chat needs only Hub.Open for this. The caller does what a reader does: it gives
// the client's lines to the upstream. Before the guest is confirmed, the caller gives only the
// first line.

// OpenGuest makes a guest and counts it among the guests. If user is not "", the edge vouches for
// the user.
func (h *Hub) OpenGuest(user string, queueBytes int) *Session {
	s := newGuest(user, queueBytes)
	h.enterGuest(s, netip.Addr{}, math.MaxInt)
	return s
}

// Introduce puts a guest into the tables and announces the guest to the relay. The caller gives the
// guest's first line to the upstream only afterwards. The channel confirmed is closed when the
// relay has confirmed the guest's connect.
//
// If no relay can take guests now, Introduce changes nothing, and the result confirmed is nil. In
// this case, the result again is a channel that is closed when the caller may try anew.
func (h *Hub) Introduce(s *Session, up Upstream) (confirmed, again <-chan struct{}) {
	again = up.Enrol(link.Client{ID: s.info.ID, Open: s.sdk.open, User: s.info.User})
	if again != nil {
		return nil, again
	}
	confirmed = s.sdk.ready
	h.introduce(s, up)
	return confirmed, nil
}

// Leaves reports whether the session is to end within some seconds, since it may lack messages: see
// link.Close. It does not block. If Leaves returns true, the caller does what a Server's clock
// does: it calls Depart within these seconds.
func (s *Session) Leaves() bool { return s.leaves() }

// Depart begins the end of a session for which Leaves returns true, with the reason that was given
// for that. If the end has begun already, Depart does nothing. It does not block.
func (s *Session) Depart() {
	l := s.sdk.leave.Load()
	s.closeWith(l.reason, l.frame, closeWait)
}
