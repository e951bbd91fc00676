package uplink

import (
	"fmt"
	"slices"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
)

// sink gives the frames of one link to the Handler. Its methods are called by the link's reader. Two of them may be at work while the edge moves to another
// relay: then the older one passes on nothing but publications, since all else could contradict what the new relay has been told.
type sink struct {
	*Uplink
	link  *running
	ended []uint64 // sessions whose end the Ack under way acknowledges; guarded by mu
}

// HandleFrame gives a frame to the Handler.
func (s *sink) HandleFrame(t link.Type, body []byte) error {
	feed := s.link.feed
	switch t {
	case link.TypeTopic:
		return handle(body, link.ParseTopicNumber, feed.Topic)
	case link.TypeUntopic:
		return handle(body, link.ParseUntopic, feed.Untopic)
	case link.TypePublication:
		return handle(body, link.ParsePublication, feed.Publication)
	case link.TypeGap:
		return handle(body, link.ParseGap, feed.Gap)
	}
	s.turn.Lock()
	defer s.turn.Unlock()
	if !s.inUse() {
		return nil
	}
	return s.handleInTurn(t, body)
}

// inUse reports whether no later link has been told the tables.
func (s *sink) inUse() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Uplink.tables == s.link.tables
}

// handleInTurn takes the frames that change memberships or finish numbers. turn is held.
func (s *sink) handleInTurn(t link.Type, body []byte) error {
	feed := s.link.feed
	switch t {
	case link.TypeOpened:
		return handle(body, link.ParseOpened, feed.Opened)
	case link.TypeJoined:
		return handle(body, link.ParseJoined, func(f link.Joined) { feed.Joined(f, s.answer(f.Number)) })
	case link.TypeLeft:
		return handle(body, link.ParseLeft, func(f link.Left) { feed.Left(f, s.answer(f.Number)) })
	case link.TypeAnswer:
		return handle(body, link.ParseAnswer, s.handleAnswer)
	case link.TypeAck:
		return s.handleAck(body)
	case link.TypeDigest:
		return s.handleDigest(body)
	case link.TypeStatus:
		return handle(body, link.ParseStatus, s.handleStatus)
	case link.TypeDrain:
		return handle(body, link.ParseDrain, s.handleDrain)
	case link.TypeLive:
		return handle(body, link.ParseLive, s.handleLive)
	}
	return fmt.Errorf("frame %v from a relay", t)
}

// EndBatch does nothing: each frame is handled at once.
func (s *sink) EndBatch() error { return nil }

func handle[F any](body []byte, parse func([]byte) (F, error), use func(F)) error {
	f, err := parse(body)
	if err == nil {
		use(f)
	}
	return err
}

// answer reports whether the answer to number should be passed on.
func (s *sink) answer(number uint64) bool {
	s.mu.Lock()
	first := s.log.Answer(number, s.dropped)
	s.admission.grant()
	s.notify()
	s.mu.Unlock()
	if !first {
		s.metrics.repeated.Inc()
	}
	return first
}

func (s *sink) handleAnswer(f link.Answer) {
	if s.answer(f.Number) {
		s.handler.Answer(f)
	}
}

func (s *sink) handleAck(body []byte) error {
	f, err := link.ParseAck(body)
	if err != nil {
		return err
	}
	s.mu.Lock()
	err = s.log.Ack(f.Through, f.Finished, s.dropped)
	s.admission.grant()
	s.notify()
	ended := s.ended
	s.ended = nil
	s.mu.Unlock()
	for _, session := range ended {
		s.handler.Forget(session)
	}
	return err
}

// dropped takes an entry that the Log let go. mu is held.
func (s *sink) dropped(session uint64, end bool) {
	if end {
		s.ended = append(s.ended, session)
		return
	}
	s.admission.freed(session)
}

func (s *sink) handleStatus(f link.Status) {
	s.mu.Lock()
	same := slices.Equal(s.degraded, f.Degraded)
	s.degraded = f.Degraded
	s.mu.Unlock()
	if same {
		return
	}
	s.logger.Info("relay status", "degraded", f.Degraded)
}

// handleDrain passes on that the relay stops; a second time it is no news.
func (s *sink) handleDrain(f link.Drain) {
	select {
	case s.link.drain <- min(time.Duration(f.Window), maxWindow) * time.Millisecond:
	default:
	}
}

// maxWindow is the longest window of a Drain that is followed, in milliseconds.
const maxWindow = 60_000

func (s *sink) handleLive(link.Live) {
	select {
	case <-s.link.live:
	default:
		close(s.link.live)
	}
}
