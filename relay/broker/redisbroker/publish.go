package redisbroker

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/redis/go-redis/v9"
)

// A pipeline has up to pipelineRequests queued requests. The pace bounds the bytes of these
// requests. It is between pipelineBytesLeast and pipelineBytes. A message that alone exceeds the
// pace has a pipeline of its own.
const (
	pipelineRequests   = 500
	pipelineBytes      = 1 << 20
	pipelineBytesLeast = 64 << 10
)

// publisher carries out Publish requests, in order and on one connection at a time. If a request
// may have run, the publisher does not send it again.
type publisher struct {
	queue      *queue[broker.Publish]
	line       *line
	publishing *publishing
	slots      bool // true on a Redis Cluster: a call has requests of one hash slot only
	identifier *identifier
	epochs     *broker.Epochs
	state      *state
	metrics    *metrics

	// These fields describe the server that the publisher is connected to. The method run owns
	// them.
	identity   identity
	identified bool

	// The field named calls is a list that begins with the calls of the present pipeline. The calls
	// behind these are of earlier pipelines, and are kept to be reused. This field and the next
	// four are owned by run.
	calls []*call
	// The field open has, for each hash slot, the index of the call that may take more requests. If
	// the field slots is false, the map's only key is 0.
	open    map[int]int
	sending []redis.Cmder // calls of the present pipeline
	answers []broker.Published
	all     []int // indices of all requests of a batch, see scratch

	pace pace // bytes in one pipeline; owned by run
	// grace is a time.Duration that the connection adds to its read deadline, for heavy calls.
	grace atomic.Int64

	changed atomic.Bool // the field identity may be out of date
}

func newPublisher(opt *redis.Options, c common, i *identifier, s *state) *publisher {
	p := &publisher{
		queue: newQueue(weightOf), publishing: newPublishing(c.keys, c.realm, c.pubsub, c.retention), slots: s.moved != nil,
		identifier: i, epochs: c.epochs, state: s, metrics: c.metrics,
		open: make(map[int]int), pace: newPace(pipelineBytesLeast, pipelineBytes),
	}
	p.line = newLineOf(func() *redis.Client { return publisherClient(opt, p.graceSince(s.outages.Load())) })
	return p
}

// graceSince returns a function for a connection that was opened after this number of outages. That
// function returns the value of p.grace, or 0 once there has been a further outage.
func (p *publisher) graceSince(outages uint64) func() time.Duration {
	return func() time.Duration {
		if p.state.outages.Load() != outages {
			return 0
		}
		return time.Duration(p.grace.Load())
	}
}

// weightOf returns about how many bytes p takes on the wire.
func weightOf(p *broker.Publish) int { return p.Size() + 512 }

func (p *publisher) run(ctx context.Context, sink func(broker.Event)) {
	defer p.line.closeWhen(ctx)()
	await(ctx, p.state.first)
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

// publish carries out batch and returns the answers, which are valid until the next call of
// publish. While publications are known to fail, publish sends nothing, and the answers are errors.
// So no backlog builds up meanwhile.
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
	// A request that found no script did not run, so it may be sent again. The requests behind it
	// in its lane did not run either, or were refused.
	if len(unknown) > 0 && p.line.get().ScriptLoad(ctx, publishScript).Err() == nil {
		unknown, _ = p.send(ctx, batch, unknown, answers)
	}
	if len(unknown) > 0 {
		p.sendText(ctx, batch, unknown, answers)
	}
	p.pace.took(weightOfAll(batch), time.Since(began))
	p.note(ctx, answers)
	return answers
}

// scratch returns n empty answers, and the indices from 0 to n-1.
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

// identify reads the identity of the server. It does nothing if the identity is known for this
// connection and the field changed is not set.
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

// renew replaces the connection. The server of the new connection is not identified yet.
func (p *publisher) renew() {
	p.line.renew()
	p.identified = false
}

// send sends, in one pipeline, those requests of batch whose indices are in chosen, and fills in
// their answers. It returns the indices of the requests that found no script. The result unsent
// says that nothing was sent, since the connection was lost already.
func (p *publisher) send(ctx context.Context, batch []broker.Publish, chosen []int, answers []broker.Published) (unknown []int, unsent bool) {
	if err := p.identify(ctx); err != nil {
		for _, i := range chosen {
			answers[i] = broker.Published{Token: batch[i].Token, Err: err}
		}
		return nil, errors.Is(err, errRedial)
	}
	return p.carryOut(ctx, batch, p.divide(batch, chosen), answers)
}

// sendText sends the chosen requests, in calls with the text of the script. It is for a server that
// does not find the script even after an attempt to load it.
func (p *publisher) sendText(ctx context.Context, batch []broker.Publish, chosen []int, answers []broker.Published) {
	calls := p.divide(batch, chosen)
	for _, c := range calls {
		withText(c, publishScript)
	}
	p.carryOut(ctx, batch, calls, answers)
}

// divide makes calls for those requests of batch whose indices are in chosen. Requests of one topic
// keep their order.
func (p *publisher) divide(batch []broker.Publish, chosen []int) []*call {
	clear(p.open)
	n := 0
	for _, i := range chosen {
		p.epochs.Saw(batch[i].Known)
		group, weight := 0, weightOf(&batch[i])
		if p.slots {
			group = p.publishing.keys.slot(batch[i].Topic)
		}
		at, ok := p.open[group]
		if !ok || !p.calls[at].takes(weight) {
			if at = n; at == len(p.calls) {
				p.calls = append(p.calls, new(call))
			}
			p.calls[at].begin()
			p.open[group] = at
			n++
		}
		p.calls[at].add(i, weight)
	}
	for _, c := range p.calls[:n] {
		c.set(p.publishing, p.identity.data, p.epochs.Latest(), batch)
	}
	return p.calls[:n]
}

// carryOut sends calls in one pipeline, and fills in the answers to their requests. The results
// unknown and unsent are as in the method send.
func (p *publisher) carryOut(ctx context.Context, batch []broker.Publish, calls []*call, answers []broker.Published) (unknown []int, unsent bool) {
	heaviest := 0
	p.sending = p.sending[:0]
	for _, c := range calls {
		heaviest = max(heaviest, c.weight)
		p.sending = append(p.sending, c)
	}
	// While a heavy call is on its way to Redis, no answer can come, and this must not count as
	// silence. So the grace is the time that the heaviest call takes at the slowest speed.
	p.grace.Store(int64(time.Duration(heaviest) * time.Second / slowest))
	pipeline(ctx, p.line.get(), p.sending)
	for _, c := range calls {
		c.answer(batch, answers)
		for _, i := range c.chosen {
			p.epochs.Saw(answers[i].Position)
		}
		if redis.HasErrorPrefix(c.Err(), "NOSCRIPT") {
			unknown = append(unknown, c.chosen...)
		}
	}
	return unknown, errors.Is(calls[0].Err(), errRedial)
}

// The method note counts failures. It also passes one failure to state.failed, unless ctx is done:
// the last failure that is no redirection, or the first redirection if there are only redirections.
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
		if kind := failureOf(last); kind != single && kind != forbidden && !redirected(last) {
			p.pace.failed()
			p.renew()
		}
	}
}
