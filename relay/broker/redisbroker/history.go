package redisbroker

import (
	"errors"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// page makes the answer to q of what was read.
func (a *asker) page(q ask, read reading) broker.History {
	answer := broker.History{Token: q.token, Topic: q.topic, More: read.more, Top: read.top}
	answer.Publications = make([]broker.Publication, 0, len(read.entries))
	for _, e := range read.entries {
		answer.Through = e.position
		if pub, ok := a.publicationIn(q.topic, e); ok {
			answer.Publications = append(answer.Publications, pub)
		}
	}
	return answer
}

// publicationIn reads one entry. One that is not ours is counted and left out: to the caller it is a hole.
func (a *asker) publicationIn(t protocol.Topic, e entry) (broker.Publication, bool) {
	envelope, err := protocol.ParseEnvelope([]byte(e.text))
	if err != nil || e.position.Offset == 0 {
		a.metrics.drop(err)
		return broker.Publication{}, false
	}
	envelope.Position = e.position
	return publication(t, envelope), true
}

func publication(t protocol.Topic, e protocol.Envelope) broker.Publication {
	return broker.Publication{Topic: t, Position: e.Position, Previous: e.Previous, From: e.From, Msg: e.Msg, Instance: e.Instance, Number: e.Number}
}

// drop counts a publication that ParseEnvelope refused.
func (m *metrics) drop(err error) {
	reason := "malformed"
	if bad, ok := errors.AsType[*protocol.EnvelopeError](err); ok {
		reason = bad.Reason
	}
	m.dropped.WithLabelValues(reason).Inc()
}
