package uplink

import (
	"fmt"

	"github.com/edgerelay/edgerelay/shared/link"
)

// handleDigest compares the relay's tables of this edge with the Handler's. A difference ends the link: the next one is told everything anew.
func (l *Link) handleDigest(body []byte) error {
	theirs, err := link.ParseDigest(body)
	if err != nil {
		return err
	}
	ours, comparable := l.links.handler.Digest()
	if !comparable || !l.allTold(theirs.Heard) {
		l.links.metrics.digests.WithLabelValues("skipped").Inc()
		return nil
	}
	ours.Heard = theirs.Heard
	if ours == theirs {
		l.links.metrics.digests.WithLabelValues("equal").Inc()
		return nil
	}
	l.links.metrics.digests.WithLabelValues("different").Inc()
	return &link.CloseError{Code: link.CodeTables, Text: fmt.Sprintf(
		"tables differ: edge has %d sessions (%016x) and %d bindings (%016x), relay %d (%016x) and %d (%016x)",
		ours.Sessions, ours.SessionHash, ours.Bindings, ours.BindingHash,
		theirs.Sessions, theirs.SessionHash, theirs.Bindings, theirs.BindingHash)}
}

// allTold reports whether a relay that heard so many Session frames on this link knows all sessions, and none that has ended.
func (l *Link) allTold(heard uint64) bool {
	l.links.mu.Lock()
	defer l.links.mu.Unlock()
	return len(l.chunks) == 0 && len(l.added) == 0 && l.told == heard && l.links.log.Ends() == 0
}
