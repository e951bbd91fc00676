package redisbroker

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/redis/go-redis/v9"
)

// A pipeline takes what was queued while the one before it ran, up to so many requests and bytes, the bytes at the pace of the way, or one message.
const (
	pipelineRequests   = 500
	pipelineBytes      = 1 << 20
	pipelineBytesLeast = 64 << 10
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

	requests []*request    // one for each of a pipeline's, as many as there were at once; owned by run
	sending  []redis.Cmder // the same
	answers  []broker.Published
	all      []int // 0, 1, 2 …

	pace  pace         // of bytes; owned by run
	grace atomic.Int64 // of time.Duration: how much later than small ones replies may come; read by the connection

	changed atomic.Bool // somebody found that the server is another than it was
}

func newPublisher(opt *redis.Options, k keys, h history, i *identifier, s *state, m *metrics) *publisher {
	p := &publisher{
		queue: newQueue(weightOf), keys: k, history: h, identifier: i, state: s, metrics: m, pace: newPace(pipelineBytesLeast, pipelineBytes),
	}
	p.line = newLineOf(func() *redis.Client { return publisherClient(opt, p.graceSince(s.outages.Load())) })
	return p
}

// graceSince returns how much later replies may come on a connection of that time: no later once the probe has missed Redis.
func (p *publisher) graceSince(outages uint64) func() time.Duration {
	return func() time.Duration {
		if p.state.outages.Load() != outages {
			return 0
		}
		return time.Duration(p.grace.Load())
	}
}

// weightOf is about what p takes on the wire.
func weightOf(p *broker.Publish) int { return len(p.Msg) + 512 }

func (p *publisher) run(ctx context.Context, sink func(broker.Event)) {
	defer p.line.closeWhen(ctx)()
	for {
		batch := p.queue.take(ctx, pipelineRequests, p.pace.now)
		if batch == nil {
			return
		}
		for _, answer := range p.publish(ctx, batch) {
			p.metrics.published[answer.Outcome].Inc()
			sink(answer)
		}
	}
}

// publish answers every request of batch; the answers are valid until the next call. While Redis is known to be away the answers come at once, so that its return finds no backlog.
func (p *publisher) publish(ctx context.Context, batch []broker.Publish) []broker.Published {
	answers, all := p.scratch(len(batch))
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
	began := time.Now()
	unknown, unsent := p.send(ctx, batch, all, answers)
	if unsent {
		p.renew()
		unknown, _ = p.send(ctx, batch, all, answers)
	}
	if len(unknown) > 0 {
		// The script was not there, so none of these ran. What was behind one of them on its topic was refused.
		if err := p.line.get().ScriptLoad(ctx, publishScript).Err(); err == nil {
			p.send(ctx, batch, unknown, answers)
		}
	}
	p.pace.took(weightOfAll(batch), time.Since(began))
	p.note(ctx, answers)
	return answers
}

// scratch returns n empty answers, and the numbers below n.
func (p *publisher) scratch(n int) (answers []broker.Published, all []int) {
	for len(p.all) < n {
		p.all = append(p.all, len(p.all))
	}
	clear(p.answers)
	if p.answers = p.answers[:0]; cap(p.answers) < n {
		p.answers = make([]broker.Published, 0, max(n, 2*cap(p.answers)))
	}
	p.answers = p.answers[:n]
	return p.answers, p.all[:n]
}

func weightOfAll(batch []broker.Publish) (sum int) {
	for i := range batch {
		sum += weightOf(&batch[i])
	}
	return sum
}

// identify asks the server who it is, unless this connection's is known.
func (p *publisher) identify(ctx context.Context) (err error) {
	if !p.changed.Swap(false) && p.identified {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout) // dialling included
	defer cancel()
	p.grace.Store(0)
	p.identity, err = p.identifier.read(ctx, p.line.get())
	p.identified = err == nil
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
	longest := 0
	for n, i := range chosen {
		p.request(n).set(p.keys, p.identity.data, &batch[i])
		longest = max(longest, weightOf(&batch[i]))
	}
	// Each is answered when it has arrived; until then the kernel alone knows how far it is.
	p.grace.Store(int64(time.Duration(longest) * time.Second / slowest))
	pipeline(ctx, p.line.get(), p.sending[:len(chosen)])
	for n, i := range chosen {
		answers[i] = published(batch[i].Token, p.requests[n].StringCmd)
		if err := answers[i].Err; err != nil && redis.HasErrorPrefix(err, "NOSCRIPT") {
			unknown = append(unknown, i)
		}
	}
	return unknown, errors.Is(answers[chosen[0]].Err, errRedial)
}

// request returns the n-th of a pipeline.
func (p *publisher) request(n int) *request {
	if n == len(p.requests) {
		r := newRequest(p.history)
		p.requests, p.sending = append(p.requests, r), append(p.sending, r.StringCmd)
	}
	return p.requests[n]
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
			p.pace.failed()
			p.renew()
		}
	}
}
