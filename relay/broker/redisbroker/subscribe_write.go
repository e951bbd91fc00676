package redisbroker

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// These bounds apply to the commands that the writer sends. A command is for at most commandTopics
// topics. The names of these topics, without the prefix, have at most commandBytes together. A
// topic whose name alone is longer has a command of its own. Redis answers a command only after it
// has read the whole command. At the lowest supported speed (see the constant slowest),
// commandBytes take 0.5 s.
//
// The writer waits while the outstanding confirmations are for windowTopics topics or more, or
// while the names of these topics have windowBytes or more. So the confirmations that Redis has not
// sent yet stay far below its usual output limit for subscribers, which is 8 MiB.
const (
	commandTopics = 1000
	commandBytes  = 32 << 10
	windowTopics  = 16_000
	windowBytes   = 1 << 20
)

// inForcePing is the payload of a ping that follows the commands for all topics that were wanted
// when the connection began. The answer to the ping comes after the confirmations of those
// commands.
const inForcePing = "in force"

// flushPing is the payload of a flush's ping. The answer to the ping comes after all that the
// server published to the connection before it handled the ping.
const flushPing = "flush"

// write sends commands and pings until one cannot be sent, or ctx is done.
func (s *subscriberConn) write(ctx context.Context) error {
	quiet := time.NewTimer(quietBefore)
	defer quiet.Stop()
	for asked := false; ; {
		err := s.hearProbes()
		done := false
		if err == nil {
			done, err = s.follow()
		}
		if err == nil && done && !asked {
			asked = true
			err = s.ping(inForcePing)
		}
		if err == nil {
			err = s.flush()
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.subscriber.wake:
		case <-quiet.C:
			next, err := s.pingIfQuiet()
			if err != nil {
				return err
			}
			quiet.Reset(next)
		}
	}
}

// hearProbes subscribes to the channel of the relay's own probes. It does nothing if the connection
// has this subscription already. If the probes have moved to another topic, it also unsubscribes
// from the channel of the previous topic.
func (s *subscriberConn) hearProbes() error {
	now, old := s.subscriber.probing.topic(), s.probed
	if now == old && !s.takeUnheard() {
		return nil
	}
	s.probed = now
	own := func(t protocol.Topic, generation uint64) []expectation {
		return []expectation{{topic: ownProbes(t, s.subscriber.probing.relay), generation: generation}}
	}
	var off []expectation
	if old != "" && old != now {
		off = own(old, 0)
	}
	return s.command(own(now, probesGeneration), off)
}

func (s *subscriberConn) takeUnheard() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	unheard := s.unheard
	s.unheard = false
	return unheard
}

// pingIfQuiet sends a ping if nothing has come for quietBefore. The result next is the time until
// pingIfQuiet must be called again.
//
// While probes come every second, no ping is needed. Probes do not come while Redis does not permit
// publishing, while the prober's connection is lost, and when the prober is at another server.
func (s *subscriberConn) pingIfQuiet() (next time.Duration, err error) {
	if left := quietBefore - s.conn.quietFor(); left > 0 {
		return left, nil
	}
	return quietBefore, s.ping("")
}

// flush sends a ping for each flush that no connection has taken.
func (s *subscriberConn) flush() error {
	tokens := s.subscriber.takeFlushes()
	s.mu.Lock()
	s.flushing = append(s.flushing, tokens...)
	s.mu.Unlock()
	for range tokens {
		if err := s.ping(flushPing); err != nil {
			return err
		}
	}
	return nil
}

// follow sends changes until enough confirmations are outstanding. It reports whether it sent all
// changes.
func (s *subscriberConn) follow() (done bool, err error) {
	for !s.full() {
		batch := s.subscriber.changes(commandTopics, commandBytes)
		if len(batch) == 0 {
			return true, nil
		}
		if err := s.send(batch); err != nil {
			return false, err
		}
	}
	return false, nil
}

// full reports whether the writer is to wait for confirmations.
func (s *subscriberConn) full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fullLocked()
}

func (s *subscriberConn) fullLocked() bool {
	return len(s.expected) >= windowTopics || s.expectedLen >= windowBytes
}

// The method send turns the changes of batch into commands, and sends these commands.
func (s *subscriberConn) send(batch []change) error {
	on, off := make([]expectation, 0, len(batch)), []expectation(nil)
	for _, c := range batch {
		generation, active := s.active[c.topic]
		switch {
		case c.want.generation == generation: // was sent already, or is unwanted and was never sent
		case c.want.generation != 0:
			s.active[c.topic] = c.want.generation
			on = append(on, expectation{topic: c.topic, generation: c.want.generation})
		case active:
			delete(s.active, c.topic)
			off = append(off, expectation{topic: c.topic})
		}
	}
	return s.command(on, off)
}

// unsubscribedPing is the payload of the ping that follows unsubscriptions from sharded channels.
const unsubscribedPing = "unsubscribed"

// command sends a command that subscribes to the topics in on, and a command that unsubscribes from
// the topics in off. Either list may be empty. With sharded channels there is such a command for
// each slot, and a ping follows the unsubscriptions.
func (s *subscriberConn) command(on, off []expectation) error {
	b := s.appendCommands(s.memory[:0], s.subscriber.pubsub.subscribe, on)
	b = s.appendCommands(b, s.subscriber.pubsub.unsubscribe, off)
	if s.subscriber.pubsub.sharded && len(off) > 0 {
		off = append(off, expectation{last: true})
		b = appendPing(b, unsubscribedPing)
	}
	s.memory = b
	s.expect(on, off)
	return s.put(b)
}

// appendCommands appends a command for the channels of topics. If channels are sharded, it appends
// a command for each slot, and sorts the argument topics into the order of these commands.
func (s *subscriberConn) appendCommands(b []byte, name string, topics []expectation) []byte {
	if s.subscriber.pubsub.sharded {
		for i := range topics {
			topics[i].slot = s.keys.slot(topics[i].topic)
		}
		slices.SortStableFunc(topics, func(a, b expectation) int { return a.slot - b.slot })
	}
	for begin, i := 0, 1; i <= len(topics); i++ {
		if i == len(topics) || topics[i].slot != topics[begin].slot {
			topics[i-1].last = true
			b = s.appendCommand(b, name, topics[begin:i])
			begin = i
		}
	}
	return b
}

// expect notes the confirmations of commands that are about to be written.
func (s *subscriberConn) expect(batches ...[]expectation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, batch := range batches {
		s.expected = append(s.expected, batch...)
		for _, e := range batch {
			s.expectedLen += len(e.topic)
		}
	}
}

// appendCommand appends a command for the channels of topics.
func (s *subscriberConn) appendCommand(b []byte, name string, topics []expectation) []byte {
	b = appendBulk(appendArray(b, 1+len(topics)), name)
	for _, e := range topics {
		b = appendLen(b, '$', len(s.keys)+len(e.topic))
		b = append(s.keys.appendChannel(b, e.topic), "\r\n"...)
	}
	return b
}

// ping sends a ping with this payload, or without one if the payload is "".
func (s *subscriberConn) ping(payload string) error { return s.put(appendPing(nil, payload)) }

func appendPing(b []byte, payload string) []byte {
	if payload == "" {
		return appendBulk(appendArray(b, 1), "ping")
	}
	return appendBulk(appendBulk(appendArray(b, 2), "ping"), payload)
}

// put writes b, if it is not empty.
func (s *subscriberConn) put(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if err := s.conn.SetWriteDeadline(time.Now().Add(commandTimeout)); err != nil {
		return err
	}
	_, err := s.conn.Write(b)
	return err
}

// appendArray appends the head of a command with n arguments, its name among them.
func appendArray(b []byte, n int) []byte { return appendLen(b, '*', n) }

// appendBulk appends one argument of a command.
func appendBulk(b []byte, argument string) []byte {
	return append(append(appendLen(b, '$', len(argument)), argument...), "\r\n"...)
}

func appendLen(b []byte, lead byte, n int) []byte {
	return append(strconv.AppendInt(append(b, lead), int64(n), 10), "\r\n"...)
}
