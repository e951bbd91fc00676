package redisbroker

import (
	"context"
	"errors"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// receive handles what Redis sends. It returns when the connection fails or is closed, when Redis
// sends an unexpected reply, or when Redis replies with an error that subscriberConn.refused cannot
// handle.
func (s *subscriberConn) receive() error {
	pushes, err := newPushes(s.conn)
	if err != nil {
		return err
	}
	for {
		p, err := pushes.next()
		if err != nil {
			if err = s.refused(err); err != nil {
				return err
			}
			continue
		}
		if err := s.take(p); err != nil {
			return err
		}
	}
}

func (s *subscriberConn) take(p push) error {
	if !s.heard.Load() {
		s.heard.Store(true)
	}
	switch p.kind {
	case pushMessage:
		s.received(p)
	case pushSubscribe:
		return s.confirm(p.kind, p.channel)
	case pushUnsubscribe:
		if !s.subscriber.pubsub.sharded {
			return s.confirm(p.kind, p.channel)
		}
		s.unsubscribed(p.channel)
	case pushPong:
		switch string(p.payload) {
		case inForcePing:
			s.nowInForce()
		case flushPing:
			s.flushedNext()
		case unsubscribedPing:
			s.allUnsubscribed()
		}
	}
	return nil
}

// The method named received sends a Received event for a publication. It drops a publication that
// is too long, has no valid envelope, or is of another realm. While the top of a topic is being
// read, it also notes the highest position of the topic that has come since the subscription was
// confirmed. The Top of the Subscribed event that follows is at least the noted position.
func (s *subscriberConn) received(p push) {
	if s.keys.isProbe(p.channel) {
		return // the push has already shown that the connection is alive
	}
	s.metrics.received.Inc()
	if p.tooLong {
		s.metrics.dropped.WithLabelValues("too_big").Inc()
		return
	}
	envelope, err := protocol.ParseEnvelope(p.payload, s.subscriber.realm)
	if err != nil {
		s.metrics.drop(err)
		return
	}
	if envelope.Number != 0 && envelope.Realm != s.subscriber.realm {
		s.subscriber.foreigners.envelope(envelope.Realm)
		return
	}
	s.subscriber.epochs.Saw(envelope.Position)
	topic := s.keys.topic(string(p.channel))
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.pendingTops[topic]; a != nil && a.top.Before(envelope.Position) {
		a.top = envelope.Position
	}
	s.tellLocked(broker.Received{Publication: publication(topic, envelope)})
}

// nowInForce notes that the subscriptions are in force. It is called when the connection has
// subscribed to all topics that were wanted at its beginning.
func (s *subscriberConn) nowInForce() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inForce.Store(true)
	s.metrics.deaf.Add(time.Since(s.deaf).Seconds())
	s.subscriber.state.noteSubscriber(nil)
}

// errBack ends a connection that began before Redis answered again, and on which nothing has come.
var errBack = errors.New("redis answers again, on other connections")

// errAnother ends a connection to a server that was replaced. Publications may come through the old
// server too late, or not at all.
var errAnother = errors.New("the probe finds another redis")

// watch ends the connection when errBack or errAnother applies. It also waits until the
// subscriptions have been lost for the time in the constant regain. If they are not in force by
// then, watch notes that in the state.
func (s *subscriberConn) watch(ctx context.Context, cancel context.CancelCauseFunc) {
	late := time.NewTimer(time.Until(s.deaf.Add(regain)))
	defer late.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-late.C:
			s.mu.Lock()
			if !s.inForce.Load() && !s.over {
				s.subscriber.state.noteSubscriber(errDeaf)
			}
			s.mu.Unlock()
		case <-s.subscriber.state.back:
			if !s.heard.Load() && s.returns != s.subscriber.state.returns.Load() {
				cancel(errBack)
			}
		case who := <-s.subscriber.probed:
			if own := s.server.Load(); own != nil && s.subscriber.identifier.wasReplaced(*own, who) {
				cancel(errAnother)
			}
		}
	}
}
