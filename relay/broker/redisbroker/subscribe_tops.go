package redisbroker

import (
	"cmp"
	"context"
	"slices"
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
//
// For a topic whose epoch is to be begun, begin.lua reads the top. If the script is refused, or if
// another server than the expected one ran it, the top is read again at once, without the script.
func (s *subscriberConn) readBatch(ctx context.Context, topics []protocol.Topic) (failed, bad []protocol.Topic, again time.Duration) {
	generations := s.generations(topics)
	s.metrics.pipelines.WithLabelValues("tops").Observe(float64(len(topics)))
	if s.tops.after(s.subscriber.state.outages.Load()) {
		s.identified = false
	}
	begins, err := s.mayBegin(ctx, topics)
	if err != nil {
		s.metrics.failures.WithLabelValues("tops", string(failureOf(err))).Inc()
		return topics, nil, pauseMax
	}
	now, cmds, scripts := redis.NewTimeCmd(ctx, "time"), make([]redis.Cmder, len(topics), len(topics)+1), 0
	for i, t := range topics {
		if begins[i] {
			cmds[i] = beginCmd(ctx, s.keys, s.subscriber.retention, t, s.identity.data, s.subscriber.epochs.Latest())
			scripts++
		} else {
			cmds[i] = redis.NewStringCmd(ctx, "getrange", s.keys.record(t), 0, frontLength-1)
		}
	}
	s.metrics.commands.WithLabelValues("begin").Add(float64(scripts))
	s.metrics.commands.WithLabelValues("top").Add(float64(len(topics) - scripts))
	asked := newWhoCmds(ctx) // its commands are behind the reads, as in asker.ask
	exec(ctx, s.tops.get(), append(cmds, now), asked.cmds())
	who := s.subscriber.identifier.seenIn(asked)
	if who != s.identity {
		s.identified = false
	}
	again = pauseMax
	for i, t := range topics {
		read, err := s.topIn(t, cmds[i], now, who)
		if err != nil {
			s.metrics.failures.WithLabelValues("tops", string(failureOf(err))).Inc()
		}
		switch {
		case begins[i] && (err == nil && who != s.identity || err != nil && failureOf(err) != unreachable && !redirected(err)):
			s.subscriber.begun(t)
			s.readAgain([]protocol.Topic{t})
			s.subscriber.state.suspect()
		case err == nil:
			s.subscribed(t, generations[i], read)
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
	}
	return failed, bad, again
}

// mayBegin says for which topics begin.lua is to be used. If it is to be used for some of them, and
// the server's identity is not known yet, mayBegin asks for it. No epoch is begun while Redis is
// known to refuse publications.
func (s *subscriberConn) mayBegin(ctx context.Context, topics []protocol.Topic) (begins []bool, err error) {
	begins = s.subscriber.toBegin(topics)
	switch {
	case !slices.Contains(begins, true):
	case s.subscriber.state.cannotPublish() != nil:
		clear(begins)
	case !s.identified:
		s.identity, err = s.subscriber.identifier.read(ctx, s.tops.get())
		s.identified = err == nil
	}
	return begins, err
}

// topIn returns what the reply to a command of readBatch says about t. The argument now has the
// server's time, and the argument who is the server's identity.
func (s *subscriberConn) topIn(t protocol.Topic, cmd redis.Cmder, now *redis.TimeCmd, who identity) (standing, error) {
	if cmd, ok := cmd.(*redis.Cmd); ok {
		top, givers, err := begunIn(cmd)
		read := standing{top: top, genuine: givenBy(givers, who)}
		if top.Offset == 0 {
			read.top, read.begun = protocol.Position{}, top.Epoch
		}
		return read, err
	}
	if err := cmp.Or(cmd.Err(), now.Err()); err != nil {
		return standing{}, err
	}
	kept := s.subscriber.retention.of(t).positionMS()
	return standingIn(cmd.(*redis.StringCmd).Val(), now.Val().UnixMilli(), kept, who), nil
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
	s.subscriber.begun(t)
	if read.top.Before(a.top) {
		// The record that was read does not say which server gave a position of another epoch.
		read.genuine = read.genuine && a.top.Epoch == max(read.top.Epoch, read.begun)
		read.top, read.begun = a.top, 0
	}
	s.tellLocked(broker.Subscribed{Topic: t, Token: want.token, Top: read.top, Genuine: read.genuine, Begun: read.begun})
}
