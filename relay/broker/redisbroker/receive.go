package redisbroker

import (
	"context"
	"errors"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// receive reads until the connection fails.
func (s *session) receive(ctx context.Context) error {
	select {
	case <-s.opened:
	case <-ctx.Done():
		return ctx.Err()
	}
	pushes, err := newPushes(s.conn)
	if err != nil {
		return err
	}
	for {
		p, err := pushes.next()
		if err != nil {
			return err
		}
		if err := s.take(p); err != nil {
			return err
		}
	}
}

func (s *session) take(p push) error {
	if !s.heard.Load() {
		s.heard.Store(true)
	}
	switch p.kind {
	case pushMessage:
		s.received(p)
	case pushSubscribe, pushUnsubscribe:
		return s.confirm(p.kind, s.keys.topic(string(p.channel)))
	case pushPong:
		switch string(p.payload) {
		case inForcePing:
			s.nowInForce()
		case flushPing:
			s.flushedNext()
		}
	}
	return nil
}

// received tells a publication. While the topic's top is being read it counts as one at or before it.
func (s *session) received(p push) {
	s.metrics.received.Inc()
	if p.tooLong {
		s.metrics.dropped.WithLabelValues("too_big").Inc()
		return
	}
	envelope, err := protocol.ParseEnvelope(p.payload)
	if err != nil {
		s.metrics.drop(err)
		return
	}
	topic := s.keys.topic(string(p.channel))
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
