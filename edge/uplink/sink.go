package uplink

import (
	"fmt"
	"slices"

	"github.com/edgerelay/edgerelay/shared/link"
)

// sink gives the frames of one link to the Handler. Its methods are called by the link's reader, which has ended when the next link is told: so no
// frame of an earlier link is ever handled.
type sink struct {
	*Uplink
	tables *tables
	ended  []uint64 // sessions whose end the Ack under way acknowledges; guarded by mu
}

// HandleFrame gives a frame to the Handler.
func (s *sink) HandleFrame(t link.Type, body []byte) error {
	switch t {
	case link.TypeTopic:
		return handle(body, link.ParseTopicNumber, s.handler.Topic)
	case link.TypeUntopic:
		return handle(body, link.ParseUntopic, s.handler.Untopic)
	case link.TypeOpened:
		return handle(body, link.ParseOpened, s.handler.Opened)
	case link.TypeJoined:
		return handle(body, link.ParseJoined, func(f link.Joined) { s.handler.Joined(f, s.answer(f.Number)) })
	case link.TypeLeft:
		return handle(body, link.ParseLeft, func(f link.Left) { s.handler.Left(f, s.answer(f.Number)) })
	case link.TypeAnswer:
		return handle(body, link.ParseAnswer, s.handleAnswer)
	case link.TypePublication:
		return handle(body, link.ParsePublication, s.handler.Publication)
	case link.TypeGap:
		return handle(body, link.ParseGap, s.handler.Gap)
	case link.TypeAck:
		return s.handleAck(body)
	case link.TypeDigest:
		return s.handleDigest(body)
	case link.TypeStatus:
		return handle(body, link.ParseStatus, s.handleStatus)
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
