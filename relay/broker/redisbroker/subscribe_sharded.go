package redisbroker

import (
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/redis/go-redis/v9"
)

// refused handles an error of the connection. With sharded channels, Redis may reply that the slot
// of a command is not at this server. Such a reply comes in place of all confirmations of the
// command. The method then calls askAgainLocked for each subscription of the command, and returns
// nil. It returns any other error.
func (s *subscriberConn) refused(err error) error {
	_, reply := err.(replyError)
	elsewhere := redirected(err) || redis.HasErrorPrefix(err, "CLUSTERDOWN ")
	if !reply || !elsewhere || !s.subscriber.pubsub.sharded {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.expected) == 0 {
		return err
	}
	for s.expected[0].generation != 0 { // a refused unsubscription is left to the ping behind it
		next := s.popLocked()
		s.askAgainLocked(next)
		if next.last {
			break
		}
	}
	return nil
}

// unsubscribed handles the confirmation of an unsubscription from a sharded channel. If it is not
// the next expected confirmation, Redis itself has ended the subscription, since the slot has left
// this server. In that case, if the subscription is still wanted, the method calls askAgainLocked.
// It also sends a Deaf for the topic, unless the channel is that of the relay's own probes.
func (s *subscriberConn) unsubscribed(channel []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.expected) > 0 && s.expected[0].generation == 0 && s.keys.isChannel(channel, s.expected[0].topic) {
		s.popLocked()
		return
	}
	ended := expectation{topic: s.keys.topic(string(channel)), generation: probesGeneration}
	if !isProbes(ended.topic) {
		ended.generation = s.subscriber.want(ended.topic).generation
		if ended.generation == 0 {
			return
		}
		delete(s.pendingTops, ended.topic)
		s.metrics.ended.Inc()
		s.tellLocked(broker.Deaf{Topic: ended.topic})
	}
	s.askAgainLocked(ended)
}

// allUnsubscribed handles the answer to the ping that follows unsubscriptions from sharded
// channels.
func (s *subscriberConn) allUnsubscribed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.expected) > 0 && s.expected[0].generation == 0 {
		if s.popLocked().topic == "" {
			return
		}
	}
}

// askAgainLocked adds the subscription e to those that the method askAgain asks for again. askAgain
// is called elsewherePause after the first of them was added. askAgainLocked also signals that the
// layout is to be read, since the slot is at another server.
func (s *subscriberConn) askAgainLocked(e expectation) {
	if len(s.elsewhere) == 0 {
		time.AfterFunc(elsewherePause, s.askAgain)
	}
	s.elsewhere = append(s.elsewhere, e)
	signal(s.subscriber.state.moved)
}

func (s *subscriberConn) askAgain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.elsewhere
	s.elsewhere = nil
	if s.over {
		return // the next connection asks for all
	}
	for _, e := range list {
		if isProbes(e.topic) {
			s.unheard = true
		} else {
			s.subscriber.again(e.topic, e.generation)
		}
	}
	s.subscriber.signal()
}
