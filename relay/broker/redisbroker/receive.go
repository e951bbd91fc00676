package redisbroker

import (
	"context"
	"errors"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/redis/go-redis/v9"
)

// receive reads until the connection fails.
func (s *session) receive(ctx context.Context) error {
	for {
		message, err := s.pubsub.Receive(ctx)
		if err != nil {
			return err
		}
		s.heard.Store(true)
		switch m := message.(type) {
		case *redis.Message:
			s.received(m)
		case *redis.Subscription:
			if err := s.confirm(m.Kind, s.keys.topic(m.Channel)); err != nil {
				return err
			}
		case *redis.Pong:
			switch m.Payload {
			case inForcePing:
				s.nowInForce()
			case flushPing:
				s.flushedNext()
			}
		}
	}
}

// received tells a publication. While the topic's top is being read it counts as one at or before it.
func (s *session) received(m *redis.Message) {
	s.metrics.received.Inc()
	envelope, err := protocol.ParseEnvelope([]byte(m.Payload))
	if err != nil {
		s.metrics.drop(err)
		return
	}
	topic := s.keys.topic(m.Channel)
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.awaiting[topic]; a != nil && a.top.Before(envelope.Position) {
		a.top = envelope.Position
	}
	s.tellLocked(broker.Received{Publication: publication(topic, envelope)})
}

// nowInForce notes that everything is subscribed again.
func (s *session) nowInForce() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inForce.Store(true)
	s.metrics.deaf.Add(time.Since(s.deaf).Seconds())
	s.subscriber.state.subscriber(nil)
}

// errBack ends a session that has not heard anything while Redis is known to answer again: its connection was begun before.
var errBack = errors.New("redis answers again, on other connections")

// errAnother ends a session with a server that is not the one that takes publications: what this one brings may be late, or lost.
var errAnother = errors.New("the probe finds another redis")

// watch ends a session that is with the wrong server, and tells when subscriptions that were lost are not in force again soon.
func (s *session) watch(ctx context.Context, cancel context.CancelCauseFunc) {
	late := time.NewTimer(time.Until(s.deaf.Add(regain)))
	defer late.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-late.C:
			s.mu.Lock()
			if !s.inForce.Load() && !s.over {
				s.subscriber.state.subscriber(errDeaf)
			}
			s.mu.Unlock()
		case <-s.subscriber.state.back:
			if !s.heard.Load() {
				cancel(errBack)
			}
		case who := <-s.subscriber.probed:
			if own := s.server.Load(); own != nil && own.run != "" && who.run != "" && own.run != who.run {
				cancel(errAnother)
			}
		}
	}
}
