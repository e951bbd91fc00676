package redisbroker

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/redis/go-redis/v9"
)

type askKind uint8

const (
	askHistory askKind = iota
	askCount
	askBegin
)

var askLabels = [...]string{askHistory: "history", askCount: "count", askBegin: "begin"}

// ask is a request to read a history, to begin an epoch or to count subscribers.
type ask struct {
	kind  askKind
	topic protocol.Topic
	after protocol.Position // for askHistory
	token uint64
}

// A round trip carries at most asksAtOnce questions. A question for a page of history weighs as
// much as asksAtOnce/historyShare questions for a count, because pages take memory. So a round trip
// reads at most historyShare pages. Together these pages have up to 4 MiB of text. They have more
// only if a page is a single text that is longer than pageBytes.
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

// asker carries out requests of the type ask, in batches and on one connection at a time.
type asker struct {
	queue      *queue[ask]
	line       *line
	keys       keys
	pubsub     pubsub
	retention  retention
	identifier *identifier
	epochs     *broker.Epochs
	state      *state
	metrics    *metrics

	// The goroutine of run owns the following fields.
	pace   pace // weight of one round trip, in units of ask.weight
	silent bool // the last round trip had a failure of the kind unreachable
	// These fields describe the server that the asker is connected to. They are set before epochs
	// are begun.
	identity   identity
	identified bool
}

func newAsker(opt *redis.Options, c common, i *identifier, s *state) *asker {
	return &asker{
		queue: newQueue((*ask).weight), line: newLineOf(func() *redis.Client { return readerClient(opt) }),
		keys: c.keys, pubsub: c.pubsub, retention: c.retention, identifier: i, epochs: c.epochs, state: s, metrics: c.metrics,
		pace: newPace(asksAtOnce/historyShare, asksAtOnce),
	}
}

func (a *asker) run(ctx context.Context, sink func(broker.Event)) {
	defer a.line.closeWhen(ctx)()
	await(ctx, a.state.first)
	for {
		batch := a.queue.take(ctx, asksAtOnce, a.pace.now)
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

// ask sends the questions of batch in one pipeline, and passes their answers to sink.
func (a *asker) ask(ctx context.Context, batch []ask, sink func(broker.Event)) {
	if a.line.after(a.state.outages.Load()) {
		a.identified = false
	}
	if batch = a.mayBegin(ctx, batch, sink); len(batch) == 0 {
		return
	}
	a.metrics.pipelines.WithLabelValues("ask").Observe(float64(len(batch)))
	cmds, weight := make([]redis.Cmder, len(batch)), 0
	// In the pipeline, the question for the server's identity follows the other questions. A server
	// never returns to an earlier identity. So if the server tells an identity that is among a
	// topic's givers, the server already had this identity when it read or began the topic.
	asked, behind := newWhoCmds(ctx), []redis.Cmder(nil)
	for i, q := range batch {
		a.metrics.commands.WithLabelValues(askLabels[q.kind]).Inc()
		cmds[i] = a.question(ctx, q)
		weight += q.weight()
		if q.kind != askCount && behind == nil {
			behind = asked.cmds()
		}
	}
	began := time.Now()
	exec(ctx, a.line.get(), cmds, behind)
	a.pace.took(weight, time.Since(began))
	var who identity
	if behind != nil {
		who = a.identifier.seenIn(asked) // if the server does not tell its identity, who is zero
	}
	var last error
	for i, cmd := range cmds {
		event, err := a.answer(batch[i], cmd, who)
		if err != nil {
			if last == nil || !redirected(err) {
				last = err
			}
			a.metrics.failures.WithLabelValues("ask", string(failureOf(err))).Inc()
			event = batch[i].failed(err)
		} else if batch[i].kind == askBegin && who != a.identity {
			a.identified = false
			event = batch[i].failed(errOtherServer)
		}
		sink(event)
	}
	if ctx.Err() == nil {
		a.note(last)
	}
}

// errOtherServer answers a Begin that had the identity of one server and was carried out by another
// server. The epoch that was begun counts as that of the first server. So the next Begin begins a
// later epoch.
var errOtherServer = errors.New("another server began the epoch than the one that was asked for")

// mayBegin finds out who the server is, if batch has requests to begin epochs. If such requests
// cannot be carried out, it answers them. It returns the requests that are left.
func (a *asker) mayBegin(ctx context.Context, batch []ask, sink func(broker.Event)) (left []ask) {
	begins := func(q ask) bool { return q.kind == askBegin }
	if !slices.ContainsFunc(batch, begins) {
		return batch
	}
	err := a.state.cannotPublish()
	if err == nil && !a.identified {
		a.identity, err = a.identifier.read(ctx, a.line.get())
		if a.identified = err == nil; err != nil && ctx.Err() == nil {
			a.note(err)
		}
	}
	if err == nil {
		return batch
	}
	for _, q := range batch {
		if begins(q) {
			a.metrics.failures.WithLabelValues("ask", string(failureOf(err))).Inc()
			sink(q.failed(err))
		} else {
			left = append(left, q)
		}
	}
	return left
}

// The method note tells the state what a round trip shows about Redis. The argument err is the
// error of a question, or nil if all questions were answered.
func (a *asker) note(err error) {
	silent := err != nil && failureOf(err) == unreachable
	switch {
	case silent:
		if !a.silent {
			a.state.log.Warn("redis did not answer questions: history is read later", "err", err)
		}
		a.pace.failed()
		a.line.renew()
		a.identified = false
		a.state.suspect()
	case err != nil && redirected(err):
		a.state.failed(err)
	case err != nil && failureOf(err) != single:
		a.state.suspect()
	}
	a.silent = silent
}

// question returns the command of q.
func (a *asker) question(ctx context.Context, q ask) redis.Cmder {
	switch q.kind {
	case askCount:
		return redis.NewMapStringIntCmd(ctx, "pubsub", a.pubsub.count, a.keys.channel(q.topic))
	case askBegin:
		return beginCmd(ctx, a.keys, a.retention, q.topic, a.identity.data, a.epochs.Latest())
	default:
		return pageCmd(ctx, a.keys, a.retention, q.topic, q.after)
	}
}

// The method answer turns the reply to q's command into q's event. The argument named who says
// which server replied.
func (a *asker) answer(q ask, cmd redis.Cmder, who identity) (broker.Event, error) {
	if cmd, ok := cmd.(*redis.MapStringIntCmd); ok {
		counts, err := cmd.Result()
		return broker.Counted{Token: q.token, Count: counts[a.keys.channel(q.topic)]}, err
	}
	if q.kind == askBegin {
		top, givers, err := begunIn(cmd.(*redis.Cmd))
		a.epochs.Saw(top)
		return broker.Began{Token: q.token, Topic: q.topic, Top: top, Genuine: givenBy(givers, who)}, err
	}
	read, err := readingOf(cmd.(*redis.Cmd))
	return a.page(q, read, who), err
}

// The method named failed returns the event that answers q with err.
func (q *ask) failed(err error) broker.Event {
	switch q.kind {
	case askCount:
		return broker.Counted{Token: q.token, Err: err}
	case askBegin:
		return broker.Began{Token: q.token, Topic: q.topic, Err: err}
	default:
		return broker.History{Token: q.token, Topic: q.topic, Err: err}
	}
}

// page makes the answer to q. The parameter named read is the parsed reply to q. The parameter
// named who is the identity of the server that replied.
func (a *asker) page(q ask, read reading, who identity) broker.History {
	answer := broker.History{Token: q.token, Topic: q.topic, More: read.more, Top: read.top, Genuine: givenBy(read.givers, who)}
	answer.Publications = make([]broker.Publication, 0, len(read.entries))
	for _, e := range read.entries {
		answer.Through = e.position
		if pub, ok := a.publicationIn(q.topic, e); ok {
			answer.Publications = append(answer.Publications, pub)
		}
	}
	return answer
}

// publicationIn parses one entry. If the entry has no valid envelope, or a position that cannot be
// ours, publicationIn counts the entry as dropped and returns false.
func (a *asker) publicationIn(t protocol.Topic, e entry) (broker.Publication, bool) {
	// The realm in the envelope does not matter, since the history is ours.
	envelope, err := protocol.ParseEnvelope([]byte(e.text), "")
	if err != nil || e.position.Offset == 0 || !e.position.IsCredible() {
		a.metrics.drop(err)
		return broker.Publication{}, false
	}
	envelope.Position = e.position
	return publication(t, envelope), true
}

func publication(t protocol.Topic, e protocol.Envelope) broker.Publication {
	return broker.Publication{Topic: t, Position: e.Position, Previous: e.Previous, Content: e.Content, Instance: e.Instance, Number: e.Number}
}
