package redisbroker

import (
	"cmp"
	"context"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/shared/timing"
	"github.com/redis/go-redis/v9"
)

// topsAtOnce is the largest number of tops that are read in one round trip. A reply has at most
// frontLength bytes, whatever the length of the topic's messages.
const topsAtOnce = 1000

// elsewherePause is the pause after Redis has said that a key or a channel is, or may be, on
// another node. After the pause the top is read again, or the topic is subscribed again.
const elsewherePause = 200 * time.Millisecond

// readTops reads the tops of confirmed topics, and sends Subscribed for these topics. It runs until
// ctx is done. It retries a topic whose top could not be read. If a failure concerns one topic
// alone, other topics do not wait for that topic.
func (s *subscriberConn) readTops(ctx context.Context) {
	pause := pauseMin
	await(ctx, s.subscriber.state.settled)
	for {
		batch := s.takeUnread()
		if len(batch) == 0 {
			select {
			case <-ctx.Done():
				return
			case <-s.confirmed:
			}
			continue
		}
		failed, bad, again := s.readBatch(ctx, batch)
		if len(bad) > 0 {
			generations := s.generations(bad)
			time.AfterFunc(again, func() { s.readBadAgain(bad, generations) })
		}
		if len(failed) == 0 {
			pause = pauseMin
			continue
		}
		s.readAgain(failed)
		s.tops.renew()
		if !timing.Sleep(ctx, pause, nil) {
			return
		}
		pause = min(2*pause, pauseMax)
	}
}

// takeUnread takes up to topsAtOnce topics from the front of the field unread.
func (s *subscriberConn) takeUnread() []protocol.Topic {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(topsAtOnce, len(s.unread))
	batch := s.unread[:n:n]
	if s.unread = s.unread[n:]; len(s.unread) == 0 {
		s.unread = nil
	}
	return batch
}

// readAgain appends topics to the field unread.
func (s *subscriberConn) readAgain(topics []protocol.Topic) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unread = append(s.unread, topics...)
}

// readBadAgain appends topics to the field unread, and wakes the top reader. It leaves out a topic
// if its top is not awaited any more, or is awaited for another generation than the one in the
// argument generations.
func (s *subscriberConn) readBadAgain(topics []protocol.Topic, generations []uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, t := range topics {
		if a := s.pendingTops[t]; a != nil && a.generation == generations[i] {
			s.unread = append(s.unread, t)
		}
	}
	signal(s.confirmed)
}

// readBatch reads the tops of topics, and calls the method subscribed for each top that it could
// read. It returns two lists of topics whose tops could not be read. For the topics of the first
// list, Redis failed. For a topic of the second list, the failure says nothing about other topics:
// the key is elsewhere, is not permitted, or has a fault of its own. The last result is the pause
// before the tops of the second list are read again.
func (s *subscriberConn) readBatch(ctx context.Context, topics []protocol.Topic) (failed, bad []protocol.Topic, again time.Duration) {
	generations := s.generations(topics)
	s.metrics.commands.WithLabelValues("top").Add(float64(len(topics)))
	s.metrics.pipelines.WithLabelValues("tops").Observe(float64(len(topics)))
	s.tops.after(s.subscriber.state.outages.Load())
	now, cmds := redis.NewTimeCmd(ctx, "time"), make([]*redis.StringCmd, len(topics))
	send := []redis.Cmder{now}
	for i, t := range topics {
		cmds[i] = redis.NewStringCmd(ctx, "getrange", s.keys.record(t), 0, frontLength-1)
		send = append(send, cmds[i])
	}
	asked := newWhoCmds(ctx) // its commands are behind the reads, as in asker.ask
	pipeline(ctx, s.tops.get(), append(send, asked.cmds()...))
	who := s.subscriber.identifier.seenIn(asked)
	again = pauseMax
	for i, t := range topics {
		err := cmp.Or(cmds[i].Err(), now.Err())
		if err != nil {
			s.metrics.failures.WithLabelValues("tops", string(failureOf(err))).Inc()
			switch {
			case redirected(err):
				s.subscriber.state.failed(err)
				bad, again = append(bad, t), elsewherePause
			case failureOf(err) == single:
				bad = append(bad, t)
			case failureOf(err) == forbidden:
				s.subscriber.state.failed(err)
				bad = append(bad, t)
			default:
				failed = append(failed, t)
			}
			continue
		}
		kept := s.subscriber.retention.of(t).positionMS()
		s.subscribed(t, generations[i], standingIn(cmds[i].Val(), now.Val().UnixMilli(), kept, who))
	}
	return failed, bad, again
}

// The method generations returns each topic's confirmed generation, or 0 if its top is not awaited.
func (s *subscriberConn) generations(topics []protocol.Topic) []uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]uint64, len(topics))
	for i, t := range topics {
		if a := s.pendingTops[t]; a != nil {
			list[i] = a.generation
		}
	}
	return list
}

// subscribed sends a Subscribed event for t. It does so only if the top of this generation is still
// awaited, and if this generation is still the wanted one.
func (s *subscriberConn) subscribed(t protocol.Topic, generation uint64, read standing) {
	s.subscriber.epochs.Saw(protocol.Position{Epoch: max(read.top.Epoch, read.begun)})
	s.mu.Lock()
	defer s.mu.Unlock()
	a, want := s.pendingTops[t], s.subscriber.want(t)
	if a == nil || a.generation != generation {
		return
	}
	delete(s.pendingTops, t)
	if want.generation != generation {
		return
	}
	if read.top.Before(a.top) {
		// The record that was read does not say which server gave a position of another epoch.
		read.genuine = read.genuine && a.top.Epoch == max(read.top.Epoch, read.begun)
		read.top, read.begun = a.top, 0
	}
	s.tellLocked(broker.Subscribed{Topic: t, Token: want.token, Top: read.top, Genuine: read.genuine, Begun: read.begun})
}
