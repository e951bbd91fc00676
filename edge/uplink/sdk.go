package uplink

import (
	"errors"
	"fmt"
	"hash/maphash"

	"github.com/edgerelay/edgerelay/shared/link"
)

// errNoSDK is the error of a dial that reached a relay without FeatureSDK, while the edge has
// sessions of SDKs. Such a relay could not be told of them.
var errNoSDK = errors.New("the relay does not know sessions of SDKs, and this edge has some: " +
	"update the relay, or restart this edge with EDGE_RELAY_URLS of relays that do")

// lacksSDK is in State.Degraded while errNoSDK keeps this edge from a link.
const lacksSDK = "relays do not know SDKs"

// take makes l the newest link and returns true. If the edge has sessions of SDKs and l lacks
// FeatureSDK, take does nothing and returns false.
func (s *Links) take(l *Link) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !l.sdk && s.log.Clients() > 0 {
		return false
	}
	s.newest, s.knowsSDK = l, l.sdk
	if l.sdk && s.enrolled != nil {
		close(s.enrolled)
		s.enrolled = nil
	}
	return true
}

// takes reports whether there may be a link with these features now.
func (s *Links) takes(features uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return features&link.FeatureSDK != 0 || s.log.Clients() == 0
}

// KnowsSDK reports whether the newest link has FeatureSDK. Without a link it reports whether the
// last link had FeatureSDK. If there never was a link, it returns false.
func (s *Links) KnowsSDK() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.knowsSDK
}

// Enrol is called for a session of an SDK before it enters the Handler's tables. If the newest link
// has FeatureSDK, Enrol returns nil and the session is enrolled. The edge then takes no link
// without FeatureSDK, until the session's end is finished or Forget is called. If there is no link
// with FeatureSDK, Enrol returns a channel and enrols nothing. The channel is closed when a link
// with FeatureSDK begins. Then Enrol may be called again.
//
// All sessions whose users are not known yet use one share of the log together. So they take no
// more of the log than one user may.
func (s *Links) Enrol(c link.Client) (again <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.newest == nil || !s.newest.sdk {
		if s.enrolled == nil {
			s.enrolled = make(chan struct{})
		}
		return s.enrolled
	}
	s.log.OwnClient(c.ID, maphash.String(ownerSeed, c.User))
	return nil
}

// OpenClient is Open for a session that Enrol has enrolled.
func (s *Links) OpenClient(c link.Client) (told bool) {
	s.mu.Lock()
	if told = s.newest != nil; told {
		s.newest.clients = append(s.newest.clients, c)
	}
	up := s.up
	s.mu.Unlock()
	wake(up)
	return told
}

// onlyWithSDK reports whether a relay may send frames of type t only with FeatureSDK.
func onlyWithSDK(t link.Type) bool { return t >= link.TypeConfirmed && t <= link.TypeAheadForms }

// handleSDK is the part of handleInTurn for frames of FeatureSDK. The caller holds Links.turn.
func (l *Link) handleSDK(t link.Type, body []byte) error {
	switch t {
	case link.TypeConfirmed:
		return handleOr(body, link.ParseConfirmed, l.handleConfirmed)
	case link.TypeRefreshed:
		return handleOr(body, link.ParseRefreshed, func(f link.Refreshed) error { return l.feed.Refreshed(f, l.answer(f.Number, false)) })
	case link.TypeBound:
		return handleOr(body, link.ParseBound, func(f link.Bound) error { return l.feed.Bound(f, l.answer(f.Number, false)) })
	case link.TypeUnbound:
		return handle(body, link.ParseUnbound, l.feed.Unbound)
	case link.TypeAnswered:
		return handle(body, link.ParseAnswered, l.handleAnswered)
	case link.TypeClose:
		return handle(body, link.ParseClose, l.handleClose)
	// See the comment on link.TypeAhead in handleInTurn.
	case link.TypeAheadForms:
		return handle(body, link.ParseAheadForms, l.feed.AheadForms)
	}
	return fmt.Errorf("frame %v from a relay", t)
}

func handleOr[F any](body []byte, parse func([]byte) (F, error), use func(F) error) error {
	f, err := parse(body)
	if err != nil {
		return err
	}
	return use(f)
}

// handleConfirmed makes the session use its user's share of the log. The only message of a guest in
// the log is its connect, which is answered and dropped here. So no message moves from one share to
// another.
func (l *Link) handleConfirmed(f link.Confirmed) error {
	first := l.answer(f.Number, false)
	l.links.mu.Lock()
	l.links.log.Move(f.Session, maphash.String(ownerSeed, f.User))
	l.links.mu.Unlock()
	return l.feed.Confirmed(f, first)
}

// handleClose notes in the log that the relay has closed a session. The next relay does not know of
// the close. Without this note, that relay would read what the client sent after the close.
func (l *Link) handleClose(f link.Close) {
	if f.Within == 0 { // otherwise the relay reads the session until the edge closes it
		l.links.mu.Lock()
		l.links.log.Close(f.Session)
		l.links.mu.Unlock()
	}
	l.feed.Close(f)
}

func (l *Link) handleAnswered(f link.Answered) { l.pass(link.Answer(f), true) }
