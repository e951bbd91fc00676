package redisbroker

import (
	"context"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/redis/go-redis/v9"
)

// topsAtOnce is the number of tops read in one round trip. Replies are some 30 bytes long, whatever the topics' messages are.
const topsAtOnce = 1000

// elsewherePause is for tops of keys that are moving to another node of a cluster.
const elsewherePause = 200 * time.Millisecond

// readTops reads the top of each topic confirmed, however often it takes, and tells that the subscription is in force. A topic whose own key
// is at fault is asked for again beside the others, which do not wait for it.
func (s *session) readTops(ctx context.Context) {
	pause := pauseMin
	for {
		batch := s.takeAsking()
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
			time.AfterFunc(again, func() { s.askBad(bad, generations) })
		}
		if len(failed) == 0 {
			pause = pauseMin
			continue
		}
		s.askAgain(failed)
		s.tops.renew()
		if wait(ctx, pause); ctx.Err() != nil {
			return
		}
		pause = min(2*pause, pauseMax)
	}
}

// takeAsking takes the next topics whose top is to be read.
func (s *session) takeAsking() []protocol.Topic {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(topsAtOnce, len(s.asking))
	batch := s.asking[:n:n]
	if s.asking = s.asking[n:]; len(s.asking) == 0 {
		s.asking = nil
	}
	return batch
}

// askAgain puts topics behind the others.
func (s *session) askAgain(topics []protocol.Topic) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asking = append(s.asking, topics...)
}

// askBad is askAgain for those topics that are still awaited as they were.
func (s *session) askBad(topics []protocol.Topic, generations []uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, t := range topics {
		if a := s.awaiting[t]; a != nil && a.generation == generations[i] {
			s.asking = append(s.asking, t)
		}
	}
	signal(s.confirmed)
}

// readBatch reads the tops of topics and returns those for which it failed, and those for which it failed by their own fault, with the time
// after which they may be asked for again.
func (s *session) readBatch(ctx context.Context, topics []protocol.Topic) (failed, bad []protocol.Topic, again time.Duration) {
	generations := s.generations(topics)
	s.metrics.commands.WithLabelValues("top").Add(float64(len(topics)))
	s.metrics.pipelines.WithLabelValues("tops").Observe(float64(len(topics)))
	s.tops.after(s.subscriber.state.outages.Load())
	cmds, send := make([]*redis.Cmd, len(topics)), make([]redis.Cmder, len(topics))
	for i, t := range topics {
		cmds[i] = topCmd(ctx, s.keys, t)
		send[i] = cmds[i]
	}
	exec(ctx, s.tops.get(), send)
	again = pauseMax
	for i, t := range topics {
		read, err := readingOf(cmds[i])
		if err != nil {
			s.metrics.failures.WithLabelValues("tops", string(failureOf(err))).Inc()
			switch {
			case redirected(err):
				s.subscriber.state.failed(err)
				bad, again = append(bad, t), elsewherePause
			case failureOf(err) == single:
				bad = append(bad, t)
			default:
				failed = append(failed, t)
			}
			continue
		}
		s.subscribed(t, generations[i], read.top)
	}
	return failed, bad, again
}

// generations returns the generation that each topic's confirmation, which came before, belongs to.
func (s *session) generations(topics []protocol.Topic) []uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]uint64, len(topics))
	for i, t := range topics {
		if a := s.awaiting[t]; a != nil {
			list[i] = a.generation
		}
	}
	return list
}

// subscribed tells that a subscription is in force, unless it is not the last one asked for.
func (s *session) subscribed(t protocol.Topic, generation uint64, top protocol.Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, want := s.awaiting[t], s.subscriber.want(t)
	if a == nil || a.generation != generation {
		return
	}
	delete(s.awaiting, t)
	if want.generation != generation {
		return
	}
	if top.Before(a.top) {
		top = a.top
	}
	s.tellLocked(broker.Subscribed{Topic: t, Token: want.token, Top: top})
}
