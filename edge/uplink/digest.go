package uplink

import (
	"fmt"

	"github.com/edgerelay/edgerelay/shared/link"
)

// handleDigest compares the relay's tables of this edge with the Handler's. A difference ends the link: the next one is told everything anew.
func (s *sink) handleDigest(body []byte) error {
	theirs, err := link.ParseDigest(body)
	if err != nil {
		return err
	}
	ours, comparable := s.handler.Digest()
	if !comparable || !s.allTold(theirs.Heard) {
		s.metrics.digests.WithLabelValues("skipped").Inc()
		return nil
	}
	ours.Heard = theirs.Heard
	if ours == theirs {
		s.metrics.digests.WithLabelValues("equal").Inc()
		return nil
	}
	s.metrics.digests.WithLabelValues("different").Inc()
	return &link.CloseError{Code: link.CodeTables, Text: fmt.Sprintf(
		"tables differ: edge has %d sessions (%016x) and %d bindings (%016x), relay %d (%016x) and %d (%016x)",
		ours.Sessions, ours.SessionHash, ours.Bindings, ours.BindingHash,
		theirs.Sessions, theirs.SessionHash, theirs.Bindings, theirs.BindingHash)}
}

// allTold reports whether a relay that heard so many Session frames on this link knows all sessions, and none that has ended.
func (s *sink) allTold(heard uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.link.tables
	return len(t.chunks) == 0 && len(t.added) == 0 && t.told == heard && s.log.Ends() == 0
}
