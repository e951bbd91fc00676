package redisbroker

import (
	"context"
	"errors"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/redis/go-redis/v9"
)

// historyCmds queues what reads a page, with one entry more to see whether there are others, and the top.
func (a *asker) historyCmds(ctx context.Context, pipe redis.Pipeliner, q ask) (page *redis.XMessageSliceCmd, top topCmds) {
	key, from := a.keys.history(q.topic), "-"
	if !q.after.IsZero() {
		from = "(" + q.after.String()
	}
	page = pipe.XRangeN(ctx, key, from, "+", broker.PageSize+1)
	return page, readTop(ctx, pipe, a.keys, q.topic)
}

// historyEvent reads the replies. What was published between the two commands is told by More.
func (a *asker) historyEvent(q ask, page *redis.XMessageSliceCmd, top topCmds) (broker.Event, error) {
	entries, err := page.Result()
	if err != nil {
		return nil, err
	}
	answer := broker.History{Token: q.token, Topic: q.topic}
	end, err := top.inHistory()
	if err != nil {
		return nil, err
	}
	if answer.Top, err = top.position(); err != nil {
		return nil, err
	}
	if len(entries) > broker.PageSize {
		entries, answer.More = entries[:broker.PageSize], true
	}
	answer.Publications = make([]broker.Publication, 0, len(entries))
	for _, entry := range entries {
		if answer.Through, err = protocol.ParsePosition(entry.ID); err != nil {
			return nil, err
		}
		if pub, ok := a.entry(q.topic, answer.Through, entry); ok {
			answer.Publications = append(answer.Publications, pub)
		}
	}
	last := q.after
	if len(entries) > 0 {
		last = answer.Through
	}
	answer.More = answer.More || last.Before(end)
	return answer, nil
}

// entry reads one entry of a stream. One that is not ours is counted and left out: to the caller it is a hole.
func (a *asker) entry(t protocol.Topic, position protocol.Position, entry redis.XMessage) (broker.Publication, bool) {
	json, _ := entry.Values["m"].(string)
	envelope, err := protocol.ParseEnvelope([]byte(json))
	if err != nil || position.Offset == 0 {
		a.metrics.drop(err)
		return broker.Publication{}, false
	}
	envelope.Position = position
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
