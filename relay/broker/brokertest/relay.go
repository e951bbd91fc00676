package brokertest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// Patience is how long a test waits for an event or a condition before the test fails.
const Patience = time.Minute

// Relay runs a Broker as a relay would, and keeps the Broker's events. A method that waits for an
// event fails the test if the event does not come within Patience. Even a healthy Redis may answer
// too late on a busy machine. So Ask, Put, Say, Pipeline, History, Opened and Count repeat a
// request that fails, as a relay does. Once, Read and BeginOnce do not repeat requests, since they
// are for tests of failures.
type Relay struct {
	broker.Broker
	Instance protocol.Instance // instance of the edge for which the Relay publishes

	t testing.TB

	mu      sync.Mutex // guards the following
	events  []broker.Event
	changed chan struct{} // closed and replaced at each event
	token   uint64
	asked   map[uint64]int // answers so far, by the token of the request
}

// Start runs b until the test ends. Each request whose token was made by Relay.Token must have been
// answered exactly once by then.
func Start(t testing.TB, b broker.Broker) *Relay {
	t.Helper()
	r := &Relay{Broker: b, Instance: protocol.NewInstance(), t: t, changed: make(chan struct{}), asked: make(map[uint64]int)}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx, r.sink) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		for token, n := range r.asked {
			if n != 1 {
				t.Errorf("request %d was answered %d times", token, n)
			}
		}
	})
	return r
}

func (r *Relay) sink(e broker.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch e := e.(type) {
	case broker.Published:
		r.asked[e.Token]++
	case broker.History:
		r.asked[e.Token]++
	case broker.Flushed:
		r.asked[e.Token]++
	case broker.Began:
		r.asked[e.Token]++
	case broker.Counted:
		r.asked[e.Token]++
	}
	r.events = append(r.events, e)
	close(r.changed)
	r.changed = make(chan struct{})
}

// Token returns a new token, for a request that must be answered exactly once.
func (r *Relay) Token() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.token++
	r.asked[r.token] = 0
	return r.token
}

// Events returns the number of events so far. If Await is given this number, it looks only at later
// events.
func (r *Relay) Events() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.events)
}

// Await returns the first event of type E that matches, and the index after that event. The
// argument named from is the index of the first event that Await looks at. Await waits for events
// that are not there yet.
func Await[E broker.Event](r *Relay, from int, what string, match func(E) bool) (E, int) {
	r.t.Helper()
	timeout := time.NewTimer(Patience)
	defer timeout.Stop()
	for {
		r.mu.Lock()
		events, changed := r.events[min(from, len(r.events)):], r.changed
		r.mu.Unlock()
		for _, e := range events {
			from++
			if e, ok := e.(E); ok && match(e) {
				return e, from
			}
		}
		select {
		case <-changed:
		case <-timeout.C:
			r.t.Fatalf("no %s", what)
		}
	}
}

// The method Once publishes p a single time and returns the answer, which may be a failure.
func (r *Relay) Once(p broker.Publish) broker.Published {
	r.t.Helper()
	from := r.Events()
	p.Token = r.Token()
	r.Publish(p)
	answer, _ := Await(r, from, "Published", func(e broker.Published) bool { return e.Token == p.Token })
	return answer
}

// Ask publishes p until the answer has no Err, and returns that answer.
func (r *Relay) Ask(p broker.Publish) broker.Published {
	r.t.Helper()
	answer, _ := r.ask(p)
	return answer
}

// ask does what Ask does, and also reports whether an earlier attempt failed.
func (r *Relay) ask(p broker.Publish) (answer broker.Published, repeated bool) {
	r.t.Helper()
	repeated = r.repeat(fmt.Sprintf("publishing %.100q", p.Msg), func() error {
		answer = r.Once(p)
		return answer.Err
	})
	return answer, repeated
}

// pause is the time between two attempts of repeat.
const pause = 10 * time.Millisecond

// repeat calls the given function until it succeeds, and reports whether an earlier call failed. If
// the function still fails after Patience, the test fails.
func (r *Relay) repeat(what string, do func() error) (repeated bool) {
	r.t.Helper()
	for end := time.Now().Add(Patience); ; repeated = true {
		err := do()
		if err == nil {
			return repeated
		}
		if time.Now().After(end) {
			r.t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(pause)
	}
}

// Put publishes p and returns the position of the message. The test fails if the message is not
// published. A Duplicate after a failed attempt says that the failed attempt published the message.
func (r *Relay) Put(p broker.Publish) protocol.Position {
	r.t.Helper()
	answer, repeated := r.ask(p)
	switch {
	case answer.Outcome == broker.Done:
		return answer.Position
	case answer.Outcome != broker.Duplicate || !repeated:
		r.t.Fatalf("publishing %.100q: %+v", p.Msg, answer)
	}
	for _, kept := range behind(r, p.Topic, protocol.Position{}) {
		if kept.Instance == p.Instance && kept.Number == p.Number {
			return kept.Position
		}
	}
	// The history no longer has the message. The Duplicate has the topic's top. The top is the
	// position of the message, since tests publish nothing else on the topic meanwhile.
	return answer.Position
}

// Say publishes msg on t as number n of r.Instance, and returns the position of msg. The test fails
// if msg is not published.
func (r *Relay) Say(t protocol.Topic, n uint64, msg string) protocol.Position {
	r.t.Helper()
	return r.Put(r.Message(t, n, msg))
}

// Message returns the request that Say publishes.
func (r *Relay) Message(t protocol.Topic, n uint64, msg string) broker.Publish {
	return broker.Publish{Topic: t, Content: protocol.Content{From: "1", Msg: msg}, Instance: r.Instance, Number: n}
}

// Pipeline publishes the messages of list without waiting for an answer in between, as a lane does.
// It returns the answers in the order of list. All messages are of one topic and one instance, and
// their numbers rise. Pipeline makes each message the Predecessor of the next. If a message fails,
// Pipeline awaits the answers to the messages behind it. Then it publishes the failed message
// again, and all messages behind it. A message that an earlier attempt has published is answered
// with a Duplicate.
func (r *Relay) Pipeline(list []broker.Publish) (answers []broker.Published) {
	r.t.Helper()
	for i := 1; i < len(list); i++ {
		list[i].Predecessor = list[i-1].Number
	}
	repeated := false
	r.repeat(fmt.Sprintf("publishing %d messages", len(list)), func() (failure error) {
		index, given := r.Events(), list[len(answers):]
		for i := range given {
			given[i].Token = r.Token()
			r.Publish(given[i])
		}
		for _, p := range given {
			var answer broker.Published
			answer, index = Await(r, index, "Published", func(broker.Published) bool { return true })
			switch {
			case answer.Token != p.Token:
				r.t.Fatalf("%+v came, want the answer to request %d", answer, p.Token)
			// A message before this one has failed. So this message may be Refused. It is published
			// again.
			case failure != nil:
			case answer.Err != nil, answer.Outcome == broker.Refused:
				failure = fmt.Errorf("number %d: %+v", p.Number, answer)
			case answer.Outcome == broker.Duplicate && !repeated:
				r.t.Fatalf("number %d: %+v", p.Number, answer)
			default:
				answers = append(answers, answer)
			}
		}
		repeated = true
		return failure
	})
	return answers
}

// Join subscribes to t, waits for the Subscribed event that answers, and returns that event.
func (r *Relay) Join(t protocol.Topic) broker.Subscribed {
	r.t.Helper()
	return r.join(t, false)
}

// JoinBegun does what Join does, and asks to begin the epoch of t.
func (r *Relay) JoinBegun(t protocol.Topic) broker.Subscribed {
	r.t.Helper()
	return r.join(t, true)
}

func (r *Relay) join(t protocol.Topic, begin bool) broker.Subscribed {
	r.t.Helper()
	from := r.Events()
	r.mu.Lock()
	r.token++
	token := r.token
	r.mu.Unlock()
	r.Subscribe(t, token, begin)
	answer, _ := Await(r, from, "Subscribed", func(e broker.Subscribed) bool { return e.Topic == t && e.Token == token })
	return answer
}

// Read asks once for a page of history and returns the answer, which may be a failure.
func (r *Relay) Read(t protocol.Topic, after protocol.Position) broker.History {
	r.t.Helper()
	from, token := r.Events(), r.Token()
	r.ReadHistory(t, after, token)
	answer, _ := Await(r, from, "History", func(e broker.History) bool { return e.Token == token })
	if answer.Topic != t {
		r.t.Fatalf("history of %s: %+v", t, answer)
	}
	return answer
}

// History asks for a page of history until a request succeeds, and returns the page.
func (r *Relay) History(t protocol.Topic, after protocol.Position) (page broker.History) {
	r.t.Helper()
	r.repeat("history of "+string(t), func() error {
		page = r.Read(t, after)
		return page.Err
	})
	return page
}

// BeginOnce asks once to begin the epoch of t and returns the answer, which may be a failure.
func (r *Relay) BeginOnce(t protocol.Topic) broker.Began {
	r.t.Helper()
	from, token := r.Events(), r.Token()
	r.Begin(t, token)
	answer, _ := Await(r, from, "Began", func(e broker.Began) bool { return e.Token == token })
	if answer.Topic != t {
		r.t.Fatalf("began %s: %+v", t, answer)
	}
	return answer
}

// Opened asks to begin the epoch of t until a request succeeds, and returns the answer.
func (r *Relay) Opened(t protocol.Topic) (answer broker.Began) {
	r.t.Helper()
	r.repeat("beginning "+string(t), func() error {
		answer = r.BeginOnce(t)
		return answer.Err
	})
	return answer
}

// Count asks for the number of t's subscribers until a request succeeds, and returns the number.
func (r *Relay) Count(t protocol.Topic) int64 {
	r.t.Helper()
	var answer broker.Counted
	r.repeat("subscribers of "+string(t), func() error {
		from, token := r.Events(), r.Token()
		r.CountSubscribers(t, token)
		answer, _ = Await(r, from, "Counted", func(e broker.Counted) bool { return e.Token == token })
		return answer.Err
	})
	return answer.Count
}

// Received waits for n publications on t, and returns them. The argument named from is the index of
// the first event that counts. As a relay does, Received reads from the history what was published
// while the subscription was lost.
func (r *Relay) Received(t protocol.Topic, from, n int) (list []broker.Publication) {
	r.t.Helper()
	// The variable named told has the highest position of t that an event or the history has told.
	// The variable named read has the position of the last publication that was read from the
	// history.
	var told, read protocol.Position
	for index, lost := 0, false; len(list) < n; {
		var e broker.Event
		e, index = Await(r, index, "publication on "+string(t), func(e broker.Event) bool {
			return about(e, t)
		})
		var come []broker.Publication
		switch e := e.(type) {
		case broker.Deaf:
			lost = true
			continue
		case broker.Received:
			at := e.Publication.Position
			if lost && !at.IsZero() {
				continue // the top of the next Subscribed covers this publication
			}
			if at.IsZero() || read.Before(at) {
				come = []broker.Publication{e.Publication}
			}
			told = later(told, at)
		case broker.Subscribed:
			if lost && told.Before(e.Top) && index > from {
				come = behind(r, t, told)
			}
			if len(come) > 0 {
				read = come[len(come)-1].Position
			}
			lost, told = false, later(later(told, read), e.Top)
		}
		if index > from {
			list = append(list, come...)
		}
	}
	return list[:n]
}

// Bare calls the function publish, which publishes a bare message on t. Bare returns the message as
// r receives it. The Relay r must be subscribed to t. If the subscription is lost meanwhile, Bare
// calls publish again, since the history has no bare messages.
func (r *Relay) Bare(t protocol.Topic, publish func()) broker.Publication {
	r.t.Helper()
	for {
		from := r.Events()
		publish()
		e, from := Await(r, from, "bare publication on "+string(t), func(e broker.Event) bool {
			_, subscribed := e.(broker.Subscribed)
			got, received := e.(broker.Received)
			return about(e, t) && !subscribed && (!received || got.Publication.Position.IsZero())
		})
		if got, received := e.(broker.Received); received {
			return got.Publication
		}
		Await(r, from, "Subscribed", func(e broker.Subscribed) bool { return e.Topic == t })
	}
}

// The function named about reports whether e is about t: e brings a publication of t, or tells
// whether the subscription of t is in force.
func about(e broker.Event, t protocol.Topic) bool {
	switch e := e.(type) {
	case broker.Received:
		return e.Publication.Topic == t
	case broker.Subscribed:
		return e.Topic == t
	case broker.Deaf:
		return e.All || e.Topic == t
	}
	return false
}

// SoFar returns all publications received on t until now.
func (r *Relay) SoFar(t protocol.Topic) []broker.Publication {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []broker.Publication
	for _, e := range r.events {
		if e, ok := e.(broker.Received); ok && e.Publication.Topic == t {
			list = append(list, e.Publication)
		}
	}
	return list
}

// LostSince reports whether an event tells that the subscription of t was lost. The argument named
// from is the index of the first event that counts.
func (r *Relay) LostSince(t protocol.Topic, from int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.events[from:], func(e broker.Event) bool {
		deaf, ok := e.(broker.Deaf)
		return ok && about(deaf, t)
	})
}

// Told returns the highest position that an event has told of t so far. It is the position of a
// received publication, or the Top of a Subscribed. In the second case, publications up to that
// position may be in the history without having been received.
func (r *Relay) Told(t protocol.Topic) (top protocol.Position) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		var at protocol.Position
		switch e := e.(type) {
		case broker.Received:
			if e.Publication.Topic == t {
				at = e.Publication.Position
			}
		case broker.Subscribed:
			if e.Topic == t {
				at = e.Top
			}
		}
		top = later(top, at)
	}
	return top
}

func later(a, b protocol.Position) protocol.Position {
	if a.Before(b) {
		return b
	}
	return a
}
