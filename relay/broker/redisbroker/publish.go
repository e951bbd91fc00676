package redisbroker

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/redis/go-redis/v9"
)

// A pipeline takes what was queued while the one before it ran, up to these.
const (
	pipelineRequests = 500
	pipelineBytes    = 1 << 20
)

// publisher carries out Publish requests in order, on one connection, each at most once.
type publisher struct {
	queue      *queue[broker.Publish]
	line       *line
	keys       keys
	history    history
	identifier *identifier
	state      *state
	metrics    *metrics

	// Of the server that line is connected to. Owned by run.
	identity   identity
	identified bool

	changed atomic.Bool // somebody found that the server is another than it was
}

func newPublisher(opt *redis.Options, k keys, h history, i *identifier, s *state, m *metrics) *publisher {
	return &publisher{
		queue: newQueue(func(p *broker.Publish) int { return len(p.Msg) + 512 }),
		line:  newLineOf(func() *redis.Client { return publisherClient(opt) }),
		keys:  k, history: h, identifier: i, state: s, metrics: m,
	}
}

func (p *publisher) run(ctx context.Context, sink func(broker.Event)) {
	defer p.line.closeWhen(ctx)()
	for {
		batch := p.queue.take(ctx, pipelineRequests, pipelineBytes)
		if batch == nil {
			return
		}
		for _, answer := range p.publish(ctx, batch) {
			p.metrics.outcomes.WithLabelValues(outcomeLabels[answer.Outcome]).Inc()
			sink(answer)
		}
	}
}

var outcomeLabels = [...]string{broker.Failed: "failed", broker.Done: "done", broker.Duplicate: "duplicate", broker.Refused: "refused"}

// publish answers every request of batch. While Redis is known to be away the answers come at once, so that its return finds no backlog.
func (p *publisher) publish(ctx context.Context, batch []broker.Publish) []broker.Published {
	answers := make([]broker.Published, len(batch))
	if err := p.state.cannotPublish(); err != nil {
		for i := range batch {
			answers[i] = broker.Published{Token: batch[i].Token, Err: err}
		}
		return answers
	}
	if p.line.after(p.state.outages.Load()) {
		p.identified = false
	}
	p.metrics.commands.WithLabelValues("publish").Add(float64(len(batch)))
	p.metrics.pipelines.WithLabelValues("publish").Observe(float64(len(batch)))
	all := make([]int, len(batch))
	for i := range all {
		all[i] = i
	}
	timed, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	unknown, unsent := p.send(timed, batch, all, answers)
	if unsent {
		p.renew()
		unknown, _ = p.send(timed, batch, all, answers)
	}
	if len(unknown) > 0 {
		// The script was not there, so none of these ran. What was behind one of them on its topic was refused.
		if err := p.line.get().ScriptLoad(timed, publishScript).Err(); err == nil {
			p.send(timed, batch, unknown, answers)
		}
	}
	p.note(ctx, answers)
	return answers
}

// identify asks the server who it is, unless this connection's is known.
func (p *publisher) identify(ctx context.Context) (err error) {
	if p.changed.Swap(false) || !p.identified {
		p.identity, err = p.identifier.read(ctx, p.line.get())
		p.identified = err == nil
	}
	return err
}

// renew is for a connection that is lost.
func (p *publisher) renew() {
	p.line.renew()
	p.identified = false
}

// send runs the chosen requests in one pipeline and returns those that found no script, or that none was sent, since the connection had been
// lost before.
func (p *publisher) send(ctx context.Context, batch []broker.Publish, chosen []int, answers []broker.Published) (unknown []int, unsent bool) {
	if err := p.identify(ctx); err != nil {
		for _, i := range chosen {
			answers[i] = broker.Published{Token: batch[i].Token, Err: err}
		}
		return nil, errors.Is(err, errRedial)
	}
	pipe := p.line.get().Pipeline()
	cmds := make([]*redis.Cmd, len(chosen))
	for n, i := range chosen {
		cmds[n] = publishCmd(ctx, p.keys, p.history, p.identity.data, &batch[i])
		_ = pipe.Process(ctx, cmds[n]) // only queues
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	for n, i := range chosen {
		answers[i] = published(batch[i].Token, cmds[n])
		if redis.HasErrorPrefix(answers[i].Err, "NOSCRIPT") {
			unknown = append(unknown, i)
		}
	}
	return unknown, errors.Is(answers[chosen[0]].Err, errRedial)
}

// note counts failures and tells the state of the last one.
func (p *publisher) note(ctx context.Context, answers []broker.Published) {
	var last error
	for i := range answers {
		if err := answers[i].Err; err != nil {
			if last == nil || !redirected(err) {
				last = err
			}
			p.metrics.failures.WithLabelValues("publish", string(failureOf(err))).Inc()
		}
	}
	if last != nil && ctx.Err() == nil {
		p.state.failed(last)
		p.identified = false
		if failureOf(last) != single && !redirected(last) {
			p.renew()
		}
	}
}
