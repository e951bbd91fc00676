package redisbroker

import (
	"context"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/redis/go-redis/v9"
)

type askKind uint8

const (
	askHistory askKind = iota
	askCount
)

var askLabels = [...]string{askHistory: "history", askCount: "count"}

// ask is a request that changes nothing.
type ask struct {
	kind  askKind
	topic protocol.Topic
	after protocol.Position // askHistory
	token uint64
}

// A round trip asks at most this many questions, and a history page counts as many: pages are what takes memory.
const (
	asksAtOnce   = 256
	historyShare = 16
)

func (a *ask) weight() int {
	if a.kind == askHistory {
		return asksAtOnce / historyShare
	}
	return 1
}

// asker answers asks in order, on one connection.
type asker struct {
	queue   *queue[ask]
	line    *line
	keys    keys
	state   *state
	metrics *metrics
}

func newAsker(opt *redis.Options, k keys, s *state, m *metrics) *asker {
	return &asker{queue: newQueue((*ask).weight), line: newLine(opt), keys: k, state: s, metrics: m}
}

func (a *asker) run(ctx context.Context, sink func(broker.Event)) {
	defer a.line.closeWhen(ctx)()
	for {
		batch := a.queue.take(ctx, asksAtOnce, asksAtOnce)
		if batch == nil {
			return
		}
		if err := a.state.cannotRead(); err != nil {
			for i := range batch {
				sink(batch[i].failed(err))
			}
			continue
		}
		a.ask(ctx, batch, sink)
	}
}

// ask sends the questions in one pipeline and answers them.
func (a *asker) ask(ctx context.Context, batch []ask, sink func(broker.Event)) {
	a.metrics.pipelines.WithLabelValues("ask").Observe(float64(len(batch)))
	a.line.after(a.state.outages.Load())
	pipe := a.line.get().Pipeline()
	answers := make([]func() (broker.Event, error), len(batch))
	for i, q := range batch {
		a.metrics.commands.WithLabelValues(askLabels[q.kind]).Inc()
		answers[i] = a.question(ctx, pipe, q)
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	var last error
	for i, answer := range answers {
		event, err := answer()
		if err != nil {
			if last == nil || !redirected(err) {
				last = err
			}
			a.metrics.failures.WithLabelValues("ask", string(failureOf(err))).Inc()
			event = batch[i].failed(err)
		}
		sink(event)
	}
	if last != nil && ctx.Err() == nil {
		a.state.failed(last)
		if failureOf(last) == unreachable {
			a.line.renew()
		}
	}
}

// question queues the commands of q and returns what reads their replies.
func (a *asker) question(ctx context.Context, pipe redis.Pipeliner, q ask) func() (broker.Event, error) {
	switch q.kind {
	case askCount:
		channel := a.keys.channel(q.topic)
		cmd := pipe.PubSubNumSub(ctx, channel)
		return func() (broker.Event, error) {
			counts, err := cmd.Result()
			return broker.Counted{Token: q.token, Count: counts[channel]}, err
		}
	default:
		page, top := a.historyCmds(ctx, pipe, q)
		return func() (broker.Event, error) { return a.historyEvent(q, page, top) }
	}
}

// failed is the answer to q when there is none.
func (q *ask) failed(err error) broker.Event {
	switch q.kind {
	case askCount:
		return broker.Counted{Token: q.token, Err: err}
	default:
		return broker.History{Token: q.token, Topic: q.topic, Err: err}
	}
}
